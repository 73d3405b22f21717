"""What becomes of a subtask when all it waits for is settled: does its condition hold, and how often does it run? Pure.

Both hang on earlier results. Those are looked up once, when a decision needs them (`needed`), and put on record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from swarm.models import Reason
from swarm.plans import MAX_SUBTASKS, Subtask
from swarm.progress import WELL, Progress

LENGTH = "[]"
"""Behind a reference: the length of the list there, rather than its value."""


@dataclass(frozen=True, slots=True)
class Skip:
    """It does not run, and nothing is missing for that."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Refuse:
    """It cannot run."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Expand:
    """It runs once for each of so many items."""

    items: int


@dataclass(frozen=True, slots=True)
class Known:
    """What was looked up, as in `Progress`, and the bounds of an expansion."""

    values: Mapping[str, Any]
    unknown: Mapping[str, str]
    max_items: int
    subtasks: int
    """How many the job has already."""


def branch(subtask: Subtask, states: Collection[str], known: Known) -> Skip | Refuse | Expand | None:
    """What becomes of a waiting subtask whose dependencies are in `states`.

    None: it waits, for them or for a look at their results; or it may simply run.
    """
    if not all(state in WELL for state in states):
        return None
    if states and "solved" not in states:
        return Skip("all it waited for was skipped")
    if subtask.when is not None:
        wanted = subtask.when.result
        if wanted in known.unknown:
            return Skip(f"{wanted}: {known.unknown[wanted]}")
        if wanted not in known.values:
            return None
        if not subtask.when.holds(known.values[wanted]):
            return Skip(f"its condition on {wanted} does not hold")
    return None if subtask.for_each is None else _expanded(subtask.for_each, known)


def _expanded(reference: str, known: Known) -> Skip | Refuse | Expand | None:
    place = reference + LENGTH
    if place in known.unknown:
        return Refuse("bad_input", f"for_each needs a list in {reference}: {known.unknown[place]}")
    if place not in known.values:
        return None
    count = int(known.values[place])
    if count > known.max_items:
        return Refuse("bad_input", f"{reference} is a list of {count:,}, at most {known.max_items:,} are accepted")
    if known.subtasks + count > MAX_SUBTASKS:
        return Refuse("too_large", f"{count:,} items are too many: a job has at most {MAX_SUBTASKS:,} subtasks in all")
    return Expand(count) if count else Skip(f"{reference} is an empty list")


def needed(progress: Progress) -> tuple[str, ...]:
    """What must be looked up before it can be said what comes next; each once, and never again when it is on record."""
    if not progress.graph.branches or progress.cause is not None or progress.plan_only:
        return ()
    found: dict[str, None] = {}
    for subtask in progress.graph.subtasks:
        if (
            (subtask.when or subtask.for_each)
            and progress.steps[subtask.id].state == "waiting"
            and _ready(subtask, progress)
        ):
            found |= dict.fromkeys(_asked(subtask))
    return tuple(place for place in found if place not in progress.values and place not in progress.unknown)


def _ready(subtask: Subtask, progress: Progress) -> bool:
    return all(i in progress.steps and progress.steps[i].state in WELL for i in subtask.depends_on)


def _asked(subtask: Subtask) -> list[str]:
    return ([subtask.when.result] if subtask.when else []) + ([subtask.for_each + LENGTH] if subtask.for_each else [])
