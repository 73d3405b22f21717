"""The jobs that leads asked for: what each should have been, and whether they kept to the job that they are a part of.

Each is judged as any other job is, by `audit`; here it is held against the one above it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from experts.registry import MakeContext
from swarm.errors import AskRefused, GiveUp
from swarm.runtime.expert_context import Context
from swarm.types.answer import Answer
from swarm.types.events import Accepted, CancelAsked, Ended, OutcomeRecorded, Withdrawn
from swarm.types.plan import Plan
from tests.chaos.answers import Problem
from tests.chaos.evidence import JobEvidence
from tests.chaos.lead import DEEPEST, NAME, Ask, Lead, asks_of, joined
from tests.chaos.runs import Part, Run, Tries
from tests.chaos.timing import PROMISE, TOLD, TURN, Timeline


@dataclass(frozen=True)
class Asked:
    """What the jobs below one job were asked and answered, by their texts; those that were asked for first go first."""

    depth: int = 0
    """How many jobs lie above."""
    jobs: Mapping[str, Sequence[JobEvidence]] = field(default_factory=dict)

    @classmethod
    def below(cls, job: JobEvidence, depth: int) -> Asked:
        found: dict[str, list[JobEvidence]] = {}
        for child in sorted(job.children, key=lambda child: child.events[0].at if child.events else 0):
            found.setdefault(child.record.work.text, []).append(child)
        return cls(depth, found)

    def context(self, told: str) -> MakeContext:
        """What a lead is given that should have come to `told`: it asks those who have answered."""

        async def asks(text: str, expert: object, plan: object, seconds: float) -> Answer:
            if self.depth >= DEEPEST:
                raise AskRefused("deep enough; see SWARM_ASK_DEPTH")
            if (child := self.answered(text, told)) is None or child.kept is None:
                raise GiveUp(f"nobody was asked: {text}")
            return child.kept

        async def make() -> Context:
            return Context("", "", 1, "", float("inf"), asks)

        return make

    def answered(self, text: str, told: str) -> JobEvidence | None:
        """The job whose answer is a part of what was told; of several that were asked for in turn the last."""
        children = self.jobs.get(text, ())
        return next((child for child in reversed(children) if _used(child, told)), children[-1] if children else None)


def _used(child: JobEvidence, told: str) -> bool:
    return child.kept is not None and joined([(Ask(child.record.work.text), child.kept)]) in told


def as_job(child: JobEvidence, above: JobEvidence, run: Run, time: Timeline) -> JobEvidence:
    """A job that was asked for as if a caller had: with the plan that it should have, and a cancel where one is due."""
    work, events = child.record.work, child.events
    accepted = time.candidates(events[0].at, above.record.submitted) if events else [0.0]
    ask = next((ask for part in leads(run) for ask in asks_of(part.subtask.instruction) if ask.text == work.text), None)
    options = {**work.options, **({"plan": plan_of(ask)} if ask else {})}
    work = replace(work, options=options, cancel_after=0.0 if _may_be_cancelled(child, above, run) else None)
    submitted, last = accepted[0] - time.rounding(accepted[0]), accepted[-1]
    return replace(
        child, record=replace(child.record, work=work, submitted=submitted, accepted=last, answer=child.kept)
    )


def plan_of(ask: Ask) -> Mapping[str, object]:
    """The plan of a job that is asked for."""
    if ask.plan is not None:
        return ask.plan
    return {"subtasks": [{"id": "t1", "expert": ask.expert, "instruction": ask.text}], "aggregate": "auto"}


def leads(run: Run) -> list[Part]:
    """The parts that ask for jobs."""
    return [part for part in run.parts.values() if part.subtask.expert == NAME]


def _of_part(child: JobEvidence, run: Run) -> Part | None:
    text = child.record.work.text
    return next((part for part in leads(run) if text in {ask.text for ask in asks_of(part.subtask.instruction)}), None)


def _may_be_cancelled(child: JobEvidence, above: JobEvidence, run: Run) -> bool:
    """Whether the job above was over, or the attempt that waited for it, and what came of that does not rest on it."""
    if not child.events or (part := _of_part(child, run)) is None:
        return False
    for event in above.events:
        if event.at < child.events[0].at:
            continue
        match event:
            case Ended() | CancelAsked(subtask=""):
                return True
            case Withdrawn(subtask=part.name):
                return True
            case OutcomeRecorded(subtask=part.name):
                if event.failure is not None or not (part.solution and _used(child, part.solution.text)):
                    return True
    return False


# -- what is wrong -----------------------------------------------------------------------------------------------


def children_problems(job: JobEvidence, run: Run, time: Timeline) -> Iterator[Problem]:
    """What is wrong with the jobs below one, as seen from it."""
    ended = next((event for event in job.events if isinstance(event, Ended)), None)
    asks = {ask.text: ask for part in leads(run) for ask in asks_of(part.subtask.instruction)}
    for child in job.children:
        ask = asks.get(child.record.work.text)
        if ask is None:
            yield Problem("wrong_child", f"{child.id} was asked for by nobody: {child.record.work.text[:80]!r}")
            continue
        yield from _unlike(child, ask, job)
        if ended is not None and (why := _outlived(child, ended, time)):
            yield Problem("late", f"{child.id} went on after it: {why}")
    for text, children in Asked.below(job, 0).jobs.items():
        yield from _asked_again(text, children)
    for part in leads(run):
        yield from _slow(part, run.tries.get(part.name, Tries()), job, time)
    if job.kept is not None:
        cost = sum(child.kept.usage.cost for child in job.children if child.kept)
        if job.kept.usage.cost < cost:
            yield Problem("overspent", f"it owns up to {job.kept.usage.cost} micro-dollars, jobs below it to {cost}")


def _unlike(child: JobEvidence, ask: Ask, above: JobEvidence) -> Iterator[Problem]:
    """What it was asked, and what it has of the job above."""
    request, mine = child.request, above.record.work.options
    if request is None:
        return
    if request.expert != ask.expert or request.plan != (None if ask.plan is None else Plan.read(ask.plan)):
        yield Problem("wrong_child", f"{child.id} was not asked what its parent asks")
    if (request.tenant, request.priority) != (mine["tenant"], mine.get("priority", 0)) or request.budget is not None:
        yield Problem("wrong_child", f"{child.id} has another tenant, priority or budget than its parent")
    due, latest = _due(child), _due(above)
    if due > latest:
        yield Problem("wrong_child", f"{child.id} may go on for {(due - latest) / 1000:.1f} s longer than its parent")


def _due(job: JobEvidence) -> int:
    return next((event.due for event in job.events if isinstance(event, Accepted)), 0)


def _outlived(child: JobEvidence, ended: Ended, time: Timeline) -> str:
    """Why a job was there for too long after the one above, in words."""
    last = next((event for event in child.events if isinstance(event, Ended)), None)
    if last is None or last.at <= ended.at:
        return ""
    begun = time.real(ended.at)
    return time.late(PROMISE, begun, time.real(last.at, begun), "router")


def _asked_again(text: str, children: Sequence[JobEvidence]) -> Iterator[Problem]:
    """What came to something must not be asked for once more."""
    for before, after in itertools.pairwise(children):
        ended = next((event for event in before.events if isinstance(event, Ended)), None)
        if ended is None or (ended.ending in ("completed", "partial") and ended.at <= after.events[0].at):
            yield Problem("wrong_child", f"{after.id} was asked for, and {before.id} had done the same: {text[:80]!r}")


def _slow(part: Part, tries: Tries, job: JobEvidence, time: Timeline) -> Iterator[Problem]:
    """A lead goes on at once when the last that it waits for has ended, as soon as it has a slot again."""
    solved = tries.solved
    if solved is None or part.solution is None or (started := tries.started_by(solved)) is None:
        return
    ends = [child.events[-1].at for child in job.children if _used(child, part.solution.text)]
    begun = time.real(max([started.at, *ends]))
    if why := time.late(TOLD + TURN, begun, time.real(solved.at, begun), Lead.card["kind"]):
        yield Problem("late", f"{part.name} did not go on when all that it had asked for was there: {why}")
