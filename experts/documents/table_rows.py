"""Turns the rows of a sheet into tables: a header, rows below it, and lines of text between tables."""

from __future__ import annotations

from collections.abc import Iterable

from experts.documents.builder import DocumentBuilder, Lines

MAX_COLUMNS = 500


def add_rows(builder: DocumentBuilder, rows: Iterable[tuple[Lines, list[str]]]) -> None:
    """Add rows of cells. The first row with two cells or more is the header, until an empty row ends the table."""
    header = ""
    for lines, cells in rows:
        filled = [" ".join(cell.split()) for cell in cells]
        while filled and not filled[-1]:
            filled.pop()
        if len(filled) > MAX_COLUMNS:
            builder.leave_out(f"only the first {MAX_COLUMNS} columns are read")
            del filled[MAX_COLUMNS:]
        if not any(filled):
            header = ""
        elif not header and sum(map(bool, filled)) < 2:
            builder.add("paragraph", " ".join(cell for cell in filled if cell), lines=lines)
        elif not header:
            header = builder.add_header(filled, lines)
        else:
            builder.add_row(filled, header, lines)
