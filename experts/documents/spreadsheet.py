"""Reads spreadsheets with python-calamine: a heading for each sheet, and its rows as tables."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime, time
from itertools import chain
from typing import Any

from experts.documents.base import Document, UnreadableFile
from experts.documents.builder import DocumentBuilder, Lines
from experts.documents.table_rows import add_rows
from experts.documents.zip_file import OLE, open_zip


def parse(name: str, content: bytes) -> Document:
    """Read the cells' values. Raises UnreadableFile if the file is encrypted, broken, or has no values."""
    import python_calamine

    if not (content.startswith(OLE) and name.lower().endswith(".xls")):
        open_zip(content, "XLSX").close()
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
    except python_calamine.PasswordError:
        raise UnreadableFile("is encrypted", "save it without a password") from None
    except (python_calamine.CalamineError, ValueError, OSError):
        raise UnreadableFile("is broken, or no spreadsheet", "save or export it again") from None
    builder = DocumentBuilder(name)
    with builder.filling():
        for sheet in book.sheet_names:
            try:
                rows = _numbered(book.get_sheet_by_name(sheet).iter_rows())
            except (python_calamine.CalamineError, ValueError):
                builder.leave_out(f"the sheet {sheet[:80]!r} cannot be read")
                continue
            first = next(((lines, row) for lines, row in rows if any(row)), None)
            if first:
                builder.heading(1, " ".join(sheet.split()))
                add_rows(builder, chain((first,), rows))
    if builder.is_empty:
        raise UnreadableFile("has no values", "write something into it, or remove it")
    return builder.built()


def _numbered(rows: Iterator[list[Any]]) -> Iterator[tuple[Lines, list[str]]]:
    for number, row in enumerate(rows, start=1):
        yield (number, number), [_shown(value) for value in row]


def _shown(value: object) -> str:
    """A value as a reader of the sheet sees it."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "minutes")
    return str(value)
