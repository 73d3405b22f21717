"""README.md and docs/ as a reader sees them: code blocks, links and anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (.*?) -->\n\Z")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced code block. `line` is the line of its fence; `comment` is the HTML comment directly above it.

    `output` is the text block that directly follows a Python block: what the code prints.
    """

    page: str
    line: int
    language: str
    code: str
    comment: str = ""
    output: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One Markdown file of the documentation. `name` is its path from the root of the project."""

    name: str
    text: str

    @property
    def blocks(self) -> list[Block]:
        return list(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        for found in _FENCE.finditer(self.text):
            above = _COMMENT.search(self.text[: found.start()])
            below = _FENCE.match(self.text, found.end() + 1)
            yield Block(
                page=self.name,
                line=self.text.count("\n", 0, found.start()) + 1,
                language=found[1],
                code=found[2],
                comment=above[1] if above else "",
                output=below[2] if below and below[1] == "text" else "",
            )

    @property
    def prose(self) -> str:
        return _FENCE.sub("", self.text)

    @property
    def links(self) -> list[str]:
        """Targets inside the project, each as `path#anchor`, `path` or `#anchor`."""
        return [target for target in _LINK.findall(self.prose) if "://" not in target]

    @property
    def anchors(self) -> set[str]:
        """The anchors of the headings, as GitHub makes them."""
        plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(self.prose))
        return {heading.strip().replace(" ", "-") for heading in plain}


def pages() -> dict[str, Page]:
    """All pages of the documentation by name."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return {name: Page(name, path.read_text()) for name, path in zip(names, paths, strict=True)}
