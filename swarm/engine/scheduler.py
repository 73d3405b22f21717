"""Scheduler: decides the next actions of a job. Pure, so a job whose process died is simply decided again.

It has no state of its own: its decisions come back as events (`released`, `ended`), written by the same script that
checks that no other decision was written in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from swarm.engine.progress import WELL, Progress, item_id, parent_id
from swarm.engine.reducer import fold
from swarm.types.answer import Ending
from swarm.types.base import Value
from swarm.types.events import AnyEvent
from swarm.types.plan import Subtask

HEAVY = 256_000
"""Bytes of results above which a delivery of its own makes the answer, so that `advance` stays short. An answer that a
model writes always has one."""


class Release(Value):
    """Hand attempt `attempt` at a subtask to the queue of `expert`, to run after `delay` milliseconds."""

    subtask: str
    attempt: int
    expert: str
    delay: int = 0


class Withdraw(Value):
    """Withdraw the released attempt of a subtask that is no longer wanted. Safe to repeat."""

    subtask: str
    attempt: int


class AskAnswer(Value):
    """Request the answer in a delivery of its own. Safe to repeat: each number is made once."""

    number: int = 1


class AskPlan(Value):
    """Request a new plan that avoids the failed subtasks. Safe to repeat: each number is made once."""

    number: int


class End(Value):
    """End the job."""

    ending: Ending


Action = Release | Withdraw | AskAnswer | AskPlan | End


def advance(progress: Progress, *events: AnyEvent) -> tuple[Progress, tuple[Action, ...]]:
    """Apply `events`; return the new progress and the actions it requires.

    The first Solution of a subtask wins; a Failure closes only its attempt. A subtask that is given up settles
    everything that waited for it, so a plan always finishes. Folding in one go or piece by piece gives the same.
    """
    folded = fold(progress, events)
    return folded, decide(folded)


def decide(progress: Progress) -> tuple[Action, ...]:
    """Return the actions that a progress requires. Deciding twice gives the same."""
    if progress.ended:
        return ()
    withdrawn = tuple(
        Withdraw(subtask=name, attempt=step.attempt) for name, step in progress.steps.items() if step.unwanted
    )
    if progress.cause is None:
        if progress.replan and progress.open_round is None:
            return (*withdrawn, AskPlan(number=progress.replan))
        return withdrawn if progress.plan_only else (*withdrawn, *_releases(progress))
    if _wants_answer(progress):
        return (*withdrawn, AskAnswer(number=progress.answers + 1))
    return (End(ending=progress.cause),)


def _wants_answer(progress: Progress) -> bool:
    if progress.cause not in ("completed", "partial") or progress.answer or progress.answer_failed:
        return False
    sizes = [step.size for step in progress.steps.values() if step.state == "solved"]
    return sum(sizes) > HEAVY or (progress.graph.aggregate == "synthesis" and bool(sizes))


def _releases(progress: Progress) -> Sequence[Release]:
    """Return attempts that may run now, as far as the window has room, and delayed retries, which take no room yet."""
    room, delayed = progress.window, []
    for name, step in progress.steps.items():
        if step.delay:
            if step.state == "retrying":
                delayed.append(name)
        elif step.state == "running":
            room -= 1
    found: list[Release] = []
    for subtask in progress.graph.subtasks:
        if len(found) >= room:
            break
        step = progress.steps[subtask.id]
        if (step.state == "retrying" and not step.delay) or (step.state == "waiting" and _ready(progress, subtask)):
            found.append(_release(progress, subtask, subtask.id))
        elif step.state == "expanded":
            found += islice(_items(progress, subtask), room - len(found))
    return [*found, *_delayed(progress, delayed)] if delayed else found


def _items(progress: Progress, subtask: Subtask) -> Iterator[Release]:
    """Yield the items of an expanded subtask that may run and are not in flight."""
    for number in range(1, progress.steps[subtask.id].items + 1):
        name = item_id(subtask.id, number)
        step = progress.steps[name]
        if step.state == "waiting" or (step.state == "retrying" and not step.delay):
            yield _release(progress, subtask, name)


def _delayed(progress: Progress, names: Sequence[str]) -> Iterator[Release]:
    subtasks = {subtask.id: subtask for subtask in progress.graph.subtasks}
    return (_release(progress, subtasks[parent_id(name)], name) for name in names)


def _release(progress: Progress, subtask: Subtask, name: str) -> Release:
    step = progress.steps[name]
    return Release(subtask=name, attempt=step.attempt + 1, expert=progress.expert_of(subtask, name), delay=step.delay)


def _ready(progress: Progress, subtask: Subtask) -> bool:
    """Whether a waiting subtask may run as it is. One whose known condition does not hold is no longer waiting."""
    if subtask.for_each or (subtask.when and subtask.when.result not in progress.values):
        return False
    steps = progress.steps
    return all(i in steps and steps[i].state in WELL for i in subtask.depends_on)
