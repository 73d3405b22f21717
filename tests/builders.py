"""Short ways to say what a test is about: plans, events, and a job that has begun."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.engine.scheduler import Action, Release, Withdraw, advance
from swarm.types.answer import Ending
from swarm.types.events import (
    Accepted,
    Answered,
    AnyEvent,
    CancelAsked,
    Ended,
    OutcomeRecorded,
    Planned,
    Released,
    RoundOpened,
    Started,
    Tick,
    Valued,
    Withdrawn,
)
from swarm.types.plan import Aggregate as AggregateName
from swarm.types.plan import Condition, Plan, Subtask
from swarm.types.result import Failure, Reason, Usage

_WORD = re.compile(r"(?P<id>[\w.-]+?)(:(?P<expert>[\w-]+))?(<-(?P<after>[\w.,-]+))?")


def subtasks(*words: str) -> tuple[Subtask, ...]:
    """`a`, `b<-a`, `c:expert<-a,b`: an id, its expert (else `x`), and what it waits for."""
    return tuple(_subtask(word) for word in words)


def _subtask(word: str) -> Subtask:
    found = _WORD.fullmatch(word)
    assert found is not None, f"not a subtask: {word!r}"
    after = tuple((found["after"] or "").split(",")) if found["after"] else ()
    return Subtask(id=found["id"], expert=found["expert"] or "x", instruction=f"do {found['id']}", depends_on=after)


def only_if(word: str, result: str, **comparison: Any) -> Subtask:
    """A subtask with a condition on `result`, which it waits for."""
    return _waiting(word, result, when=Condition(result=result, **comparison))


def for_each(word: str, reference: str, **more: Any) -> Subtask:
    """A subtask for each item of the list that `reference` names, which it waits for."""
    return _waiting(word, reference, for_each=reference, **more)


def _waiting(word: str, reference: str, **fields: Any) -> Subtask:
    subtask = _subtask(word)
    name = ".".join(reference.split(".")[: 2 if reference[:1] == "r" and reference[1:2].isdigit() else 1])
    waits = tuple(dict.fromkeys((*subtask.depends_on, name)))
    return subtask.model_copy(update={"depends_on": waits, **fields})


def a_plan(*words: str, aggregate: AggregateName = "auto") -> Plan:
    return Plan(subtasks=subtasks(*words), aggregate=aggregate)


# -- events ----------------------------------------------------------------------------------------------------


def accepted(
    *, attempts: int = 3, window: int = 64, due: int = 1_000_000, deadline: bool = False, **more: Any
) -> Accepted:
    return Accepted(attempts=attempts, window=window, due=due, deadline=deadline, **more)


def planned(
    plan: Plan | Iterable[Subtask],
    *,
    round: int = 0,
    closed: bool = True,
    fallbacks: Mapping[str, tuple[str, ...]] | None = None,
    **more: Any,
) -> Planned:
    given = plan.united() if isinstance(plan, Plan) else tuple(plan)
    aggregate: AggregateName = plan.aggregate if isinstance(plan, Plan) else "auto"
    fields = {"fallbacks": dict(fallbacks or {}), "aggregate": aggregate} | more
    return Planned(round=round, subtasks=given, closed=closed, **fields)


def part(*words: str, round: int, closed: bool = False, again: bool = False) -> Planned:
    """Subtasks that a planner appends while it still writes; closed, its whole plan."""
    return planned(subtasks(*words), round=round, closed=closed, again=again)


def not_planned(message: str = "nothing fits", *, round: int = 1) -> Planned:
    return Planned(round=round, failure=Failure(reason="no_expert", message=message))


def round_opened(number: int) -> RoundOpened:
    return RoundOpened(round=number)


def released(subtask: str, attempt: int = 1, *, expert: str = "x", delay: int = 0) -> Released:
    return Released(subtask=subtask, attempt=attempt, expert=expert, delay=delay)


def started(subtask: str, attempt: int = 1, *, claim: int = 1) -> Started:
    return Started(subtask=subtask, attempt=attempt, claim=claim, worker="w1", expert="x")


def solved(
    subtask: str,
    attempt: int = 1,
    *,
    body: str | None = None,
    size: int = 10,
    usage: Usage | None = None,
    found: bool = True,
) -> OutcomeRecorded:
    return OutcomeRecorded(
        subtask=subtask,
        attempt=attempt,
        body=f"{subtask}.{attempt}" if body is None else body,
        size=size,
        usage=usage or Usage(),
        found=found,
    )


def failed(
    subtask: str,
    attempt: int = 1,
    *,
    reason: Reason = "timeout",
    retryable: bool = False,
    retry_after: float | None = None,
    limited: bool = False,
    broken: bool = False,
    usage: Usage | None = None,
) -> OutcomeRecorded:
    failure = Failure(
        reason=reason,
        message=f"{subtask}: {reason}",
        retryable=retryable,
        retry_after=retry_after,
        limited=limited,
        broken=broken,
    )
    return OutcomeRecorded(subtask=subtask, attempt=attempt, failure=failure, usage=usage or Usage())


def valued(missing: Mapping[str, str] | None = None, **values: Any) -> Valued:
    """What was looked up; `__` stands for a point and `_n` at the end for a length: `a__label=1, a__items_n=2`."""
    found = {re.sub(r"_n$", "[]", name.replace("__", ".")): value for name, value in values.items()}
    return Valued(values=found, missing=dict(missing or {}))


def withdrawn(subtask: str, attempt: int = 1) -> Withdrawn:
    return Withdrawn(subtask=subtask, attempt=attempt)


def tick(at: int) -> Tick:
    return Tick(id=f"0-{at}")


def cancel_asked(subtask: str = "") -> CancelAsked:
    return CancelAsked(subtask=subtask)


def answered(body: str = "answer") -> Answered:
    return Answered(body=body)


def not_answered() -> Answered:
    return Answered(failure=Failure(reason="timeout", message="the answer took too long"))


def ended(ending: Ending, *, complete: bool = False) -> Ended:
    return Ended(ending=ending, complete=complete)


def numbered(*events: AnyEvent, after: int = 0, at: int = 0) -> tuple[AnyEvent, ...]:
    """The events as a log holds them: ids `seq-ms`, counted on from `after`; ticks keep their own time."""
    return tuple(
        event.model_copy(update={"id": f"{after + count}-{event.at or at}"}) for count, event in enumerate(events, 1)
    )


# -- a job -----------------------------------------------------------------------------------------------------


def begun(
    *words: str,
    attempts: int = 3,
    window: int = 64,
    due: int = 1_000_000,
    deadline: bool = False,
    fallbacks: Mapping[str, tuple[str, ...]] | None = None,
) -> Progress:
    """A job whose caller gave the plan; nothing is released yet."""
    accept = accepted(attempts=attempts, window=window, due=due, deadline=deadline)
    return fold(Progress(), [accept, planned(a_plan(*words), fallbacks=fallbacks)])


def go(progress: Progress, *events: AnyEvent) -> tuple[Progress, tuple[Action, ...]]:
    """Advance, then fold what was released, as the next advance will find it in the log."""
    progress, actions = advance(progress, *events)
    return fold(progress, written(actions)), actions


def written(actions: Iterable[Action]) -> tuple[AnyEvent, ...]:
    """What the script that writes a decision appends to the log."""
    releases = (
        Released(subtask=action.subtask, attempt=action.attempt, expert=action.expert, delay=action.delay)
        for action in actions
        if isinstance(action, Release)
    )
    withdrawals = (withdrawn(action.subtask, action.attempt) for action in actions if isinstance(action, Withdraw))
    return (*releases, *withdrawals)


def releases(actions: Iterable[Action]) -> list[tuple[str, int]]:
    """Which attempts the actions release."""
    return [(action.subtask, action.attempt) for action in actions if isinstance(action, Release)]
