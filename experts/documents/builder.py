"""Collects the blocks of a document, keeps the path of headings, and stops at the limits on text and time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from experts.documents.base import Block, BlockKind, Document

MAX_TEXT = 10_000_000
"""Maximum characters of a document; what follows is not read."""
MAX_BLOCKS = 200_000
SECONDS = 20.0
"""CPU seconds after which a parser stops and keeps what it has."""
LONGEST_HEADING = 200
"""Maximum characters of a heading; a longer one is text."""

Lines = tuple[int, int] | None


def table_line(cells: Sequence[str]) -> str:
    """A line of a table as Markdown writes it."""
    return f"| {' | '.join(cells)} |"


class DocumentFull(Exception):
    """A limit was reached: the parser stops, and the document keeps what it has."""


class DocumentBuilder:
    """Blocks of one document in reading order. `seconds`: CPU time after which no more is read."""

    def __init__(self, name: str, title: str = "", seconds: float | None = SECONDS) -> None:
        self.name, self.title = name, title
        self._trail: list[tuple[int, str]] = [(0, title[:LONGEST_HEADING])] if title else []
        self._path: tuple[str, ...] = (title[:LONGEST_HEADING],) if title else ()
        self._blocks: list[Block] = []
        self._room = MAX_TEXT
        self._until = None if seconds is None else time.process_time() + seconds
        self._partly: dict[str, None] = {}
        self._warnings: dict[str, None] = {}

    def heading(self, level: int, text: str, page: int | None = None, lines: Lines = None) -> None:
        """Add a heading; it replaces those of its level and below. A title of the same words is not repeated."""
        if len(text) > LONGEST_HEADING:
            self.add("paragraph", text, page, lines)
        elif text:
            kept = (above for above in self._trail if above[0] < level and (above[0] or above[1] != text))
            self._trail = [*kept, (level, text)]
            self._path = tuple(title for _, title in self._trail)
            self.add("heading", text, page, lines)

    def add(self, kind: BlockKind, text: str, page: int | None = None, lines: Lines = None, header: str = "") -> None:
        """Add a block below the current headings; one without words is left out. Raises DocumentFull."""
        if not text.strip():
            return
        if len(text) > self._room:
            self._blocks.append(Block(kind, text[: self._room], self._path, page, lines, header))
            self.leave_out(f"only the first {MAX_TEXT:,} characters are read", full=True)
        if len(self._blocks) >= MAX_BLOCKS:
            self.leave_out(f"only the first {MAX_BLOCKS:,} paragraphs and rows are read", full=True)
        if len(self._blocks) % 64 == 0 and self.is_late():
            where = f"from page {page}" if page else f"after {MAX_TEXT - self._room:,} characters"
            self.leave_out(f"the rest {where} took too long", full=True)
        self._room -= len(text)
        self._blocks.append(Block(kind, text, self._path, page, lines, header))

    def add_header(self, cells: Sequence[str], lines: Lines = None) -> str:
        """Add the header of a table, in the form of Markdown, and return its line for the rows."""
        header = table_line(cells)
        self.add("header", f"{header}\n|{'---|' * len(cells)}", lines=lines)
        return header

    def add_row(self, cells: Sequence[str], header: str = "", lines: Lines = None) -> None:
        """Add a row of a table."""
        self.add("row", table_line(cells), lines=lines, header=header)

    def leave_out(self, what: str, *, full: bool = False) -> None:
        """Note what is not read. Raises DocumentFull if nothing more is read (`full`)."""
        self._partly[what] = None
        if full:
            raise DocumentFull(what)

    def is_late(self) -> bool:
        """Whether the time for reading the document is over."""
        return self._until is not None and time.process_time() > self._until

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """A block that ends where the document is full."""
        with contextlib.suppress(DocumentFull):
            yield

    @property
    def is_empty(self) -> bool:
        return not self._blocks

    def warn(self, what: str) -> None:
        """Note a doubt about what is read."""
        self._warnings[what] = None

    def built(self, metadata: Mapping[str, str] | None = None) -> Document:
        """The document. A heading with nothing below it becomes a paragraph, so that its words are not lost."""
        blocks = tuple(
            block if block.kind != "heading" or below.headings[: len(block.headings)] == block.headings
            else block._replace(kind="paragraph")
            for block, below in pairwise([*self._blocks, Block("paragraph", "")])
        )  # fmt: skip
        return Document(self.name, blocks, self.title, dict(metadata or {}), tuple(self._partly), tuple(self._warnings))

    def built_as_written(self) -> Document:
        """The document, its headings as they are."""
        return Document(self.name, tuple(self._blocks), self.title, partly=tuple(self._partly))
