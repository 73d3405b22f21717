"""What a run leaves behind, altered as a fault of the system would have left it: each must be found by the audit.

Every mutation alters all that agrees with each other (log, result, answer as told and as kept), so that nothing but a
look at what is right gives it away. `mutants` has the same faults in processes that really run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from swarm.types.answer import Answer
from swarm.types.events import AnyEvent, Ended, OutcomeRecorded
from swarm.types.result import Solution
from tests.chaos.evidence import Evidence, JobEvidence
from tests.chaos.script import EDITION

LATE = 300.0
"""Seconds by which an ending is put off."""
Mutation = Callable[[Evidence], Evidence]


class NoSuchJob(LookupError):
    """The run has no job on which this could be tried."""


def wrong_answer(evidence: Evidence) -> Evidence:
    """A result is another text, and so is the answer that is made of it."""
    return _retold(evidence, lambda text: text.replace("edition", "addition"))


def stale_version(evidence: Evidence) -> Evidence:
    """A result was made by another edition of its card."""
    numbers = [str(number) for number in range(1, len(evidence.editions) + 1)]

    def other(text: str) -> str:
        found = EDITION.search(text)
        left = [number for number in numbers if found and number != found[0].rpartition("-")[2]]
        return EDITION.sub(f"edition-{left[0]}", text) if left else text

    return _retold(evidence, other)


def _retold(evidence: Evidence, change: Callable[[str], str]) -> Evidence:
    """One result of an edited expert, told otherwise in every place."""
    for job in _ended(evidence, "completed"):
        if job.record.work.shape == "single" and len(job.bodies) == 1:
            ((key, solution),) = job.bodies.items()
            if EDITION.search(solution.text) and change(solution.text) != solution.text:
                told = solution.model_copy(update={"text": change(solution.text)})
                return _put(evidence, _told(job, key, told))
    raise NoSuchJob


def _told(job: JobEvidence, key: str, told: Solution) -> JobEvidence:
    """The job with another result, of which its answer is made."""
    return replace(_answered(job, lambda answer: _with_text(answer, told)), bodies={key: told})


def _with_text(answer: Answer, told: Solution) -> Answer:
    segments = tuple(segment.model_copy(update={"text": told.text}) for segment in answer.segments)
    return answer.model_copy(update={"text": told.text, "segments": segments})


def swapped(evidence: Evidence) -> Evidence:
    """Two jobs have the answers of each other."""
    one, other, *_ = [job for job in _ended(evidence, "completed") if job.record.work.shape == "chain"]

    def of(job: JobEvidence, source: JobEvidence) -> JobEvidence:
        taken = source.record.answer
        assert taken is not None
        return _answered(job, lambda mine: taken.model_copy(update={"job": mine.job, "usage": mine.usage}))

    return _put(_put(evidence, of(one, other)), of(other, one))


def lost(evidence: Evidence) -> Evidence:
    """A job never ended."""
    job = _first(evidence, "completed")
    record = replace(job.record, answer=None, ended=0.0, problem="lost")
    return _put(evidence, replace(job, record=record, kept=None, events=job.events[:-1]))


def ended_twice(evidence: Evidence) -> Evidence:
    """A job ended once more."""
    job = _first(evidence, "completed")
    seq, _, at = job.events[-1].id.partition("-")
    again = job.events[-1].model_copy(update={"id": f"{int(seq) + 1}-{at}"})
    return _put(evidence, replace(job, events=(*job.events, again)))


def late(evidence: Evidence) -> Evidence:
    """A job ended long after all was there."""
    return put_off(evidence, _first(evidence, "completed"))


def put_off(evidence: Evidence, job: JobEvidence) -> Evidence:
    """The run with a late ending of this job."""
    seq, _, at = job.events[-1].id.partition("-")
    ended = job.events[-1].model_copy(update={"id": f"{seq}-{int(at) + round(LATE * 1000)}"})
    record = replace(job.record, ended=job.record.ended + LATE)
    return _put(evidence, replace(job, record=record, events=(*job.events[:-1], ended)))


def overspent(evidence: Evidence) -> Evidence:
    """The model server counted more than an answer owns up to."""
    spending = {job.id for job in _ended(evidence, "completed") if job.record.answer and job.record.answer.usage.cost}
    chosen = next((call["job"] for call in evidence.calls if call["job"] in spending), None)
    if chosen is None:
        raise NoSuchJob
    more = {True: {"output": 1_000_000}, False: {}}
    return replace(evidence, calls=tuple({**call, **more[call["job"] == chosen]} for call in evidence.calls))


def leaked_key(evidence: Evidence) -> Evidence:
    """A key of an ended job is left without a lifetime."""
    return replace(evidence, leaks=(*evidence.leaks, f"swarm:job:{evidence.jobs[0].id}"))


def wrong_ending(evidence: Evidence) -> Evidence:
    """A job of which everything was solved ended as partial."""
    return _put(evidence, _ending_as(_first(evidence, "completed"), "partial", "1 of 2 subtasks were solved"))


def wrong_receipt(evidence: Evidence) -> Evidence:
    """A receipt leaves out what was done."""
    for job in evidence.jobs:
        receipt = job.record.receipt
        if receipt is not None and receipt.parts:
            short = receipt.model_copy(update={"parts": receipt.parts[1:]})
            return _put(evidence, replace(job, record=replace(job.record, receipt=short)))
    raise NoSuchJob


def wrong_sources(evidence: Evidence) -> Evidence:
    """A part of an answer does not say what it rests on."""
    for job in _ended(evidence, "completed"):
        if job.record.answer and any(len(each.subtasks) > 1 for each in job.record.answer.segments):
            return _put(evidence, _answered(job, _without_sources))
    raise NoSuchJob


def _without_sources(answer: Answer) -> Answer:
    segments = (each.model_copy(update={"subtasks": each.subtasks[:1]}) for each in answer.segments)
    return answer.model_copy(update={"segments": tuple(segments)})


def swallowed(evidence: Evidence) -> Evidence:
    """A part failed, and the answer passes over it in silence."""
    for job in evidence.jobs:
        failed = any(isinstance(event, OutcomeRecorded) and event.failure for event in job.events)
        answer = job.record.answer
        if failed and answer is not None and answer.missing and answer.segments:
            whole = _answered(job, lambda told: told.model_copy(update={"missing": (), "complete": True}))
            return _put(evidence, _ending_as(whole, "completed", ""))
    raise NoSuchJob


MUTATIONS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        wrong_answer, swapped, lost, ended_twice, late, overspent, leaked_key, wrong_ending, wrong_receipt,
        wrong_sources, stale_version, swallowed,
    )
}  # fmt: skip
"""Kind of finding -> what must be found as such."""


# -- of jobs that experts ask for ------------------------------------------------------------------------------


def _parent(evidence: Evidence) -> JobEvidence:
    """A job that was whole, and has jobs below it that were paid for."""
    for job in _ended(evidence, "completed"):
        if any(child.kept and child.kept.usage.cost for child in job.children):
            return job
    raise NoSuchJob


def _with_child(evidence: Evidence, change: Callable[[JobEvidence], JobEvidence]) -> Evidence:
    job = _parent(evidence)
    return _put(evidence, replace(job, children=(change(job.children[0]), *job.children[1:])))


def misread(evidence: Evidence) -> Evidence:
    """An expert was told something else than the job came to that it had asked for."""
    job = _parent(evidence)
    key = next(event.body for event in job.events if isinstance(event, OutcomeRecorded) and event.body)
    told = job.bodies[key].model_copy(update={"text": job.bodies[key].text.replace("completed", "partial", 1)})
    return _put(evidence, replace(job, bodies={**job.bodies, key: told}))


def asked_twice(evidence: Evidence) -> Evidence:
    """A job that had come to something was asked for again."""
    job = _parent(evidence)
    first = job.children[0]
    later = tuple(event.model_copy(update={"id": f"{event.seq}-{event.at + 60_000}"}) for event in first.events)
    work = replace(first.record.work, id="a0")
    again = replace(first, record=replace(first.record, work=work), events=later)
    return _put(evidence, replace(job, children=(*job.children, again)))


def of_another_tenant(evidence: Evidence) -> Evidence:
    """A job has another tenant than the one that it is a part of."""

    def change(child: JobEvidence) -> JobEvidence:
        assert child.request is not None
        return replace(child, request=child.request.model_copy(update={"tenant": "another"}))

    return _with_child(evidence, change)


def outlasting(evidence: Evidence) -> Evidence:
    """A job may go on for longer than the one that it is a part of."""

    def change(child: JobEvidence) -> JobEvidence:
        first, *more = child.events
        return replace(child, events=(first.model_copy(update={"due": 10**14}), *more))

    return _with_child(evidence, change)


def lost_below(evidence: Evidence) -> Evidence:
    """A job that was asked for never ended."""
    return _with_child(evidence, lambda child: replace(child, events=child.events[:-1], kept=None))


def unpaid(evidence: Evidence) -> Evidence:
    """What the jobs below one cost is not a part of its own cost."""

    def free(answer: Answer) -> Answer:
        return answer.model_copy(update={"usage": answer.usage.model_copy(update={"cost": 0, "presumed": 0})})

    return _put(evidence, _answered(_parent(evidence), free))


BELOW: dict[str, tuple[Mutation, str]] = {
    "misread": (misread, "wrong_answer"),
    "asked_twice": (asked_twice, "wrong_child"),
    "of_another_tenant": (of_another_tenant, "wrong_child"),
    "outlasting": (outlasting, "wrong_child"),
    "lost_below": (lost_below, "lost"),
    "unpaid": (unpaid, "overspent"),
}
"""The same for jobs that experts ask for, with the kind of what must be found."""


# -- pieces ----------------------------------------------------------------------------------------------------


def _ended(evidence: Evidence, ending: str) -> Iterator[JobEvidence]:
    return (job for job in evidence.jobs if job.record.answer is not None and job.record.answer.ending == ending)


def _first(evidence: Evidence, ending: str) -> JobEvidence:
    return next(_ended(evidence, ending))


def _put(evidence: Evidence, job: JobEvidence) -> Evidence:
    jobs = tuple(job if each.id == job.id else each for each in evidence.jobs)
    records = tuple(job.record if each.work.id == job.id else each for each in evidence.records)
    return replace(evidence, jobs=jobs, records=records)


def _answered(job: JobEvidence, change: Callable[[Answer], Answer]) -> JobEvidence:
    """The job with another answer, for its caller and in Redis alike."""
    assert job.record.answer is not None
    assert job.kept is not None
    return replace(job, record=replace(job.record, answer=change(job.record.answer)), kept=change(job.kept))


def _ending_as(job: JobEvidence, ending: str, reason: str) -> JobEvidence:
    """The job with another ending, in its log and in its answer."""
    said: dict[str, Any] = {"ending": ending, "complete": ending == "completed"}
    events: tuple[AnyEvent, ...] = tuple(
        event.model_copy(update=said) if isinstance(event, Ended) else event for event in job.events
    )
    changed = _answered(job, lambda answer: answer.model_copy(update={**said, "reason": reason}))
    return replace(changed, events=events)
