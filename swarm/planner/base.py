"""What the ways to a plan share: what they are given and publish, and how the answer is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from swarm.runtime.thread_pool import in_thread
from swarm.settings import LOCAL, Settings
from swarm.types.answer import Missing
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Aggregate, Subtask

T = TypeVar("T")

LONG = 10_000
"""Characters from which a text is read in a thread."""

Publish = Callable[[Planned], Awaitable[None]]
"""Takes subtasks that can begin while the rest is still being written: a Planned that is not closed."""


@dataclass(frozen=True, slots=True)
class DoneSubtask:
    """A solved subtask, as a planner that plans again sees it. `text` is the beginning of its result."""

    id: str
    expert: str
    instruction: str
    text: str


@dataclass(frozen=True, slots=True)
class PriorPlan:
    """What came of the plan so far, for a planner that plans again."""

    done: tuple[DoneSubtask, ...] = ()
    failed: tuple[Missing, ...] = ()
    lacking: str = ""
    """What the results do not hold, in the words of the model that was to write the answer."""


def fallbacks(subtasks: Iterable[Subtask], cards: Mapping[str, Card]) -> dict[str, tuple[str, ...]]:
    """Subtask id -> experts to try when its own fails for good; only subtasks that have some."""
    return {s.id: cards[s.expert].fallback for s in subtasks if s.expert in cards and cards[s.expert].fallback}


async def in_thread_if_long(size: int, function: Callable[[], T]) -> T:
    """Call it here if what it reads is short, in a thread if it is long, so that the process goes on renewing."""
    return function() if size < LONG else await in_thread(function)


def resolved(aggregate: Aggregate, subtasks: Sequence[Subtask], *, writes: bool, again: bool = False) -> Aggregate:
    """What `auto` means for a whole plan: `synthesis` for several results where a model can write, else itself.

    Edges must be written out in `depends_on`. A `for_each` gives several results, and so does a plan that takes up
    where another stopped (`again`).
    """
    if aggregate != "auto" or not writes:
        return aggregate
    needed = {name for subtask in subtasks for name in subtask.depends_on}
    sinks = [subtask for subtask in subtasks if subtask.id not in needed]
    return "synthesis" if again or len(sinks) > 1 or any(sink.for_each for sink in sinks) else aggregate


def writer_of(settings: Settings) -> str:
    """The model that writes answers out of several results; empty if there is none."""
    return settings.synthesis or (settings.planner if settings.planner != LOCAL else "")
