"""Receipt of a job: how each attempt ended and its usage, from the job's log. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swarm.engine.progress import SETTLED, Progress
from swarm.engine.reducer import fold
from swarm.types.answer import Ending, Part, Receipt
from swarm.types.base import Value
from swarm.types.events import AnyEvent, Ended, OutcomeRecorded, Released, Started, Withdrawn
from swarm.types.result import Usage


class TenantReceipt(Value):
    """Result of cancelling all jobs of a tenant."""

    tenant: str
    receipts: tuple[Receipt, ...] = ()
    pending: tuple[str, ...] = ()
    """Jobs whose cancellation was requested and that had not ended within the wait; they will."""
    accepted_since: tuple[str, ...] = ()
    """Jobs accepted meanwhile, too late to be cancelled."""


class _Attempt:
    """Facts about one attempt, collected from the log."""

    def __init__(self, subtask: str, attempt: int, expert: str) -> None:
        self.subtask, self.attempt, self.expert = subtask, attempt, expert
        self.outcome: OutcomeRecorded | None = None
        self.usage = Usage()
        self.started = self.taken_back = self.stopped = False

    @property
    def name(self) -> str:
        return f"{self.subtask}:{self.attempt}"

    def part(self, held: int) -> Part:
        """Return the receipt entry. `held`: micro-dollars reserved for its calls of unknown fate."""
        cut = self.outcome is None and (self.stopped or (self.started and not self.taken_back))
        usage = self.usage if self.usage.presumed else self.usage.model_copy(update={"presumed": held})
        if self.outcome is not None:
            how = "failed" if self.outcome.failure is not None else "finished"
        else:
            how = "stopped" if cut else "withdrawn"
        fields: dict[str, object] = {"subtask": self.subtask, "attempt": self.attempt, "expert": self.expert}
        if self.outcome is not None:
            fields |= {"model": self.outcome.model, "failed_models": self.outcome.failed_models}
        return Part.model_validate(fields | {"how": how, "usage": usage, "unknown": cut})


def receipt(job: str, log: Iterable[AnyEvent], held: Mapping[str, int]) -> Receipt:
    """Return the receipt of a job. `held`: micro-dollars of its `unsettled` calls, by attempt."""
    events = list(log)
    progress = fold(Progress(), events)
    attempts, ending = _attempts(events)
    parts = [attempt.part(held.get(attempt.name, 0)) for attempt in attempts if _is_over(attempt, progress)]
    names = {how: tuple(f"{p.subtask}:{p.attempt}" for p in parts if p.how == how) for how in ("stopped", "withdrawn")}
    return Receipt(
        job=job,
        ending=ending,
        stopped=names["stopped"],
        withdrawn=names["withdrawn"],
        finished=tuple(progress.solved),
        cancelled=tuple(name for name, step in progress.steps.items() if step.cancelled),
        parts=tuple(parts),
        usage=progress.usage,
    )


def _attempts(events: Iterable[AnyEvent]) -> tuple[list[_Attempt], Ending | None]:
    found: dict[tuple[str, int], _Attempt] = {}
    ending: Ending | None = None
    for event in events:
        if isinstance(event, Ended):
            ending = event.ending
            for attempt in found.values():
                attempt.stopped = attempt.stopped or attempt.name in event.stopped
                attempt.taken_back = attempt.taken_back or attempt.name in event.withdrawn
        elif isinstance(event, Released):
            found[event.subtask, event.attempt] = _Attempt(event.subtask, event.attempt, event.expert)
        elif isinstance(event, OutcomeRecorded | Started | Withdrawn) and (event.subtask, event.attempt) in found:
            _tell(found[event.subtask, event.attempt], event)
    return list(found.values()), ending


def _tell(attempt: _Attempt, event: OutcomeRecorded | Started | Withdrawn) -> None:
    match event:
        case OutcomeRecorded():
            attempt.outcome, attempt.usage = attempt.outcome or event, attempt.usage + event.usage
        case Started():
            attempt.started = True
        case Withdrawn():
            attempt.taken_back, attempt.stopped = True, event.stopped


def _is_over(attempt: _Attempt, progress: Progress) -> bool:
    if progress.ended or attempt.outcome is not None or attempt.taken_back:
        return True
    step = progress.steps.get(attempt.subtask)
    return step is not None and step.state in SETTLED and not step.unwanted


def unsettled(books: Mapping[bytes, bytes]) -> dict[str, int]:
    """Sum the micro-dollars of a ledger entry for running calls (`h:`) and calls of unknown fate (`p:`), by attempt."""
    found: dict[str, int] = {}
    for field, amount in books.items():
        kind, _, hold = field.decode().partition(":")
        if kind in ("h", "p"):
            attempt = hold.partition(" ")[0].partition(":")[2]
            found[attempt] = found.get(attempt, 0) + int(amount)
    return found
