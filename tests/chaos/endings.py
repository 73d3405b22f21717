"""How a job should have ended, when, and what its receipt should say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from swarm.types.answer import Answer, Ending, Receipt
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
    Tick,
    Withdrawn,
)
from tests.chaos.answers import Problem
from tests.chaos.causes import UNPAID, Causes
from tests.chaos.clock import ALIKE
from tests.chaos.drive import Record
from tests.chaos.load import has_budget
from tests.chaos.runs import Run, open_round, tries_of
from tests.chaos.timing import PROMISE, TOLD, Timeline

FAR = 2.5
"""Seconds after which a cancel that was asked for must be the ending, whatever else came."""
CUT: tuple[Ending, ...] = ("cancelled", "deadline", "over_budget")
"""Endings that may come before everything is settled."""
WHY = {"cancelled": "cancel", "deadline": "deadline", "partial": "were solved", "failed": "were solved"}
"""What the sentence on an ending must speak of."""


UNSEEN = 2.5
"""Seconds between a result and the ending of a job that did not wait for it, in which it may not have counted."""


def unseen(answer: Answer | None, events: Sequence[AnyEvent], time: Timeline) -> set[str]:
    """The parts whose results came while the ending that cut the job short was being written."""
    ended = next((event for event in events if isinstance(event, Ended)), None)
    if answer is None or ended is None or ended.ending not in CUT:
        return set()
    outcomes = (event for event in events if isinstance(event, OutcomeRecorded))
    late = {event.subtask for event in outcomes if time.between(event.at, ended.at) <= UNSEEN}
    return late & {each.subtask for each in answer.missing}


class Case(NamedTuple):
    """One job that has ended, with all that there is to judge it by."""

    record: Record
    events: Sequence[AnyEvent]
    run: Run
    answer: Answer
    ended: Ended
    causes: Causes


def ending_problems(case: Case) -> Iterator[Problem]:
    """What is wrong with how it ended."""
    ending, options = case.answer.ending, case.record.work.options
    if case.ended.ending != ending:
        yield Problem("wrong_ending", f"its log says {case.ended.ending}, its answer {ending}")
        return
    due = _due(case)
    if ending not in _natural(case) and ending not in CUT:
        yield Problem("wrong_ending", f"it ended as {ending}, its parts call for {' or '.join(_natural(case))}")
    if ending == "deadline" and ("deadline" not in options or case.ended.at < due - ALIKE * 1000):
        yield Problem("wrong_ending", "it ended by a deadline that was not there, or not yet")
    if ending == "cancelled" and not _asked(case):
        yield Problem("wrong_ending", "it was cancelled, and nobody had asked for that")
    if ending == "over_budget" and not has_budget(case.record.work):
        yield Problem("wrong_ending", "it ended over its budget, and has none")
    asked = _asked(case)
    if asked and ending != "cancelled" and not _over(case, asked) and case.ended.at - asked.at > FAR * 1000:
        yield Problem(
            "wrong_ending", f"it ended as {ending}, {(case.ended.at - asked.at) / 1000:.1f} s after its cancel"
        )
    if ending in WHY and WHY[ending] not in case.answer.reason:
        yield Problem("wrong_ending", f"it ended as {ending}, and its reason is {case.answer.reason!r}")


def _natural(case: Case) -> tuple[str, ...]:
    """What a job ends as of which everything is settled."""
    run = case.run
    if not run.parts:
        return ("rejected",)
    if run.of("open"):
        return ("nothing, as parts of it are open",)
    if not run.of("failed", "dropped"):
        return ("completed",)
    unpaid = any(f.reason in UNPAID for name in run.of("failed") for _, f in run.tries[name].failures)
    return ("over_budget",) if unpaid else ("partial",) if run.of("solved") else ("failed",)


def _due(case: Case) -> int:
    return next((event.due for event in case.events if isinstance(event, Accepted)), 0)


def _over(case: Case, asked: CancelAsked) -> bool:
    """Whether the deadline had passed, and stood in the log, before the cancel was asked for."""
    return any(isinstance(event, Tick) and _due(case) <= event.at and event.seq < asked.seq for event in case.events)


def _asked(case: Case) -> CancelAsked | None:
    asked = (event for event in case.events if isinstance(event, CancelAsked) and not event.subtask)
    return next(asked, None) if case.record.work.cancel_after is not None else None


# -- when ------------------------------------------------------------------------------------------------------


def late_problems(case: Case) -> Iterator[Problem]:
    """What came too late: a decision when all it waited for was there, the ending, or word of it."""
    time = case.causes.timeline
    begun = case.record.accepted
    waited: set[tuple[str, int]] = set()
    before: AnyEvent | None = None
    due = time.real(_due(case), begun)
    for event in case.events:
        at = time.real(event.at, begun)
        follows = before is not None and not waited and isinstance(event, Released | Ended | Withdrawn)
        if follows and _decides(before) and (why := time.late(PROMISE, begun, at, "router")):
            yield Problem("late", f"{event.type} did not follow at once: {why}")
        match event:
            case Released():
                waited.add((event.subtask, event.attempt))
            case OutcomeRecorded() | Withdrawn():
                waited.discard((event.subtask, event.attempt))
            case CancelAsked() if not event.subtask:
                due = min(due, at) if due > begun else at
        before, begun = event, at
    if 0 < due < begun and (why := time.late(PROMISE, due, begun, "router")):
        yield Problem("late", f"it ended as {case.ended.ending} long after that was due: {why}")
    if case.record.ended and (why := time.late(TOLD, begun, case.record.ended)):
        yield Problem("late", f"its caller heard of its end late: {why}")


def _decides(event: AnyEvent | None) -> bool:
    """Whether a decision follows at once, if nothing is under way."""
    return isinstance(event, OutcomeRecorded | CancelAsked | Answered) or (isinstance(event, Planned) and event.closed)


# -- what the receipt says -------------------------------------------------------------------------------------


def receipt_problems(case: Case, receipt: Receipt) -> Iterator[Problem]:
    """What is wrong with the receipt of a cancel, by the job's log."""
    tries = tries_of(case.events)
    solved = {name for name, each in tries.items() if each.solved}
    said = {
        "ending": (receipt.ending, case.ended.ending),
        "finished": (set(receipt.finished), solved - _dropped(case.events)),
        "stopped": (set(receipt.stopped), set(case.ended.stopped) | _taken(case.events, stopped=True)),
        "parts": ({f"{each.subtask}:{each.attempt}" for each in receipt.parts}, set(_released(case.events))),
    }
    for name, (told, right) in said.items():
        if told != right:
            yield Problem("wrong_receipt", f"its receipt says {name} {_shown(told)}, its log {_shown(right)}")
    for part in receipt.parts:
        outcomes = tries[part.subtask].outcomes
        outcome = next((each for each in outcomes if each.attempt == part.attempt), None)
        how = "" if outcome is None else "finished" if outcome.failure is None else "failed"
        if how != (part.how if part.how in ("finished", "failed") else ""):
            yield Problem("wrong_receipt", f"{part.subtask}:{part.attempt} was {how or 'cut off'}, not {part.how}")


def _shown(told: object) -> object:
    return sorted(told) if isinstance(told, set) else told


def _released(events: Sequence[AnyEvent]) -> Iterator[str]:
    return (f"{event.subtask}:{event.attempt}" for event in events if isinstance(event, Released))


def _taken(events: Sequence[AnyEvent], *, stopped: bool) -> set[str]:
    found = (event for event in events if isinstance(event, Withdrawn) and event.stopped == stopped)
    return {f"{event.subtask}:{event.attempt}" for event in found}


def _dropped(events: Sequence[AnyEvent]) -> set[str]:
    """What was withdrawn from the plan, though it had a result: that of a round given up before it was closed."""
    rounds = {event.round for event in events if isinstance(event, RoundOpened)} - {open_round(events)}
    closed = {event.round for event in events if isinstance(event, Planned) and event.closed and event.subtasks}
    return {
        subtask.id
        for event in events if isinstance(event, Planned) and event.round in rounds and event.round not in closed
        for subtask in event.subtasks
    }  # fmt: skip
