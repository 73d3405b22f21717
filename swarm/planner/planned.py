"""What every way to a plan shares: harmless text, and the experts to fall back on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from swarm.models import Card, Subtask

_LITERAL = re.compile(r"\$(?=\{[A-Za-z0-9_.-]+\})")


def harmless(text: str) -> tuple[str, tuple[str, ...]]:
    """`text` without references to results, and a note if it had any.

    A caller's `${HOME}` is text, not an edge: it becomes `$ {HOME}`, which no reader takes for a reference.
    """
    safe, count = _LITERAL.subn("$ ", text)
    return safe, ((f"{count} literal ${{...}} in the request written as $ {{...}}",) if count else ())


def fallbacks(subtasks: Iterable[Subtask], cards: Mapping[str, Card]) -> dict[str, tuple[str, ...]]:
    """Subtask id -> experts to try when its own fails for good; only subtasks that have some."""
    return {s.id: cards[s.expert].fallback for s in subtasks if s.expert in cards and cards[s.expert].fallback}
