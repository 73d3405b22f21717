"""Find references to steps in all common forms: `${t1}`, `<node-0>`, `<GENERATED>-0`, `#E1`, `$1`, `{{t1}}`, "Step 1".

A form without another meaning (`${...}`, `<node-3>`, `#E3`) is a reference even if there is no such step. Any other is
one only if it names a step or its expert; otherwise it is text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from swarm.text.expert_ranking import squeezed

Target = int | str
"""A step by its index, or the id of a result of an earlier round."""
Form = Literal["ours", "marked", "loose", "dollar", "said"]
"""The form of a reference; `said` is one in the words of a sentence."""
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_KIND = "step|task|subtask|node|generated|resource|result|output|expert|e|s|t"
_ONE_BASED = frozenset(("step", "task", "subtask", "e", "s", "t"))
_NUMBERED = re.compile(rf"(?:<?({_KIND})>?)?[\s_#.\-]{{0,3}}(\d{{1,4}})", re.I)
_PATH = r"(?:\.[A-Za-z_][\w-]{0,99}|\.\d{1,4}|\[\w{1,99}\]){0,20}"
_MENTION = re.compile(
    r"(?<!\$)\$\{(?P<ours>[^{}$\n]{1,256})\}"
    r"|\{\{(?P<braces>[^{}\n]{1,256})\}\}"
    rf"|<(?P<kind>{_KIND})(?:>[-_ ]?|[-_ ]?)(?P<number>\d{{1,4}})(?P<inner>{_PATH})>?(?P<outer>{_PATH})"
    r"|<(?P<angle>[A-Za-z][\w .-]{0,79})>"
    rf"|\#E(?P<hash>\d{{1,4}})\b(?P<hashed>{_PATH})"
    rf"|\$(?P<dollar>[A-Za-z_][\w-]{{0,63}}|\d{{1,4}})(?![\w{{-])(?P<dollared>{_PATH})(?:\$(?!\{{))?"
    r"|\b(?:output|result|answer|response)s?[ ](?:of|from)[ ](?P<said>(?:step|task|subtask|node)[ _#-]?\d{1,4})\b",
    re.I,
)
_HINT = re.compile(r"[$<]|\{\{|\#e\d|\b(?:of|from) (?:step|task|subtask|node)", re.I)
_WHOLE = re.compile(
    rf"(?P<name>[A-Za-z][A-Za-z_-]*[-_ ]?\d{{1,4}})(?P<path>{_PATH})"
    r"|(?:the )?(?:output|result)s? (?:of|from) (?P<said>[\w -]{1,64})",
    re.I,
)
_NUMBERED_VALUE = re.compile(rf"(?:node|step|generated|result|output)[-_]?\d{{1,4}}{_PATH}|.*\b(?:of|from) .*\d", re.I)
_INDEX = re.compile(r"\[[\"']?(\w{1,99})[\"']?\]")
_LONGEST = 200
"""Characters of a value that may be only a reference."""


class Mention(NamedTuple):
    """A place in a text that may name a step."""

    start: int
    end: int
    name: str
    path: tuple[str, ...]
    form: Form


def mentions(text: str) -> Iterator[Mention]:
    """Yield all places that may name a step, in order."""
    if _HINT.search(text):
        yield from map(_mention, _MENTION.finditer(text))


def _mention(found: re.Match[str]) -> Mention:
    start, end = found.span()
    if (name := found["ours"] or found["braces"]) is not None:
        head, *path = _INDEX.sub(r".\1", name).strip().split(".")
        return Mention(start, end, head, tuple(filter(None, path)), "ours" if found["ours"] else "loose")
    if found["number"]:
        path_ = _path(found["inner"] + found["outer"])
        return Mention(start, end, f"{found['kind']} {found['number']}", path_, "marked")
    if found["hash"]:
        return Mention(start, end, f"E{found['hash']}", _path(found["hashed"]), "marked")
    if found["dollar"]:
        return Mention(start, end, found["dollar"], _path(found["dollared"]), "dollar")
    if found["said"]:
        return Mention(start, end, found["said"], (), "said")
    return Mention(start, end, found["angle"], (), "loose")


def whole(text: str) -> Mention | None:
    """Read a value that is only a name with a number (`node-1`, `t1.field`) or "the output of NAME"."""
    found = _WHOLE.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if found is None:
        return None
    return Mention(0, len(text), found["name"] or found["said"], _path(found["path"] or ""), "loose")


def numbered_value(text: str) -> Mention | None:
    """Read such a value if its form shows that the number is that of a step: `node-1`, but not `Task 1` or `N1`."""
    found = whole(text)
    return found if found and _NUMBERED_VALUE.fullmatch(text.strip()) else None


def _path(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[.\[\]]+", text) if part)


@dataclass(frozen=True, slots=True)
class NumberBases:
    """Whether the numbers behind each word count from 0 or from 1, with notes for the plan."""

    of: Mapping[str, int]
    notes: tuple[str, ...] = ()
    open: frozenset[str] = frozenset()
    """Words whose numbers are possible both ways."""


class StepReferences:
    """Resolves names to steps within one draft."""

    def __init__(
        self,
        written: Sequence[str],
        called: Sequence[str],
        experts: Sequence[Collection[str]],
        known: Collection[str],
    ) -> None:
        """Takes for each step its id as written ("" for none), its id in the plan, and the names of its expert."""
        self._range, self._known = range(len(written)), known
        self._exact: dict[str, int] = {}
        for at, name in enumerate(written):
            if name:
                self._exact.setdefault(name, at)
        self._loose = _once((squeezed(name), at) for name, at in self._exact.items())
        numbers = [re.search(r"\d{1,4}$", name) for name in written]
        self._numbers = _once((int(n[0]), at) for at, n in enumerate(numbers) if n) if all(numbers) else {}
        self._called = {name: at for at, name in enumerate(called)}
        self._tails = _once((name.partition(".")[2], name) for name in known if "." in name)
        self._experts: dict[str, list[int]] = {}
        for at, names in enumerate(experts):
            for key in {squeezed(name[:_LONGEST]) for name in names} - {""}:
                self._experts.setdefault(key, []).append(at)
        self.bases = NumberBases({})

    def by_id(self, name: str) -> Target | None:
        """Return the step with this id, in any spelling."""
        if (found := self._exact.get(name)) is not None:
            return found
        if name in self._known:
            return name
        loose = self._loose.get(squeezed(name)) if self._loose else None
        return self._tails.get(name) if loose is None else loose

    def by_expert(self, name: str) -> Sequence[int]:
        """Return all steps of an expert."""
        return self._experts.get(squeezed(name[:_LONGEST]), ())

    def named(self, mention: Mention) -> tuple[Target, tuple[str, ...]] | None:
        """Resolve a mention to a step and the path of fields in its result; None if it names no step."""
        parts = (mention.name, *mention.path)
        for length in range(min(len(parts), 3), 0, -1):
            if (found := self.by_id(".".join(parts[:length]))) is not None:
                return found, parts[length:]
        at = self._numbered_mention(mention)
        if at is None and mention.form == "ours":
            at = self._called.get(mention.name)
        return None if at is None else (at, mention.path)

    def _numbered_mention(self, mention: Mention) -> int | None:
        """Resolve a number. `$5` and `{{5}}` may mean anything: they count only if the steps have numbers for ids."""
        if mention.name.isdigit() and mention.form in ("dollar", "loose"):
            return self._numbers.get(int(mention.name))
        return None if mention.form == "dollar" else self.numbered(mention.name)

    def number(self, name: str) -> tuple[str, int] | None:
        """Split a name that gives a step's place, such as `Step 3` or `3`, into its word and its number."""
        found = _NUMBERED.fullmatch(name.strip())
        if found is None or self._numbers or self.by_id(name) is not None:
            return None
        return (found[1] or "").lower(), int(found[2])

    def numbered(self, name: str) -> int | None:
        """Return the step with a number: by id if all ids end in numbers, otherwise by place."""
        found = _NUMBERED.fullmatch(name.strip())
        if found is None or self._numbers:
            return self._numbers.get(int(found[2])) if found else None
        at = int(found[2]) - self._base(found[1])
        return at if at in self._range else None

    def counted_otherwise(self, name: str) -> int | None:
        """Return the step with a number, counted from the other base than elsewhere in the plan."""
        found = _NUMBERED.fullmatch(name.strip())
        if found is None or self.number(name) is None:
            return None
        at = int(found[2]) - (1 - self._base(found[1]))
        return at if at in self._range else None

    def _base(self, word: str | None) -> int:
        known = (word or "").lower()
        return self.bases.of.get(known, int(known in _ONE_BASED))

    def ends(self, name: str) -> Sequence[Target]:
        """Return the steps that an end of a link means: by id, by number, or all of an expert."""
        if (found := self.by_id(name)) is not None:
            return (found,)
        if (at := self.numbered(name)) is not None:
            return (at,)
        mention = next(mentions(name), None)
        named = self.named(mention) if mention else None
        return (named[0],) if named else self.by_expert(name)


def bases(numbers: Iterable[tuple[int, str, int]], edges: Collection[tuple[Target, Target]]) -> NumberBases:
    """Decide for each word whether its numbers count from 0 or from 1, so that they mean existing earlier steps.

    `numbers` has (step, word, number). If both are possible, agreement with the `edges` decides, then the usual way.
    """
    seen: dict[str, list[tuple[int, int]]] = {}
    for at, word, number in numbers:
        seen.setdefault(word, []).append((at, number))
    of: dict[str, int] = {}
    notes, unsure = [], set()
    for word, found in seen.items():
        usual = int(word in _ONE_BASED)
        sound = [sum(0 <= n - base < at for at, n in found) for base in (0, 1)]
        agrees = [sum((n - base, at) in edges for at, n in found) for base in (0, 1)]
        of[word] = _better(sound, agrees, usual)
        if of[word] != usual:
            notes.append(f"numbers {f'of {word!r} ' if word else ''}read as counted from {of[word]}")
        if not word and sound == [len(found)] * 2 and agrees[0] == agrees[1]:
            unsure.add(word)
    return NumberBases(of, tuple(notes), frozenset(unsure))


def _better(sound: Sequence[int], agrees: Sequence[int], usual: int) -> int:
    for zero, one in (sound, agrees):
        if zero != one:
            return int(one > zero)
    return usual


def _once(pairs: Iterable[tuple[K, V]]) -> dict[K, V]:
    """Keep the keys that mean one thing only."""
    found: dict[K, V] = {}
    twice = set()
    for key, value in pairs:
        if key == "" or found.setdefault(key, value) != value:
            twice.add(key)
    return {key: value for key, value in found.items() if key not in twice}
