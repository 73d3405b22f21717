"""Find texts that a task needs but that stand with another: "classify this message: '...', then write a reply"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from swarm.planner.local.ordering import points_back
from swarm.planner.local.task import Span, Task
from swarm.text.english import MATERIAL, REPLYING, WEAK_STEMS

_POINTERS = frozenset("above below following same that the this those".split())


def borrowed(tasks: Sequence[Task]) -> list[tuple[Span, ...]]:
    """Return for every task the texts of other tasks that it refers to, as places in the request.

    "This message", "it" and "reply" mean the nearest quotation before, otherwise the next one behind. A word of a
    statement ("my parcel came on Monday") means that statement. A needless text costs tokens, a missing one the answer.
    """
    behind = _next_quotes(tasks)
    before: Span | None = None
    stated: dict[str, Span] = {}
    found: list[tuple[Span, ...]] = []
    for task, following in zip(tasks, behind, strict=True):
        speaks = task.quote is None and _speaks_of_a_text(task.words)
        nearest = (before or following) if speaks else None
        named = [stated.get(stem) for stem in task.meant if stem not in WEAK_STEMS]
        found.append(tuple(dict.fromkeys(span for span in (nearest, *named) if span)))
        if task.context:
            stated |= dict.fromkeys(task.context_meant, task.context)
        before = task.quote or task.context or before
    return found


def _next_quotes(tasks: Sequence[Task]) -> list[Span | None]:
    found: list[Span | None] = []
    following: Span | None = None
    for task in reversed(tasks):
        found.append(following)
        following = task.quote or following
    return found[::-1]


def _speaks_of_a_text(words: Sequence[str]) -> bool:
    pointed = any(b in MATERIAL and a in _POINTERS for a, b in pairwise(words))
    return pointed or bool(REPLYING.intersection(words)) or bool(points_back(words))
