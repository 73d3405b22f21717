"""A document as a list of blocks: what every parser returns and every chunk is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

BlockKind = Literal["heading", "paragraph", "header", "row", "code"]
"""`header` is the header of a table (in Markdown with its rule), `row` one row below it."""


class Block(NamedTuple):
    """A heading, paragraph, table row or piece of code, and where it is in its document."""

    kind: BlockKind
    text: str
    headings: tuple[str, ...] = ()
    """The headings above it, outermost first; a heading has itself as the last."""
    page: int | None = None
    """The page, from 1; None in a format without pages."""
    lines: tuple[int, int] | None = None
    """First and last line in the file, from 1; None in a format without lines."""
    header: str = ""
    """The header line of the table, for a row."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file as blocks in reading order. `name` is its path in the catalog."""

    name: str
    blocks: tuple[Block, ...] = ()
    title: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Such as author, subject and date, as the file says."""
    partly: tuple[str, ...] = ()
    """What was not read, as sentences after "partly read:"; empty if all of it was."""
    warnings: tuple[str, ...] = ()
    """Doubts about what was read, such as a guessed encoding."""

    @property
    def text(self) -> str:
        """All of its text, one block after another."""
        return "\n\n".join(block.text for block in self.blocks)


class UnreadableFile(Exception):
    """A file cannot be used, with the problem (after its name: "is encrypted") and the remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"
