"""Markdown tables: which lines are one, and which row of it stands under which header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class TableLine(NamedTuple):
    """A line of a paragraph. A row of a table has the header of its columns."""

    text: str
    header: str = ""
    ruled: bool = False
    """It is a header, or the rule below one: no row, and nothing that says something by itself."""


def read_lines(lines: Sequence[str]) -> Iterator[TableLine]:
    """The lines of a paragraph, with those of its tables known for what they are."""
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
