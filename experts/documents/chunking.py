"""Splits a document into chunks: whole paragraphs of one section and page, or whole rows of one table.

Short paragraphs of a section are joined, and long ones are cut between sentences. A table that does not fit into one
chunk gives several, each with the header. Respecting paragraphs gains eight points of recall; overlap gains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from zlib import crc32

from experts.documents.base import Block, Document

FULL = 200
"""Tokens at which a chunk takes no further paragraph or row."""
LONGEST = 1_400
"""Characters of the longest paragraph that is not cut; in scripts without spaces it is cut at as many tokens sooner."""
MOST = 310
"""Tokens of the longest paragraph that is not cut."""
LONGEST_ROW = 4_000
"""Characters of the longest row that is not cut."""

SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z0-9À-Þ])|(?<=[。！？])[”’」』）]*(?=\S)")
_PIECE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\u0e00-\u0e7f]|[^\W_]{1,6}|[^\w\s]")

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Chunk:
    """Consecutive text of one document that is encoded and searched as one."""

    document: str
    index: int
    """Its place in the document, from 0: its neighbours have the indexes before and after."""
    text: str
    headings: tuple[str, ...] = ()
    header: str = ""
    """The header line of the table, if the text is rows of a table that has several chunks."""
    page: int | None = None
    lines: tuple[int, int] | None = None

    @cached_property
    def searched(self) -> str:
        """The text with all that gives it its meaning: the path of headings and the header of its table."""
        parts = (" > ".join(self.headings), self.header, self.text)
        return "\n".join(part for part in parts if part)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is encoded: equal as long as its vector is, wherever the chunk moves."""
        return sha256(self.searched.encode("utf-8", "replace")).hexdigest()


def estimated_tokens(text: str) -> int:
    """An estimate of the tokens of a WordPiece encoder, without its vocabulary: a little high for plain English.

    >>> estimated_tokens("Returns within 30 days."), estimated_tokens("商品损坏")
    (6, 4)
    """
    return len(_PIECE.findall(text))


def chunks(document: Document, count: CountTokens = estimated_tokens, full: int = FULL) -> list[Chunk]:
    """Split a document into chunks, in its order; the same document always gives the same chunks.

    Only headings are left out, since each chunk has the path of those above it. `count` counts tokens.
    """
    found: list[Chunk] = []
    waiting: list[_Part] = []
    room = full

    def close() -> None:
        nonlocal room
        if waiting:
            found.append(_joined(document.name, len(found), waiting))
        waiting.clear()
        room = full

    for part in _parts(document, count, full):
        size = count(part.text)
        if waiting and (part.place != waiting[0].place or size > room):
            close()
        waiting.append(part)
        room -= size
        if room <= full // 2 and _is_boundary(part.text):
            close()
    close()
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """Text that is not cut any more: a paragraph, a short table, or a row of a long one."""

    text: str
    block: Block
    lines: tuple[int, int] | None

    @property
    def place(self) -> tuple[object, ...]:
        """What parts of one chunk share."""
        return self.block.headings, self.block.page, self.block.header


def _is_boundary(text: str) -> bool:
    """Whether a chunk that is half full ends here. It depends on this text only, so that after a change in a long
    section the chunks soon are the same as before."""
    return crc32(text.encode("utf-8", "replace")) % 3 == 0


def _joined(name: str, index: int, parts: Sequence[_Part]) -> Chunk:
    first = parts[0].block
    spans = [part.lines for part in parts if part.lines]
    lines = (spans[0][0], spans[-1][1]) if spans else None
    between = "\n" if first.header else "\n\n"
    text = between.join(part.text for part in parts)
    return Chunk(name, index, text, first.headings, first.header[:LONGEST], first.page, lines)


def _parts(document: Document, count: CountTokens, full: int) -> Iterator[_Part]:
    for is_table, group in groupby(document.blocks, key=lambda block: block.kind in ("header", "row")):
        blocks = list(group)
        if is_table:
            for table in _tables(blocks):
                yield from _table(table, count, full)
            continue
        for block in blocks:
            if block.kind != "heading":
                for text in cut_up(block.text, count):
                    yield _Part(text, block, block.lines)


def _tables(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Tables that follow each other directly, one by one."""
    table: list[Block] = []
    for block in blocks:
        last = table[-1] if table else None
        if last and (
            (block.kind == "header" and last.kind == "row")
            or (block.kind == last.kind == "row" and block.header != last.header)
            or (block.headings, block.page) != (last.headings, last.page)
        ):
            yield table
            table = []
        table.append(block)
    if table:
        yield table


def _table(blocks: Sequence[Block], count: CountTokens, full: int) -> Iterator[_Part]:
    """A table as one part if it fits into a chunk, else its rows."""
    whole = "\n".join(block.text for block in blocks).strip("\n")
    if len(whole) <= LONGEST and count(whole) <= MOST:
        spans = [block.lines for block in blocks if block.lines]
        yield _Part(whole, blocks[0]._replace(header=""), (spans[0][0], spans[-1][1]) if spans else None)
        return
    rows = [block for block in blocks if block.kind == "row"] or blocks
    for block in rows:
        if len(block.text) <= LONGEST_ROW:
            yield _Part(block.text, block, block.lines)
        else:
            for text in cut_up(block.text, count):
                yield _Part(text, block, block.lines)


def cut_up(text: str, count: CountTokens = estimated_tokens) -> Iterator[str]:
    """The parts of a text, cut between sentences where possible if it is too long."""
    if len(text) <= LONGEST and count(text) <= MOST:
        yield text
        return
    start = 0
    while start < len(text):
        limit = _limit(text, start, count)
        cut = len(text) if start + limit >= len(text) else _cut(text, start, limit)
        if piece := text[start:cut].strip():
            yield piece
        start = cut


def _limit(text: str, start: int, count: CountTokens) -> int:
    """Characters from `start` that surely fit into a chunk."""
    limit = LONGEST
    while limit > 100 and count(text[start : start + limit]) > MOST:
        limit = limit * 3 // 4
    return limit


def _cut(paragraph: str, start: int, limit: int) -> int:
    """The position of a cut: after the last sentence that fits, else at a space, else at the limit."""
    window = paragraph[start : start + limit]
    ends = [end.end() for end in SENTENCE_END.finditer(window)]
    if ends:
        return start + ends[-1]
    space = max(window.rfind(" "), window.rfind("\n"))
    return start + (space + 1 if space > limit // 2 else limit)
