"""Why something went wrong: the fault behind each claim that was lost and each attempt that failed, if there is one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarm.types.events import AnyEvent, OutcomeRecorded, Started
from swarm.types.result import Failure
from tests.chaos.clock import ALIKE
from tests.chaos.fleet import Life
from tests.chaos.load import Work, has_budget
from tests.chaos.logs import Said
from tests.chaos.stalls import waited
from tests.chaos.timing import PROMISE, SLACK, TURN, Timeline

NEAR = 4.0
"""Seconds around a disturbance in which it may have cost a claim: a lease and its grace, and the wire's own delays."""
STARVED = 0.5
"""Seconds that the machine kept a process waiting within NEAR from which that may have cost a claim."""
BREAKS = 3
"""Failed calls of a model in MINUTE seconds from which its breaker may be open."""
MINUTE = 60.0
COLD = 15.0
"""Seconds from its start in which a process may still be loading, on a machine on which eight of them start at once."""
WIRE = ("redis", "net", "stall", "fsync", "clock")
NEVER = ("bug", "no_expert", "missing_dependency", "bad_input", "too_large")
"""Reasons that no fault of this run explains."""
UNPAID = ("over_budget", "unpriced")


@dataclass(frozen=True)
class Rerun:
    """An attempt that was claimed again, why, and how long after the reason."""

    job: str
    attempt: str
    why: str
    seconds: float = 0.0
    alone: bool = True
    """Whether nothing but the kill was going on."""
    held: str = ""
    """The expert, and the limiter that held the rerun up, with for how many ms."""
    late: str = ""
    """How long it took and how long it might have, if that was too long."""
    share: float = 0.0
    """Of the time that it might have taken."""


@dataclass(frozen=True)
class Attempt:
    """One that failed."""

    work: Work
    asked: tuple[str, str]
    """The tag that its calls carry: the job of a caller, and the part."""
    started: Started | None
    """By the worker who had it when it came to its outcome."""
    outcome: OutcomeRecorded
    failure: Failure
    over: bool = False
    """Whether its job had been asked to end by then."""

    @property
    def worker(self) -> str:
        return self.started.worker if self.started else ""

    @property
    def took(self) -> float:
        """Seconds that its worker measured, until it had something to write."""
        return self.outcome.ms / 1000


@dataclass(frozen=True)
class Causes:
    """What may have been the reason."""

    lives: Sequence[Life] = ()
    timeline: Timeline = field(default_factory=Timeline)
    said: Said = field(default_factory=Said)
    calls: Sequence[Mapping[str, Any]] = ()
    """The model server's own record, in the order of time."""

    def __post_init__(self) -> None:
        by_part: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for call in self.calls:
            by_part[call["job"], call["subtask"]].append(call)
        object.__setattr__(self, "_by_part", by_part)

    def calls_of(self, job: str, subtask: str) -> list[Mapping[str, Any]]:
        """The calls that carried this tag."""
        found: list[Mapping[str, Any]] = getattr(self, "_by_part").get((job, subtask), [])  # noqa: B009 - made above
        return found

    def answered(self, job: str, subtask: str) -> bool:
        """Whether a model answered any call with this tag as it should."""
        return any(not call["fault"] or call["fault"] == "slow" for call in self.calls_of(job, subtask))

    def faulty(self, job: str, subtask: str) -> bool:
        return any(call["fault"] for call in self.calls_of(job, subtask))

    # -- claims that were lost

    def reruns(self, job: str, events: Sequence[AnyEvent]) -> list[Rerun]:
        """The attempts of a job that were begun again."""
        last: dict[tuple[str, int], Started] = {}
        found: list[Rerun] = []
        for event in events:
            if isinstance(event, Started):
                if (before := last.get((event.subtask, event.attempt))) is not None:
                    found.append(self._rerun(job, before, event))
                last[event.subtask, event.attempt] = event
        return found

    def _rerun(self, job: str, before: Started, again: Started) -> Rerun:
        name, begun = f"{again.subtask}:{again.attempt}", self.timeline.real(before.at)
        rerun = self.timeline.real(again.at, begun)
        verdict = self.said.verdicts.get((f"{job}:{name}", before.claim))
        if verdict == "parked":
            return Rerun(job, name, "waited for budget")
        holder = self._holder(before.worker, begun)
        if holder is not None and (hit := self._hit(holder, begun, rerun)) is not None:
            how, at = hit
            held = f"{again.expert} {again.limited_by} {again.limited_ms}" if again.limited_by else again.expert
            promise, role = PROMISE + TURN + again.limited_ms / 1000, holder.place[:-1]
            late, most = self.timeline.late(promise, at, rerun, role), self.timeline.allowed(promise, at, rerun, role)
            alone = not self.timeline.covered(at, rerun)
            return Rerun(job, name, how, rerun - at, alone, held, late, (rerun - at) / most)
        if verdict == "failed":
            return Rerun(job, name, "an error of ours")
        for kind in WIRE:
            if self.timeline.near([kind], begun, rerun, NEAR):
                return Rerun(job, name, kind)
        if waited(self.timeline.stalls, rerun - NEAR, rerun) > STARVED:
            return Rerun(job, name, "a starved machine")
        return Rerun(job, name, "unexplained")

    def _holder(self, worker: str, begun: float) -> Life | None:
        lives = [life for life in self.lives if life.pid == pid(worker) and life.begun < begun + ALIKE]
        return lives[-1] if lives else None

    def _hit(self, holder: Life, begun: float, rerun: float) -> tuple[str, float] | None:
        """What befell the process that had the claim, and when."""
        if holder.asked and begun - ALIKE <= holder.asked <= rerun and holder.how in ("kill", "term"):
            return holder.how, holder.asked
        stops = [each for each in self.timeline.near(["stop"], begun, rerun) if each.target == holder.place]
        return ("stop", max(stops[-1].at, begun)) if stops else None

    # -- attempts that failed

    def explains(self, attempt: Attempt, model: str) -> bool:
        """Whether anything that was broken is the reason of a failure. `model`: whom its expert asks, if any."""
        ends = self.timeline.candidates(attempt.outcome.at)
        if attempt.started is None:
            return any(self._explained(attempt, model, at - attempt.took, at) for at in ends)
        begins = self.timeline.candidates(attempt.started.at)
        return any(self._explained(attempt, model, begun, at) for at in ends for begun in begins if begun <= at + ALIKE)

    def _explained(self, attempt: Attempt, model: str, begun: float, at: float) -> bool:
        """The same, if its worker had it from `begun` on and what it came to was written at `at`."""
        failure = attempt.failure
        begun, at = begun - self.timeline.rounding(begun), at + self.timeline.rounding(at)
        if failure.reason in NEVER:
            return False
        if failure.reason in UNPAID:
            return has_budget(attempt.work)
        if failure.reason == "refused" and (model == "broken" or (attempt.over and not model)):
            return True  # nobody asks for more on behalf of a job that is to end
        # what is written late, since Redis was away, ended long before
        spans = [(begun, min(at, begun + attempt.took)), (max(begun, at - attempt.took), at)]
        if failure.reason in ("timeout", "unavailable") and any(self._away(*span) for span in spans):
            return True
        if failure.reason == "timeout" and self._cold(attempt.worker, begun):
            return True
        if failure.reason == "poison":
            return bool(self.timeline.near(("kill", "stop", *WIRE), at - MINUTE, at))
        return bool(model) and (self._failed_call(attempt.asked, begun, at) or self._broken(model, failure, at))

    def _cold(self, worker: str, begun: float) -> bool:
        """Whether an attempt was among the first of its process, which loads its libraries meanwhile."""
        holder = self._holder(worker, begun)
        return holder is not None and begun - holder.begun < COLD

    def _away(self, begun: float, ended: float) -> bool:
        """Whether Redis or the machine was away for most of an attempt, which may have cost it its time."""
        took = ended - begun
        stopped = sum(
            min(each.until, ended) - max(each.at, begun) for each in self.timeline.near(["stop"], begun, ended)
        )
        starved = SLACK * waited(self.timeline.stalls, begun, ended)
        return stopped + self.timeline.covered(begun, ended) + starved > took / 2

    def _failed_call(self, asked: tuple[str, str], begun: float, ended: float) -> bool:
        """Whether a call that the attempt made itself went wrong."""
        return any(call["fault"] and begun <= call["at"] <= ended for call in self.calls_of(*asked))

    def _broken(self, model: str, failure: Failure, at: float) -> bool:
        """Whether the model was not even asked, since it had failed others of late."""
        if not (failure.broken or failure.limited):
            return False
        failed = [c for c in self.calls if c["model"] == model and c["fault"] and at - MINUTE < c["at"] <= at]
        return len(failed) >= (BREAKS if failure.broken else 1)


def pid(worker: str) -> int:
    """Worker names end in the process id and a little chance."""
    return int(worker.split("-")[-2])
