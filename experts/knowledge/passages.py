"""Passages of documents, and their sentences: what is searched, shown to a model and quoted.

A passage is a chunk of a document, or one row of a table that has several chunks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from experts.documents.base import Document
from experts.documents.chunking import LONGEST, SENTENCE_END, Chunk, chunks, cut_up
from experts.documents.tables import read_lines
from swarm.types.result import Citation

__all__ = ["LONGEST", "Passage", "Sentence", "passages", "sentences"]

_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]")
_SHORTENED = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|approx|Inc|Ltd|Co|Jr|Sr|cf|al))\.$")


@dataclass(frozen=True, slots=True)
class Passage:
    """Consecutive text of one section of a document. `section` is its path, such as `Returns > Damaged goods`."""

    document: str
    section: str
    text: str
    header: str = ""
    """The header line of the table, for a row of a long table."""
    page: int | None = None
    lines: tuple[int, int] | None = None

    @property
    def shown(self) -> str:
        """The text below its table header, if it has one."""
        return f"{self.header}\n{self.text}" if self.header else self.text

    @property
    def place(self) -> str:
        """Where it stands: the document, then its page and section, or without both its lines."""
        return self.cite("").place

    def cite(self, quote: str) -> Citation:
        """Cite words of it."""
        return Citation(document=self.document, section=self.section, quote=quote, page=self.page, lines=self.lines)


class Sentence(NamedTuple):
    """A sentence, list item or table row; a row comes with the header of its table."""

    text: str
    header: str = ""


def passages(document: Document) -> list[Passage]:
    """Split a document into passages, in its order. Only headings and blank lines are left out.

    In a table that does not fit into one passage, each row is a passage.
    """
    return [passage for chunk in chunks(document) for passage in passages_of(chunk)]


def passages_of(chunk: Chunk) -> Iterator[Passage]:
    """The passages of a chunk: itself, or each row of it if it has the header of a table."""
    section = " > ".join(chunk.headings)
    if not chunk.header:
        yield Passage(chunk.document, section, chunk.text, page=chunk.page, lines=chunk.lines)
        return
    rows = chunk.text.split("\n")
    for number, row in enumerate(rows):
        lines = chunk.lines
        if lines and lines[1] - lines[0] + 1 == len(rows):
            lines = (lines[0] + number, lines[0] + number)
        for piece in cut_up(row):
            yield Passage(chunk.document, section, piece, chunk.header, chunk.page, lines)


def sentences(passage: Passage) -> list[Sentence]:
    """The sentences of a passage, unchanged. List items and table rows count as sentences."""
    if passage.header:
        return [Sentence(passage.text, passage.header)]
    found: list[Sentence] = []
    for block in re.split(r"\n[ \t]*\n", passage.text):
        for part, header in _parts(block):
            found += [Sentence(part, header)] if header else map(Sentence, _split(part))
    return found


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
    for end in SENTENCE_END.finditer(part):
        # The longest abbreviation has six characters; looking further back would be slow.
        if not _SHORTENED.search(part, max(start, end.start() - 10), end.start()):
            yield part[start : end.start()].strip() + end[0].rstrip()
            start = end.end()
    if rest := part[start:].strip():
        yield rest
