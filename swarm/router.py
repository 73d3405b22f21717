"""The flow of a job: read, decide, write, forget. Nothing of a job is held here between two deliveries.

    plan      a planner's turn: the request becomes subtasks, which are appended to the log
    advance   what the log calls for: subtasks are released, the job ends
    answer    results too large for `advance` become one answer

Each is a delivery; whoever claims it goes on where the log stands, whatever became of the last one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from swarm.aggregator import aggregate, wanted
from swarm.broker.joblog import Decision, JobLog, JobState, new_token, planning, state
from swarm.broker.keys import expert_queue
from swarm.broker.queue import Claim, record
from swarm.broker.shelf import Shelf
from swarm.errors import BadInput, EmptyCatalog
from swarm.models import (
    Answer,
    Answered,
    Catalog,
    Ending,
    Envelope,
    Failure,
    Missing,
    Planned,
    Request,
    Subtask,
    received,
)
from swarm.planner import front
from swarm.scheduler import AskAnswer, End, Progress, Release, Withdraw, decide, fold

ANSWER_BODY = "answer"


class Router:
    """Decides for jobs of one Redis. `max_answer` caps the bytes of results that one answer is made of."""

    def __init__(self, log: JobLog, shelf: Shelf, *, max_answer: int) -> None:
        self._log, self._shelf, self._max_answer = log, shelf, max_answer

    async def advance(self, claim: Claim) -> str:
        """Take one decision and write it. Answers what `JobLog.advance` does."""
        job = state(claim.extra)
        return await self._log.advance(claim.job, claim, job.token, new_token(), await self._decision(claim.job, job))

    async def plan(self, claim: Claim) -> Planned:
        """One planning round. A planner that gives up rejects the job, with its reason."""
        number, request, version = planning(claim.extra)
        try:
            planned = await front.plan(request, await self._shelf.catalog(version))
        except EmptyCatalog as error:
            planned = Planned(failure=Failure(reason="no_expert", message=str(error)))
        return in_round(planned, number)

    async def answer(self, claim: Claim) -> tuple[Answered, str]:
        """Make the answer of a job whose subtasks are settled: the event, and the answer's body."""
        progress = await self._log.progress(claim.job)
        answer = await self._answer(claim.job, progress, progress.cause or "completed")
        return Answered(body=ANSWER_BODY), answer.model_dump_json(exclude_defaults=True)

    # -- deciding

    async def _decision(self, job: str, now: JobState) -> Decision:
        catalog = await self._shelf.catalog(now.catalog)
        folded = fold(now.progress, now.events)
        given = _given(now.request, catalog) if now.request is not None and not folded.steps else None
        planned = fold(folded, (given,)) if given is not None else folded
        actions = decide(planned)
        releases = [action for action in actions if isinstance(action, Release)]
        subtasks = {subtask.id: subtask for subtask in planned.graph.subtasks}
        ending = next((action.ending for action in actions if isinstance(action, End)), None)
        return Decision(
            progress=folded,
            cursor=now.events[-1].seq if now.events else now.cursor,
            regrown=folded.graph is not now.progress.graph,
            events=(given,) if given is not None else (),
            releases=tuple(
                (
                    release,
                    expert_queue(catalog.cards[release.expert]),
                    _delivery(job, planned, catalog, release, subtasks[release.subtask]),
                )
                for release in releases
            ),
            withdrawals=tuple(action for action in actions if isinstance(action, Withdraw)),
            ask_answer=any(isinstance(action, AskAnswer) for action in actions),
            answer=await self._answer(job, planned, ending) if ending is not None else None,
        )

    # -- answering

    async def _answer(self, job: str, progress: Progress, ending: Ending) -> Answer:
        if progress.answer and ending in ("completed", "partial"):
            body = (await self._log.bodies(job, [progress.answer]))[progress.answer]
            return received(Answer, body)
        # by whom they were answered: after a fallback that is not who was asked first
        subtasks = tuple(s.model_copy(update={"expert": progress.expert_of(s)}) for s in progress.subtasks)
        how = progress.graph.aggregate
        names = wanted(subtasks, how, progress.solved, ending) if subtasks else ()
        kept, cut = self._within_cap(progress, names)
        results = await self._log.solutions(job, {name: progress.solved[name] for name in kept})
        missing = (*progress.missing(), *_lost(progress, [n for n in kept if n not in results], cut))
        return aggregate(job, subtasks, how, results, missing, ending, progress.usage, progress.why)

    def _within_cap(self, progress: Progress, names: Collection[str]) -> tuple[list[str], list[str]]:
        kept: list[str] = []
        cut: list[str] = []
        room = self._max_answer
        for name in names:
            room -= progress.steps[name].size
            (kept if room >= 0 else cut).append(name)
        return kept, cut


def _given(request: Request, catalog: Catalog) -> Planned | None:
    """What the caller planned, if the caller did. What is wrong with it rejects the job, and costs no worker a try."""
    try:
        return front.given(request, catalog)
    except BadInput as error:
        return Planned(planner=front.GIVEN, failure=Failure(reason="bad_input", message=str(error)))


def _lost(progress: Progress, gone: Collection[str], cut: Collection[str]) -> tuple[Missing, ...]:
    experts = {subtask.id: progress.expert_of(subtask) for subtask in progress.subtasks}
    why = dict.fromkeys(gone, ("gone", "its result is no longer in Redis"))
    why |= dict.fromkeys(cut, ("too_large", "the answer reached its greatest size before this part"))
    return tuple(Missing(subtask=n, expert=experts[n], reason=r, message=m) for n, (r, m) in why.items())


def _delivery(job: str, progress: Progress, catalog: Catalog, release: Release, subtask: Subtask) -> str:
    """What goes to the expert's queue."""
    envelope = Envelope(
        job=job,
        subtask=subtask,
        attempt=release.attempt,
        expert=release.expert,
        catalog=catalog.version,
        inputs={name: progress.steps[name].body for name in subtask.depends_on},
    )
    return record("run", envelope.model_dump_json(exclude_defaults=True))


def in_round(planned: Planned, number: int) -> Planned:
    """The same subtasks with ids `r<number>.<id>`, so that no two rounds of a job share one."""
    names = {subtask.id: f"r{number}.{subtask.id}" for subtask in planned.subtasks}
    subtasks = tuple(
        subtask.model_copy(
            update={
                "id": names[subtask.id],
                "depends_on": tuple(names[i] for i in subtask.depends_on),
                "instruction": _renamed(subtask.instruction, names),
            }
        )
        for subtask in planned.subtasks
    )
    fallbacks = {names[name]: experts for name, experts in planned.fallbacks.items()}
    return planned.model_copy(update={"round": number, "subtasks": subtasks, "fallbacks": fallbacks})


def _renamed(instruction: str, names: Mapping[str, str]) -> str:
    def rename(found: re.Match[str]) -> str:
        return f"${{{names.get(found[1], found[1])}{found[2]}}}"

    return re.sub(r"\$\{([A-Za-z0-9_-]+)((?:\.[A-Za-z0-9_-]+)*)\}", rename, instruction)
