"""Find the values in a text, cheapest way first: exact JSON, blocks in prose and fences, almost-JSON and calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from swarm.planner.parse.cursor import Cursor
from swarm.planner.parse.known_experts import KnownExperts
from swarm.planner.parse.loose_json import LooseReader
from swarm.planner.parse.regular_json import Irregular, RegularReader
from swarm.planner.parse.values import Call, UnreadableValue

MAX_MISSED = 40
"""Failed tries of exact JSON. The parser counts lines on each, so that many would take quadratic time."""
MAX_LOOKS = 1_500
"""Places of one text that are tried as the beginning of a value."""
MAX_REPAIRED = 8_000
"""Characters given to the repair library, which is slow."""

_OPENS = re.compile(
    r"\[(?=\s*+(?:[\"'{\[(<]|//|/\*|[^\W\d](?:[\w.\-/ ]|\\[_.\-]){0,120}+\())"
    r"|\{(?=\s*+(?:[\"'}]|//|/\*|[^\W\d][\w\-]{0,60}+\s*+[:=]))"
    r"|(?<![\w.\-\\/])[^\W\d](?:[\w.\-/]|\\[_.\-]){0,120}+ ?\("
)
"""The beginning of a list, an object or a call."""
_CLOSES = re.compile(r"```|</\w")
_TAG_CLOSES = re.compile(r"</(?:tool_?call|function_?call|call)s?>", re.I)
_LAST_LINE = re.compile(r"\n([ \t]*)([\]}]{1,3})\s*\Z")
_LINE_BEGINS = re.compile(
    "(?:^\x01?"
    r"[\s,;+&\[\]]*(?:(?:and|then)\s+){0,2}|\n|<[^<>\n]{1,40}>)[ \t>]*(?:\(\s*|[-*\u2022+]\s+)?"
    r"(?:(?:assistant|model|response)\s*:\s*)?(?:(?:step|task)?\s*(?P<number>\d{1,3})\s*[.):]\s*)?"
    r"(?:\*{0,2}(?:action|call|tool|function|step|task)(?:[ _]call)?\s*\d{0,3}\s*:\*{0,2}\s*)?"
    r"(?:(?:await|return|print\(|result\s*\+=)\s*)?"
    r"(?:(?P<name>[^\W\d]\w{0,60})(?:\s*,\s*\w{1,60}){0,5}\s*(?::\s*\w+\s*)?=\s*(?:await\s+)?)?"
    r"[`\"'*]{0,3}$",
    re.I,
)
_QUICK_NAME = re.compile(r"[^\W\d][\w.\-]*")
"""Names of calls that the fast reader can read."""
_DEFINES = re.compile(r"\b(?:def|class|async def)\s+$|\bfunction\s+$")
_LABEL_NOISE = re.compile(
    r"```\w*|\[ARGS\]|<\|constrain\|>\w+|<[|\uff5c][^<>\n]{0,60}[|\uff5c]>|<[^<>=\n]{0,40}>"
    r"|\u2728?\b(?:action|tool)[ _]input\b\s*:?"
    r"|\b(?:arguments?|parameters?|args|input|params)\s*:|\u273fARGS\u273f\s*:?",
    re.I,
)
_TAGGED_NAME = re.compile(r"<(?:function|tool|invoke name)\s*=\s*[\"']?([\w.\-/ ]{1,80})[\"']?\s*>", re.I)
_LABEL = re.compile(
    r"(?P<mark>^|[\n>:]|\bto=|\])[ \t*`\"']*(?:functions?\.)?"
    r"(?P<name>[^\W\d](?:[\w.\-/]|\\[_.\-]){0,100}(?: [\w\-/]{1,40}){0,5}+)"
    r"[ \t*`\"']*(?::\d{1,4}|:|->)?[ \t*`]*\s*$"
)
_NO_LABELS = frozenset(
    """and answer args arguments as code data example final follows input is json list note object or output
    parameters plan python response result results return step steps subtasks task tasks the then""".split()
)
_BUILTINS = frozenset(
    """Example abs all and any append bool datetime.now dict e.g enumerate example exit filter float for format i.e
    if in input int isinstance iter join json.dumps json.loads len list main map math.sqrt max min next not open
    or print print_result range repr return reversed round set sorted str sum super tuple type while zip""".split()
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value found in the text, from `start` to `end`."""

    start: int
    end: int
    value: object
    read_as: str
    notes: tuple[str, ...] = ()
    exact: bool = True
    """Whether it was read as it is written, so that nothing can be lost."""
    label: str = ""
    """The name before an object of arguments; empty if there is none."""
    id: str = ""
    """The number or variable that the text gives it; empty if there is none."""
    inline: bool = False
    """Whether it stands in the middle of a sentence."""


class Decoder:
    """Reads standard JSON. Line breaks inside strings are allowed if not `strict`."""

    def __init__(self, *, strict: bool = True) -> None:
        self.doubled = False
        """Whether an object repeated a key since this was last set."""
        self._json = json.JSONDecoder(
            object_pairs_hook=self._members, parse_constant=str, parse_float=_finite, strict=strict
        )

    def read(self, text: str, at: int = 0) -> tuple[object, int]:
        """Read the value at `at`; return it and its end. Raises ValueError or RecursionError."""
        self.doubled = False
        return self._json.raw_decode(text, at)

    def _members(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        self.doubled |= len(found) < len(pairs)
        return found


def _finite(digits: str) -> float | str:
    number = float(digits)
    return number if abs(number) < 1e308 else digits


def whole(text: str) -> Candidate | None:
    """Read all of the text as one JSON value; None if it is not one."""
    decoder = Decoder()
    try:
        value, end = decoder.read(text)
    except RecursionError:
        raise UnreadableValue("too_deep", 0) from None
    except ValueError:
        return None
    return None if text[end:].strip() else Candidate(0, end, value, "json", exact=not decoder.doubled)


class Scanner:
    """Scans a text once and yields the values in it."""

    def __init__(self, text: str, known: KnownExperts) -> None:
        self.text, self.known = text, known
        self.reader = LooseReader(Cursor(text, known))
        self.stopped: UnreadableValue | None = None
        """Why the scan stopped early, such as a value without an end. Nothing behind that place is read."""
        self.looks = MAX_LOOKS
        self.passed = 0
        self.spans: list[tuple[int, int]] = []
        """The places that were read, in the order of the text."""
        self.computed: UnreadableValue | None = None
        """Why a list was skipped: a program computes it."""
        self._decoders = (Decoder(), Decoder(strict=False))
        self._missed = 0

    def __iter__(self) -> Iterator[Candidate]:
        at = 0
        while opens := _OPENS.search(self.text, at):
            found = self._at(opens, at)
            if found:
                self.spans.append((found.start, found.end))
                yield found
            elif self.stopped is not None:
                return
            at = found.end if found else max(opens.end(), self.passed)

    def _at(self, opens: re.Match[str], after: int) -> Candidate | None:
        return self._block(opens.start(), after) if opens[0] in "[{" else self._call(opens, after)

    def _block(self, start: int, after: int) -> Candidate | None:
        if not self._look(start):
            return None
        before = self._before(start, after)
        read_as = "fence" if "```" in before else "block"
        found = self._exact(start, read_as) or (self._loose(start) if self.stopped is None else None)
        return self._labelled(found, before) if found else None

    def _exact(self, start: int, read_as: str) -> Candidate | None:
        for decoder in self._decoders if self._missed < MAX_MISSED else ():
            try:
                value, end = decoder.read(self.text, start)
            except RecursionError:
                self.stopped = UnreadableValue("too_deep", start)
                return None
            except ValueError:
                self._missed += 1
                continue
            notes = () if decoder is self._decoders[0] else ("a line break inside a text",)
            return Candidate(start, end, value, read_as, notes, exact=not decoder.doubled)
        return None

    def _loose(self, start: int, *, regular: bool = True) -> Candidate | None:
        try:
            return _quickly(RegularReader(self.text, start), start) if regular else self._slowly(start)
        except Irregular:
            return self._slowly(start)

    def _slowly(self, start: int) -> Candidate | None:
        try:
            value = self.reader.read(start)
        except UnreadableValue as problem:
            value = None
            if problem.reason == "program":
                self.passed, self.computed = problem.at, problem
            elif (value := self._fenced(start)) is None:
                self.stopped = UnreadableValue(problem.reason, start)
            if value is None:
                return None
        else:
            value = self._within_its_tag(start, value)
        cursor = self.reader.cursor
        return Candidate(start, cursor.at, value, "loose", tuple(cursor.notes), exact=False)

    def _within_its_tag(self, start: int, value: object) -> object:
        """Read the value again up to the end of its tag if it ran on behind that."""
        cursor = self.reader.cursor
        end, notes, closes = cursor.at, cursor.notes, _TAG_CLOSES.search(self.text, start, cursor.at)
        if closes is None:
            return value
        within = self._fenced(start, closes.start())
        if within is None:
            cursor.at, cursor.notes = end, notes
        return value if within is None else within

    def _fenced(self, start: int, end: int = -1) -> object:
        """Read a value up to the end of its fence or tag, which shows that brackets were forgotten, not cut off."""
        if end < 0:
            closes = _CLOSES.search(self.text, start)
            if closes is None:
                return None
            end = closes.start()
        try:
            return self.reader.read(start, end)
        except UnreadableValue:
            return None

    def _labelled(self, found: Candidate, before: str) -> Candidate:
        line = _LINE_BEGINS.search(before)
        given = (line["number"] or line["name"] or "") if line else ""
        label = ""
        if isinstance(found.value, dict):
            named = _LABEL.search(_LABEL_NOISE.sub("\n", _TAGGED_NAME.sub(r"\n\1", before)))
            label = named["name"] if named and self._names(named) else ""
        return replace(found, id=given, label=label) if given or label else found

    def _names(self, label: re.Match[str]) -> bool:
        if label["name"].casefold() in _NO_LABELS:
            return False
        return self.known(label["name"]) or (" " not in label["name"] and not self.known)

    def _look(self, start: int) -> bool:
        """Count a place that is tried; return False once there were too many."""
        self.looks -= 1
        if self.looks < 0:
            self.stopped = UnreadableValue("too_long", start)
        return self.looks >= 0

    def _before(self, start: int, after: int) -> str:
        """Return the text before a place, back to the value before it at most.

        If it begins in the middle of a line, a mark comes first: \\1 behind a value, \\0 elsewhere.
        """
        low = max(after, start - 200)
        within = low > 0 and self.text[low - 1] != "\n"
        mark = ("\1" if low == after else "\0") if within else ""
        return mark + self.text[low:start]

    # -- calls -----------------------------------------------------------------------------------------------

    def _call(self, opens: re.Match[str], after: int) -> Candidate | None:
        start, name = opens.start(), opens[0][:-1].strip()
        if name in _BUILTINS or not self._look(start):
            return None
        if self.known.spaced and not self.known(name):
            start = self._spaced_start(start, opens.end(), after)
            name = self.text[start : opens.end() - 1].strip()
        before, known = self._before(start, after), self.known(name)
        line = _LINE_BEGINS.search(before)
        if _DEFINES.search(before) or not (known or (line and " (" not in opens[0])):
            return None
        found = self._loose(start, regular=_QUICK_NAME.fullmatch(name) is not None)
        if found is None or not isinstance(found.value, Call):
            return None
        given = (line["number"] or line["name"] or "") if line else ""
        inline = not line or (bool(self.known) and not known)
        return Candidate(start, found.end, found.value, "calls", found.notes, exact=False, id=given, inline=inline)

    def _spaced_start(self, start: int, end: int, after: int) -> int:
        """Return where a known name of several words begins that ends before this bracket."""
        low = max(after, start - 80, self.text.rfind("\n", 0, start) + 1)
        words = [word.start() for word in re.finditer(r"\S+", self.text[low:start])]
        for at in words[-6:]:
            if self.known(self.text[low + at : end - 1]):
                return low + at
        return start


def _quickly(quick: RegularReader, start: int) -> Candidate:
    value = quick.read()
    return Candidate(start, quick.end, value, "loose", tuple(quick.notes), exact=False)


def repaired(text: str, start: int) -> Candidate | None:
    """Read a short value that is broken but not cut off with the repair library; None if that is not possible.

    The library never refuses, so the caller must count the steps. It closes open brackets, so the end must be known.
    """
    end = _end_in_sight(text, start)
    if end is None or end - start > MAX_REPAIRED:
        return None
    try:
        import json_repair
    except ImportError:  # an optional extra
        return None
    try:
        value = json_repair.loads(text[start:end], skip_json_loads=True)
    except (ValueError, RecursionError, IndexError, TypeError, KeyError, AttributeError):
        return None
    return Candidate(start, end, value, "repair", ("the repair library read it",), exact=False)


def _end_in_sight(text: str, start: int) -> int | None:
    """Return where a value ends: before the end of its fence or tag, or on the last line, below its opening bracket."""
    if closes := _CLOSES.search(text, start):
        return closes.start()
    last = _LAST_LINE.search(text)
    opened = text[text.rfind("\n", 0, start) + 1 : start]
    indent = len(opened) - len(opened.lstrip())
    matches = last and last[2][-1] == ("]" if text[start] == "[" else "}") and len(last[1]) <= indent
    return last.end(2) if last and matches else None
