"""Cards as Markdown files."""

from __future__ import annotations

from pathlib import Path

from experts.catalog.card_reader import CardReader
from swarm.errors import InvalidCard

BODY = "Say hello to {{ instruction }}."


def written(folder: Path, front: str, body: str = BODY, name: str = "greeter.md") -> Path:
    path = folder / name
    path.write_text(f"---\n{front}\n---\n{body}\n", encoding="utf-8")
    return path


def a_front(**fields: str) -> str:
    """A sound front matter with some fields changed; an empty text leaves one out."""
    sound = {"kind": "instruction", "description": "Greets people.", "model": "local/template"}
    return "\n".join(f"{name}: {value}" for name, value in (sound | fields).items() if value)


def problem(folder: Path, front: str, body: str = BODY) -> InvalidCard:
    """The one problem of this card."""
    problems = CardReader(written(folder, front, body), folder).problems
    assert len(problems) == 1, [str(one) for one in problems]
    assert problems[0].path == "greeter.md"
    assert problems[0].remedy
    return problems[0]
