"""Reads CSV and TSV files as tables, in any usual encoding and with any usual delimiter."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from experts.documents.base import Document, UnreadableFile
from experts.documents.builder import DocumentBuilder, Lines
from experts.documents.encoding import Undecodable, decoded
from experts.documents.markdown import with_plain_line_ends
from experts.documents.table_rows import add_rows

DELIMITERS = (",", ";", "\t", "|")
SAMPLE = 20
"""Lines by which the delimiter is chosen."""


def parse(name: str, content: bytes) -> Document:
    """Read a delimited file; a file with one column is text. Raises UnreadableFile if it is not text or is empty."""
    try:
        text, guessed = decoded(content)
    except Undecodable as error:
        raise UnreadableFile(str(error), "save it as UTF-8") from None
    text = with_plain_line_ends(text)
    builder = DocumentBuilder(name)
    if guessed:
        builder.warn(guessed)
    with builder.filling():
        add_rows(builder, _rows(text))
    if builder.is_empty:
        raise UnreadableFile("is empty", "write something into it, or remove it")
    return builder.built()


def delimiter_of(text: str) -> str:
    """The delimiter that gives the first lines the same number of columns, the most if several do."""
    lines = [line for line in text[:100_000].split("\n") if line.strip()][:SAMPLE]

    def rating(delimiter: str) -> tuple[float, int]:
        counts = [line.count(delimiter) for line in lines]
        usual = max(set(counts), key=lambda count: (count > 0, counts.count(count))) if counts else 0
        return (counts.count(usual) / len(counts) if usual else 0.0, usual)

    return max(DELIMITERS, key=rating)


def _rows(text: str) -> Iterator[tuple[Lines, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # of the whole process: never lower it
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text))
    first = 1
    for row in reader:
        yield (first, reader.line_num), row
        first = reader.line_num + 1
