"""What became of it all: every job's log, results and answer, held against what its caller was told and what is right.

`audit` is handed what a run left behind (`evidence`) and asks nobody else. What the parts should have come to is worked
out by `runs` and `oracle`, the answer by `answers`, ending, times and receipt by `endings`; `causes` wants a fault for
every claim that was lost and every attempt that failed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.types.answer import Answer
from swarm.types.events import AnyEvent, Ended, OutcomeRecorded, Released, Started
from tests.chaos.answers import Problem, answer_problems
from tests.chaos.causes import Causes, Rerun
from tests.chaos.children import Asked, as_job, children_problems
from tests.chaos.endings import CUT, Case, ending_problems, late_problems, receipt_problems, unseen
from tests.chaos.evidence import Evidence, JobEvidence
from tests.chaos.oracle import Oracle
from tests.chaos.parts import Judged, failure_problems, part_problems, plan_problems, unwritten_problems
from tests.chaos.runs import run_of
from tests.chaos.spending import overspent
from tests.chaos.timing import Timeline

KINDS = (
    "lost", "ended_twice", "rolled_back", "wrong_answer", "swapped", "wrong_sources", "stale_version", "swallowed",
    "unexplained_failure", "wrong_ending", "wrong_receipt", "late", "slow_recovery", "unexplained_rerun", "wrong_log",
    "wrong_child", "overspent", "leaked_key", "died",
)  # fmt: skip
"""What may be found; a run that holds has none of them."""
EVIDENCE = 25
"""Lines that are kept on a job that went wrong."""
ROLLED_BACK = 3.0
"""Seconds before a crash of Redis whose writes `appendfsync everysec` may lose where the disk is slow."""


@dataclass(frozen=True)
class Finding:
    """Something that must not be. `where` is a job, a process or a key."""

    kind: str
    where: str
    words: str

    def __str__(self) -> str:
        return f"{self.where}: {self.words}" if self.words else self.where


@dataclass
class Findings:
    """What the audit says."""

    all: list[Finding] = field(default_factory=list)
    reruns: list[Rerun] = field(default_factory=list)
    starts: Counter[str] = field(default_factory=Counter)
    """`job/subtask` -> how often a worker began it, all attempts and claims together."""
    subtasks: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    rolled_back: list[str] = field(default_factory=list)
    """Jobs that went with Redis, or something of their log or books, where the run chose settings which allow that."""
    evidence: dict[str, list[str]] = field(default_factory=dict)
    """Of jobs with a finding: the end of the log, and every delivery as it stands."""

    def add(self, kind: str, where: str, words: str = "") -> None:
        assert kind in KINDS, kind
        self.all.append(Finding(kind, where, words))

    def of(self, kind: str) -> list[str]:
        return [str(each) for each in self.all if each.kind == kind]

    @property
    def kinds(self) -> set[str]:
        return {each.kind for each in self.all}


async def audit(evidence: Evidence) -> Findings:
    """Look at every job, then at what is left."""
    found = Findings()
    causes = Causes(
        evidence.lives, Timeline(evidence.struck, evidence.stalls, evidence.clock), evidence.said, evidence.calls
    )
    async with Oracle.of(evidence.catalogs, evidence.blobs) as oracle:
        for job in evidence.jobs:
            await _look(found, job, evidence, causes, oracle)
    for who, words in overspent(evidence.records, evidence.calls):
        found.add("overspent", who, words)
    for key in evidence.leaks:
        found.add("leaked_key", key)
    for life in evidence.lives:
        if life.how == "died":
            found.add("died", f"{life.place} ({life.pid})", life.words)
    if evidence.may_roll_back:
        _excuse(found, evidence)
    return found


async def _look(
    found: Findings, job: JobEvidence, evidence: Evidence, causes: Causes, oracle: Oracle, above: Sequence[str] = ()
) -> None:
    """Look at one job, and keep what there is to see of it if something is wrong."""
    seen = len(found.all)
    if job.events:
        await _job(found, job, evidence, causes, oracle, above)
    else:
        _gone(found, job, evidence)
    if len(found.all) > seen:
        found.evidence[job.id] = shown(job)


def _excuse(found: Findings, evidence: Evidence) -> None:
    """Where Redis may forget its last seconds, events and settlements of the jobs open then may be among them."""
    crashes = [each.at for each in evidence.struck if each.kind == "redis"]
    spans = {each.id: (each.record.accepted, each.record.ended or math.inf) for each in evidence.jobs}
    open_then = {job for job, (a, b) in spans.items() if any(a <= at <= b + ROLLED_BACK for at in crashes)}
    excused = [each for each in found.all if each.kind in ("wrong_log", "overspent") and each.where in open_then]
    found.rolled_back += map(str, excused)
    found.all = [each for each in found.all if each not in excused]


def shown(job: JobEvidence) -> list[str]:
    """What somebody needs who wants to know why."""
    said = [
        f"{e.id} {e.type} {e.model_dump_json(exclude={'id', 'subtasks'}, exclude_defaults=True)}" for e in job.events
    ]
    return [*said, *job.deliveries][-EVIDENCE:]


def _gone(found: Findings, job: JobEvidence, evidence: Evidence) -> None:
    """Redis knows nothing of a job that was accepted."""
    accepted = job.record.accepted
    crashed = any(each.kind == "redis" and 0 <= each.at - accepted < ROLLED_BACK for each in evidence.struck)
    if crashed and evidence.may_roll_back:
        found.rolled_back.append(job.id)
    else:
        found.add("rolled_back" if crashed else "lost", job.id)


async def _job(
    found: Findings, job: JobEvidence, evidence: Evidence, causes: Causes, oracle: Oracle, above: Sequence[str] = ()
) -> None:
    """Look at a job that lies below those `above`, the outermost first, and at all that its experts asked for."""
    record, events = job.record, job.events
    _count(found, job.id, events)
    for rerun in causes.reruns(job.id, events):
        found.reruns.append(rerun)
        if rerun.why in ("unexplained", "an error of ours"):
            found.add("unexplained_rerun", job.id, f"{rerun.attempt} was begun again: {rerun.why}")
        if rerun.late:
            found.add("slow_recovery", job.id, f"{rerun.attempt} was run again after a {rerun.why}: {rerun.late}")
    problems = [*log_problems(events), *_version_problems(job, evidence), *_told(job)]
    ended = next((event for event in events if isinstance(event, Ended)), None)
    asked = Asked.below(job, len(above))
    run = await run_of(events, job.bodies, oracle, unseen(record.answer, events, causes.timeline), asked.context)
    whole = record.answer is not None and record.answer.ending not in CUT
    top = [*above, job.id][0]
    judged = Judged(record.work, top, run, causes, oracle, whole)
    problems += [*plan_problems(judged), *failure_problems(judged)]
    problems += [each async for each in part_problems(judged)]
    if ended is not None and record.answer is not None:
        case = Case(record, events, run, record.answer, ended, causes)
        problems += [*answer_problems(top, run, record.answer), *ending_problems(case), *late_problems(case)]
        problems += unwritten_problems(judged, record.answer)
        problems += receipt_problems(case, record.receipt) if record.receipt else []
    problems += children_problems(job, run, causes.timeline)
    for kind, words in dict.fromkeys(problems):
        found.add(kind, job.id, words)
    for child in job.children:
        await _look(found, as_job(child, job, run, causes.timeline), evidence, causes, oracle, [*above, job.id])


def _count(found: Findings, job: str, events: Sequence[AnyEvent]) -> None:
    found.subtasks += len({event.subtask for event in events if isinstance(event, Released)})
    found.starts.update(f"{job}/{planned_as(event.subtask)}" for event in events if isinstance(event, Started))
    outcomes = (event.failure for event in events if isinstance(event, OutcomeRecorded))
    found.failures.update(failure.reason for failure in outcomes if failure is not None)


# -- what the caller was told ----------------------------------------------------------------------------------


def _told(job: JobEvidence) -> Iterator[Problem]:
    """One ending, and the same for everybody who asks."""
    record = job.record
    endings = [event for event in job.events if isinstance(event, Ended)]
    if record.problem == "lost" or not endings:
        yield Problem("lost", "")
    elif record.problem:
        yield Problem("wrong_log", record.problem)
    if len(endings) > 1 or (endings and job.events[-1] is not endings[-1]):
        yield Problem("ended_twice", "")
    if not endings or record.answer is None:
        return
    if job.kept is None or not same(record.answer, job.kept):
        yield Problem("ended_twice", "its answer is not the one that its caller was given")
    elif bill(job.kept) > bill(record.answer):
        yield Problem("overspent", f"{bill(record.answer)} micro-dollars at its end became {bill(job.kept)}")


def same(told: Answer, kept: Answer) -> bool:
    """Whether two readings are of one answer. What it cost is read from the books, and may be settled lower later."""
    usage = told.usage.model_copy(update={"cost": kept.usage.cost, "presumed": kept.usage.presumed})
    return told.model_copy(update={"usage": usage}) == kept


def bill(answer: Answer) -> int:
    """Micro-dollars that it owns up to."""
    return answer.usage.cost + answer.usage.presumed


def _version_problems(job: JobEvidence, evidence: Evidence) -> Iterator[Problem]:
    """A job has the catalog that was current when it was accepted."""
    run_by = next((event.catalog for event in job.events if event.type == "accepted"), "")
    nexts = [*(edition.current for edition in evidence.editions[1:]), float("inf")]
    current = {
        edition.version
        for edition, end in zip(evidence.editions, nexts, strict=True)
        if edition.begun <= job.record.accepted and end >= job.record.submitted
    }
    if run_by not in current:
        yield Problem("stale_version", f"it runs by catalog {run_by}, current were {', '.join(sorted(current))}")


# -- the log by itself -----------------------------------------------------------------------------------------


def log_problems(events: Sequence[AnyEvent]) -> Iterator[Problem]:
    """What each attempt came to: once, by a claim that began it, and never by a bug.

    A solution of a claim that has lost its lease counts as long as the subtask is open.
    """
    begun: dict[tuple[str, int], set[str]] = {}
    for event in events:
        if isinstance(event, Started):
            begun.setdefault((event.subtask, event.attempt), set()).add(str(event.claim))
        elif isinstance(event, OutcomeRecorded) and event.body:
            claim, known = event.body.rpartition(".")[2], begun.get((event.subtask, event.attempt), set())
            if claim not in known:
                yield Problem("wrong_log", f"{event.body} was written by claim {claim}, which never began it")
    outcomes = [event for event in events if isinstance(event, OutcomeRecorded)]
    for (subtask, attempt), times in Counter((each.subtask, each.attempt) for each in outcomes).items():
        if times > 1:
            yield Problem("wrong_log", f"{times} outcomes of {subtask}:{attempt}")
    if any(isinstance(event, Ended) for event in events) and not fold(Progress(), events).ended:
        yield Problem("wrong_log", "it folds to a job that goes on")


def planned_as(subtask: str) -> str:
    """The id that a plan's author gave it: without the planner's round, and the item of a list.

    >>> planned_as("r1.t3#2")
    't3'
    """
    return subtask.rpartition(".")[2].partition("#")[0]
