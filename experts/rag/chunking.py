"""Splits a document into passages: whole paragraphs, each with the path of headings above it.

A passage never joins text of two sections. Short paragraphs of a section are joined, and long ones are cut between
sentences. Respecting paragraphs gains eight points of recall; overlap gains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from experts.rag.documents import Document
from experts.rag.tables import read_lines

FULL = 900
"""Length in characters at which a passage takes no further paragraph: about 200 tokens."""
LONGEST = 1_400
LONGEST_TITLE = 200
"""Maximum characters of a heading; a longer line after a # is text."""

_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_UNDERLINE = re.compile(r"(=+|-{3,})[ \t]*$")
_FENCE = re.compile(r"[ \t]{0,3}(```+|~~~+)")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]")
_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z0-9À-Þ])|(?<=[。！？])[”’」』）]*(?=\S)")
_SHORTENED = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|approx|Inc|Ltd|Co|Jr|Sr|cf|al))\.$")


@dataclass(frozen=True, slots=True)
class Passage:
    """Consecutive text of one section of a document. `section` is its path, such as `Returns > Damaged goods`."""

    document: str
    section: str
    text: str
    header: str = ""
    """The header line of the table, for a row of a long table."""

    @property
    def shown(self) -> str:
        """The text below its table header, if it has one."""
        return f"{self.header}\n{self.text}" if self.header else self.text


class Sentence(NamedTuple):
    """A sentence, list item or table row; a row comes with the header of its table."""

    text: str
    header: str = ""


def passages(document: Document) -> list[Passage]:
    """Split a document into passages, in its order. Only headings and blank lines are left out.

    In a table that does not fit into one passage, each row is a passage.
    """
    found: list[Passage] = []
    for section, paragraph in _paragraphs(document):
        for piece, header in _pieces(paragraph):
            last = found[-1] if found else None
            together = last and last.section == section and not header and not last.header
            if last and together and len(last.text) + len(piece) + 2 <= FULL:
                found[-1] = Passage(document.name, section, f"{last.text}\n\n{piece}")
            else:
                found.append(Passage(document.name, section, piece, header))
    return found


def sentences(passage: Passage) -> list[Sentence]:
    """The sentences of a passage, unchanged. List items and table rows count as sentences."""
    if passage.header:
        return [Sentence(passage.text, passage.header)]
    found: list[Sentence] = []
    for block in re.split(r"\n[ \t]*\n", passage.text):
        for part, header in _parts(block):
            found += [Sentence(part, header)] if header else map(Sentence, _split(part))
    return found


def _paragraphs(document: Document) -> Iterator[tuple[str, str]]:
    """Yield (section, paragraph); a list stays with the line that introduces it."""
    text, title = document.text, document.title[:LONGEST_TITLE]
    trail: list[tuple[int, str]] = [(0, title)] if title else []
    lines: list[str] = []
    fenced = ""
    for line in [*text.split("\n"), ""]:
        mark = _FENCE.match(line)
        if mark and (not fenced or mark[1].startswith(fenced)):
            fenced = "" if fenced else mark[1]
        heading = None if fenced else _heading(line, lines)
        if heading or (not line.strip() and not fenced):
            if body := "\n".join(lines).strip("\n"):
                yield " > ".join(title for _, title in trail), body
            lines = []
        if heading:
            trail = [
                *(above for above in trail if above[0] < heading[0] and (above[0] or above[1] != heading[1])),
                heading,
            ]
        elif line.strip() or fenced:
            lines.append(line)
    if body := "\n".join(lines).strip("\n"):
        yield " > ".join(title for _, title in trail), body


def _heading(line: str, before: list[str]) -> tuple[int, str] | None:
    """Level and title of a heading in either Markdown form; an underlined title is removed from `before`."""
    # The end is stripped by hand, since a regular expression would take cubic time.
    matched = _HEADING.match(line.rstrip())
    if matched and len(title := matched[2].rstrip("#").rstrip() or matched[2][:1]) <= LONGEST_TITLE:
        return len(matched[1]), title
    if len(before) == 1 and _UNDERLINE.match(line) and not _ITEM.match(before[0]) and "|" not in before[0]:
        return (1 if line.startswith("=") else 2), before.pop().strip()
    return None


def _pieces(paragraph: str) -> Iterator[tuple[str, str]]:
    """The parts of a paragraph, cut if too long, each with the table header if it is a row."""
    if len(paragraph) <= LONGEST:
        yield paragraph, ""
        return
    lines = read_lines(paragraph.split("\n"))
    for (header, ruled), group in groupby(lines, key=lambda line: (line.header, line.ruled)):
        texts = [line.text for line in group]
        for text in texts if header else () if ruled else ["\n".join(texts)]:
            yield from ((piece, header[:LONGEST]) for piece in _cut_up(text))


def _cut_up(text: str) -> Iterator[str]:
    """The parts of a text, cut between sentences where possible if it is too long."""
    start = 0
    while len(text) - start > LONGEST:
        cut = _cut(text, start)
        if piece := text[start:cut].strip():
            yield piece
        start = cut
    if rest := text[start:].strip():
        yield rest


def _cut(paragraph: str, start: int) -> int:
    """The position of a cut: after the last sentence that fits, else at a space, else at the limit."""
    window = paragraph[start : start + LONGEST]
    ends = [end.end() for end in _END.finditer(window)]
    if ends:
        return start + ends[-1]
    space = max(window.rfind(" "), window.rfind("\n"))
    return start + (space + 1 if space > LONGEST // 2 else LONGEST)


def _parts(block: str) -> Iterator[tuple[str, str]]:
    """The list items, table rows and other lines of a block; rows come with their table header."""
    part: list[str] = []
    for line in read_lines(block.split("\n")):
        if part and (line.header or line.ruled or _ITEM.match(line.text) or line.text.lstrip().startswith("|")):
            yield "\n".join(part), ""
            part = []
        if line.header:
            yield line.text, line.header
        elif not line.ruled:
            part.append(line.text)
    if part:
        yield "\n".join(part), ""


def _split(part: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(part):
        # The longest abbreviation has six characters; looking further back would be slow.
        if not _SHORTENED.search(part, max(start, end.start() - 10), end.start()):
            yield part[start : end.start()].strip() + end[0].rstrip()
            start = end.end()
    if rest := part[start:].strip():
        yield rest
