"""Recognises Markdown tables, and assigns each row its header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class TableLine(NamedTuple):
    """A line of a paragraph; a table row comes with the header of its table."""

    text: str
    header: str = ""
    ruled: bool = False
    """Whether the line is a table header or the rule below it."""


def read_lines(lines: Sequence[str]) -> Iterator[TableLine]:
    """Classify the lines of a paragraph as text, table headers, rules or rows."""
    header, number = "", 0
    while number < len(lines):
        line = lines[number]
        if number + 2 < len(lines) and "|" in line and _is_rule(lines[number + 1]) and "|" in lines[number + 2]:
            header = line.strip()
            yield TableLine(line, ruled=True)
            yield TableLine(lines[number + 1], ruled=True)
            number += 2
            continue
        header = header if "|" in line else ""
        yield TableLine(line, header)
        number += 1


def _is_rule(line: str) -> bool:
    """Whether a line is the rule below a header, such as `|---|:-:|`."""
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    return "|" in line and all("-" in cell and not cell.strip(":-") for cell in cells)
