"""Values and helpers shared by all ways of planning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from swarm.runtime.thread_pool import in_thread
from swarm.settings import LOCAL, Settings
from swarm.text.expert_ranking import NAMED, Match
from swarm.types.answer import Missing
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Aggregate, Subtask

T = TypeVar("T")

LONG = 10_000
"""Characters from which a text is processed in a thread."""

Publish = Callable[[Planned], Awaitable[None]]
"""Publishes subtasks that can begin while the rest of the plan is written: a Planned that is not closed."""


@dataclass(frozen=True, slots=True)
class DoneSubtask:
    """A solved subtask, as shown to the model that plans again. `text` is the beginning of its result."""

    id: str
    expert: str
    instruction: str
    text: str


@dataclass(frozen=True, slots=True)
class PriorPlan:
    """The outcome of the plan so far, for planning again."""

    done: tuple[DoneSubtask, ...] = ()
    failed: tuple[Missing, ...] = ()
    lacking: str = ""
    """What the results lack, in the words of the model that was to write the answer."""


def fallbacks(subtasks: Iterable[Subtask], cards: Mapping[str, Card]) -> dict[str, tuple[str, ...]]:
    """Map subtask ids to the experts to try if their own fails for good. Subtasks without fallbacks are left out."""
    return {s.id: cards[s.expert].fallback for s in subtasks if s.expert in cards and cards[s.expert].fallback}


def runner_ups(
    subtasks: Sequence[Subtask], ranked: Sequence[Sequence[Match]], cards: Mapping[str, Card], least: float
) -> dict[str, str]:
    """Map subtask ids to the expert to ask if the best one finds nothing, from the ranked experts of each.

    Only a `rag` expert has one: the next `rag` expert that scores at least `least` and half as much, and is no fallback
    of it. There is none for an expert that the request calls by name, or whose result a `when` of the plan asks for.
    """
    found: dict[str, str] = {}
    asked = {subtask.when.result.partition(".")[0] for subtask in subtasks if subtask.when}
    for subtask, (best, *others) in zip(subtasks, ranked, strict=True):
        card = cards[best.expert]
        if not card.searches or best.score >= NAMED or subtask.id in asked:
            continue
        enough = max(least, best.score / 2)
        able = (m.expert for m in others if m.score >= enough and cards[m.expert].searches)
        if other := next((name for name in able if name not in (best.expert, *card.fallback)), None):
            found[subtask.id] = other
    return found


async def in_thread_if_long(size: int, function: Callable[[], T]) -> T:
    """Call `function` directly for a short text, in a thread for a long one, so that leases go on being renewed."""
    return function() if size < LONG else await in_thread(function)


def resolved(aggregate: Aggregate, subtasks: Sequence[Subtask], *, writes: bool, again: bool = False) -> Aggregate:
    """Resolve the aggregate `auto` of a whole plan: `synthesis` for several results if a model can write, else `auto`.

    Edges must be written out in `depends_on`. A `for_each` gives several results, and so does a plan that continues
    an earlier one (`again`).
    """
    if aggregate != "auto" or not writes:
        return aggregate
    needed = {name for subtask in subtasks for name in subtask.depends_on}
    sinks = [subtask for subtask in subtasks if subtask.id not in needed]
    return "synthesis" if again or len(sinks) > 1 or any(sink.for_each for sink in sinks) else aggregate


def writer_of(settings: Settings) -> str:
    """Return the model that writes answers from several results; empty if there is none."""
    return settings.synthesis or (settings.planner if settings.planner != LOCAL else "")
