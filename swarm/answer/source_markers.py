"""Parse source marks in a text that a model writes: `[t1]` or `[r1.t2, t3]` after words based on these subtasks.

A mark is a group in square brackets whose words are all ids of subtasks, or look like one. In round brackets, which
also enclose remarks and arguments, every word must be a known id with a letter and a digit. Other brackets are plain
text: `[x]`, `[see below]`, `f(t1)` and every `[words](link)`. Readers never see marks: the shown text has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_PARAGRAPHS = 500
"""Paragraphs of one text; the rest belongs to the last one."""

_ROUND = r"[A-Za-z0-9_.#&,; \t-]"
_MARK = re.compile(
    r"[ \t]{0,8}(?:\[(?P<square>[^\[\]\n]{1,300})\](?!\()|(?<![\w\])])\((?P<round>" + _ROUND + r"{1,100})\))"
)
_OPEN = re.compile(r"[ \t]{0,8}(?:\[[^\[\]\n]{0,300}\]?|\(" + _ROUND + r"{0,100})?\Z")
"""The beginning of a mark, or of the space before it, at the end of a text that is still growing."""
_LONGEST = 320
"""Upper limit of the characters that `_OPEN` can match."""
_ID = re.compile(r"[A-Za-z0-9_-]+(?:[.#][A-Za-z0-9_-]+)*")
_LETTER_AND_DIGIT = re.compile(r"[A-Za-z].*[0-9]|[0-9].*[A-Za-z]")
_GAP = re.compile(r"\n[ \t\r]*\n\s*")
_LOOKED_UP = 1_000
"""Groups in brackets whose meaning is cached."""
_BETWEEN = frozenset({"and", "&"})


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph without its marks, and the subtasks that they name."""

    text: str
    subtasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcedText:
    """A text without its marks, with its paragraphs. `unknown` are marks that look like ids of no subtask."""

    text: str
    paragraphs: tuple[Paragraph, ...] = ()
    unknown: tuple[str, ...] = ()


class MarkerParser:
    """Recognises the marks of one text, given the ids of its subtasks.

    An id matches in upper or lower case, without its round if that is unambiguous, and with a field of its result.

    >>> marks = MarkerParser(["r1.t1", "r1.t2"])
    >>> marks.named("T1, r1.t2.label")
    (('r1.t1', 'r1.t2'), ())
    >>> marks.named("t7"), marks.named("x")
    (((), ('t7',)), None)
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._names: dict[str, str] = {}
        short: dict[str, list[str]] = {}
        for name in ids:
            self._names[name.casefold()] = name
            short.setdefault(name.casefold().partition(".")[2], []).append(name)
        self._names |= {
            key: names[0] for key, names in short.items() if key and len(names) == 1 and key not in self._names
        }
        self._found: dict[str, tuple[tuple[str, ...], tuple[str, ...]] | None] = {}
        self._shapes = {_shape(key) for key in self._names if any(c.isdigit() for c in key)}

    def named(self, inside: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Return the subtasks that a group in brackets names, and unknown ids in it; None if it is no mark.

        The same few marks come many times in a text, so results are cached, up to a limit.
        """
        if inside not in self._found:
            if len(self._found) >= _LOOKED_UP:
                self._found.clear()
            self._found[inside] = self._named(inside)
        return self._found[inside]

    def of(self, found: re.Match[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Do the same for a match of a group in square or round brackets."""
        if (inside := found["round"]) is None:
            return self.named(found["square"])
        named = self.named(inside)
        sure = named is not None and not named[1] and all(_LETTER_AND_DIGIT.search(name) for name in named[0])
        return named if sure else None

    def _named(self, inside: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        words = [word for word in re.split(r"[\s,;]+", inside) if word and word not in _BETWEEN]
        known: dict[str, None] = {}
        unknown: dict[str, None] = {}
        for word in words:
            if (name := self._resolved(word)) is not None:
                known[name] = None
            elif _ID.fullmatch(word) and _shape(word.casefold()) in self._shapes:
                unknown[word] = None
            else:
                return None
        return (tuple(known), tuple(unknown)) if words else None

    def _resolved(self, word: str) -> str | None:
        parts = word.casefold().split(".")
        found = (self._names.get(".".join(parts[:length])) for length in range(len(parts), 0, -1))
        return next((name for name in found if name is not None), None)


class MarkerStripper:
    """Removes marks from a text that comes in pieces. Each part is passed on as soon as it is clearly no mark.

    The output does not depend on how the text was cut into pieces.
    """

    def __init__(self, marks: MarkerParser) -> None:
        self._marks, self._held = marks, ""
        self._last = ""
        """The character before the held text: after some characters a round bracket opens no mark."""

    def add(self, piece: str) -> str:
        """Take a piece and return the text that can be shown now."""
        whole = self._held + piece
        tail = whole[-_LONGEST:]
        still_open = _OPEN.search(tail)
        cut = len(whole) - len(tail) + (still_open.start() if still_open else len(tail))
        self._held = whole[cut:]
        return self._clean(whole, cut)

    def end(self) -> str:
        """Return the rest, after the last piece."""
        rest, self._held = self._held, ""
        return self._clean(rest, len(rest))

    def _clean(self, text: str, cut: int) -> str:
        """Return `text[:cut]` without its marks. The text around it can show that a group is no mark."""
        at = len(self._last)
        around, end = self._last + text, at + cut
        whole = around[:end]
        shown: list[str] = []
        for found in _MARK.finditer(around, at):
            if found.start() >= end:
                break
            if self._marks.of(found) is not None:
                shown.append(whole[at : found.start()])
                at = found.end()
        self._last = whole[-1:]
        return "".join((*shown, whole[at:]))


def read(text: str, marks: MarkerParser) -> SourcedText:
    """Parse a whole text: the shown text, its paragraphs with their subtasks, and marks that name no subtask."""
    paragraphs: list[Paragraph] = []
    unknown: dict[str, None] = {}
    for part in _GAP.split(text, MAX_PARAGRAPHS - 1):
        known, others = _found(part, marks)
        unknown |= dict.fromkeys(others)
        shown = plain(part, marks).strip()
        if shown:
            paragraphs.append(Paragraph(shown, known))
        elif known and paragraphs:  # marks on a line of their own belong to the paragraph before
            last = paragraphs.pop()
            paragraphs.append(Paragraph(last.text, tuple(dict.fromkeys(last.subtasks + known))))
    return SourcedText(plain(text, marks).strip(), tuple(paragraphs), tuple(unknown))


def plain(text: str, marks: MarkerParser) -> str:
    """Return `text` without its marks."""
    shown = MarkerStripper(marks)
    return shown.add(text) + shown.end()


def _found(text: str, marks: MarkerParser) -> tuple[tuple[str, ...], tuple[str, ...]]:
    groups = [named for group in _MARK.finditer(text) if (named := marks.of(group)) is not None]
    known = dict.fromkeys(name for names, _ in groups for name in names)
    return tuple(known), tuple(name for _, names in groups for name in names)


def _shape(name: str) -> str:
    return re.sub(r"\d+", "0", name)
