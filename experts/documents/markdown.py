"""Reads Markdown and plain text: headings in both forms, paragraphs, tables, code and front matter, with line numbers.

A list stays with the line that introduces it. Comments and directives of site generators are left out.
"""

from __future__ import annotations

import re
from itertools import groupby

from experts.documents.base import BlockKind, Document
from experts.documents.builder import LONGEST_HEADING, DocumentBuilder
from experts.documents.markup import split_front, visible
from experts.documents.tables import read_lines

_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_UNDERLINE = re.compile(r"(=+|-{3,})[ \t]*$")
_FENCE = re.compile(r"[ \t]{0,3}(```+|~~~+)")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]")


def read_text(name: str, text: str, title: str = "", first_line: int = 1) -> Document:
    """Read Markdown without front matter. `title` stands above all headings; `first_line` is the number of its first
    line in the file."""
    builder = DocumentBuilder(name, title, seconds=None)
    with builder.filling():
        _Reader(builder, first_line).read(text)
    return builder.built_as_written()


def read_markdown(name: str, text: str) -> Document:
    """Read the visible text of a decoded file, with the title of its front matter."""
    text = with_plain_line_ends(text)
    title, below = split_front(text)
    return read_text(name, visible(below), title, text.count("\n") - below.count("\n") + 1)


def with_plain_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")


class _Reader:
    """Collects lines until a blank line, a heading or a fence ends their block."""

    def __init__(self, builder: DocumentBuilder, first_line: int) -> None:
        self._builder, self._number = builder, first_line
        self._lines: list[str] = []
        self._first = first_line
        self._fence = ""

    def read(self, text: str) -> None:
        for line in text.split("\n"):
            self._read_line(line)
            self._number += 1
        self._flush()

    def _read_line(self, line: str) -> None:
        mark = _FENCE.match(line)
        if self._fence:
            self._append(line)
            if mark and mark[1].startswith(self._fence):
                self._flush()
                self._fence = ""
        elif mark:
            self._flush()
            self._append(line)
            self._fence = mark[1]
        elif heading := _heading(line, self._lines):
            above = self._number - (0 if line.lstrip().startswith("#") else 1)
            self._flush()
            self._builder.heading(*heading, lines=(above, self._number))
        elif line.strip():
            self._append(line)
        else:
            self._flush()

    def _append(self, line: str) -> None:
        if not self._lines:
            self._first = self._number
        self._lines.append(line)

    def _flush(self) -> None:
        """Add the lines as a block of code, or as paragraphs and tables."""
        lines, self._lines = self._lines, []
        first = self._first
        if self._fence:
            self._builder.add("code", "\n".join(lines).strip("\n"), lines=(first, first + len(lines) - 1))
            return
        for (header, is_rule), group in groupby(read_lines(lines), key=lambda line: (line.header, line.ruled)):
            texts = [line.text for line in group]
            if header:
                for number, row in enumerate(texts, first):
                    self._builder.add("row", row, lines=(number, number), header=header)
            else:
                kind: BlockKind = "header" if is_rule else "paragraph"
                self._builder.add(kind, "\n".join(texts), lines=(first, first + len(texts) - 1))
            first += len(texts)


def _heading(line: str, before: list[str]) -> tuple[int, str] | None:
    """Level and title of a heading in either Markdown form; an underlined title is removed from `before`."""
    # The end is stripped by hand, since a regular expression would take cubic time.
    matched = _HEADING.match(line.rstrip())
    if matched and len(title := matched[2].rstrip("#").rstrip() or matched[2][:1]) <= LONGEST_HEADING:
        return len(matched[1]), title
    if len(before) == 1 and _UNDERLINE.match(line) and not _ITEM.match(before[0]) and "|" not in before[0]:
        return (1 if line.startswith("=") else 2), before.pop().strip()
    return None
