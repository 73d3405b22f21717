"""Conditions (`when`) and loops (`for_each`) of subtasks whose dependencies are settled. Pure.

Both depend on earlier results. Those are looked up once, when a decision needs them (`needed`), and logged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm.engine.progress import WELL, Progress
from swarm.types.plan import MAX_SUBTASKS, Condition, Subtask, referenced
from swarm.types.result import Reason

LENGTH = "[]"
"""Suffix of a reference that asks for the length of a list instead of its value."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The subtask does not run; nothing counts as missing."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The subtask cannot run, so it fails."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Expand:
    """The subtask runs once per item; with 0 items it is solved at once, with an empty list."""

    items: int


@dataclass(frozen=True, slots=True)
class Known:
    """Values looked up so far, as in `Progress`, and the limits of an expansion."""

    values: Mapping[str, Any]
    unknown: Mapping[str, str]
    max_items: int
    subtasks: int
    """Number of subtasks that the job has already."""


def branch(subtask: Subtask, states: Mapping[str, str], known: Known) -> Skip | Refuse | Expand | None:
    """Decide about a waiting subtask, from the state of each of its dependencies.

    None: it waits for them or for a lookup in their results, or it may simply run.
    """
    if not all(state in WELL for state in states.values()):
        return None
    if states and "solved" not in states.values():
        return Skip("all it waited for was skipped")
    if (when := subtask.when) is not None:
        named = referenced(when.result, states)
        if named and states[named[0]] == "skipped":
            return Skip(f"{when.result}: {named[0]} was skipped")
        if when.result not in known.values and when.result not in known.unknown:
            return None
        if verdict := _judged(when, known):
            return verdict
    if subtask.for_each is None:
        return None
    listed = referenced(subtask.for_each, states)
    if listed and states[listed[0]] == "skipped":
        return Skip(f"{subtask.for_each}: {listed[0]} was skipped")
    return _expanded(subtask.for_each, known)


def _judged(when: Condition, known: Known) -> Skip | Refuse | None:
    """Evaluate a condition on the values looked up; None if it holds.

    A condition that cannot be evaluated fails the subtask instead of skipping it, so that a typing error is seen.
    """
    wanted = when.result
    if wanted in known.unknown:
        return Refuse("bad_input", f"{wanted}: {known.unknown[wanted]}")
    value = known.values[wanted]
    if not when.comparable(value):
        shown = json.dumps(value, ensure_ascii=False)[:80]
        return Refuse("bad_input", f"{wanted} is {shown}, not a number: {when.comparison} cannot be judged")
    return None if when.holds(value) else Skip(f"its condition on {wanted} does not hold")


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
    return Expand(count)


def needed(progress: Progress) -> tuple[str, ...]:
    """List the references to look up before the next decision, each once, without those already logged."""
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
