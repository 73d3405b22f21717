"""Router: move a job forward, one delivery at a time. It reads the log, decides and writes; it keeps no state of a job.

    plan      run the planner: append the subtasks of the request to the log
    advance   release subtasks that are ready, or end the job
    answer    make an answer that is too large for `advance`, or that a model writes

Each of these is a delivery. A router that claims it continues from the log, also after a crash of the one before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from swarm import logging as events
from swarm.answer.synthesis import Synthesis
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.job_log import JobLog, new_token
from swarm.broker.job_records import Decision, JobState, decode_state
from swarm.broker.keys import expert_queue
from swarm.broker.queue import Claim, record
from swarm.engine.branching import LENGTH, needed
from swarm.engine.planning_rounds import as_plan, listing
from swarm.engine.progress import Progress, parent_id
from swarm.engine.reducer import fold
from swarm.engine.references import valued
from swarm.engine.scheduler import AskAnswer, AskPlan, End, Release, Withdraw, decide
from swarm.errors import BadInput, EmptyCatalog, TooLarge
from swarm.planner import planner as planner_planner
from swarm.router.answering import Answers
from swarm.router.planning import PlanningTurn, RetryWhileDown, SupportsPlanning
from swarm.types.answer import Answer, Ending
from swarm.types.card import Catalog
from swarm.types.events import Answered, AnyEvent, Planned, Valued
from swarm.types.plan import Subtask, referenced
from swarm.types.request import Envelope, Request
from swarm.types.result import Failure, Usage

T = TypeVar("T")

_log = events.get_logger("router")


async def once(call: Callable[[], Awaitable[T]]) -> T:
    """Make one call without a retry: for callers that do not wait for an unreachable Redis."""
    return await call()


class Router:
    """Decides what the jobs of one Redis do next. `max_answer` limits the bytes of results in one answer."""

    def __init__(
        self,
        log: JobLog,
        catalog_store: CatalogStore,
        planner: SupportsPlanning,
        *,
        max_answer: int,
        writer: Synthesis | None = None,
    ) -> None:
        self._log, self._catalog_store = log, catalog_store
        self._writes = writer is not None and writer.ready
        self._planning = PlanningTurn(log, catalog_store, planner)
        self._answers = Answers(log, max_answer=max_answer, writer=writer)

    async def advance(self, claim: Claim) -> str:
        """Take one decision and write it. Returns the verdict of `JobLog.advance`."""
        job = decode_state(claim.extra)
        decision = await self._decision(claim.job, job)
        verdict = await self._log.advance(claim.job, claim, job.token, new_token(), decision)
        if verdict == "done" and (answer := decision.answer) is not None:
            used = events.used(answer.usage)
            _log.info(events.JOB_ENDED, job=claim.job, ending=answer.ending, complete=answer.complete, **used)
        return verdict

    async def plan(self, claim: Claim, retry_while_down: RetryWhileDown = once) -> Planned | None:
        """Run one planning round and return the event that closes it, or None if the round was over before.

        A planner that finds no plan rejects the job, with its reason. `retry_while_down` repeats single calls while
        Redis is unreachable, so the planner itself runs once.
        """
        return await self._planning.turn(claim, retry_while_down)

    async def answer(self, claim: Claim) -> tuple[Answered, str]:
        """Make the answer of a job whose subtasks are settled. Returns the event and the answer's body."""
        return await self._answers.delivered(claim)

    # -- deciding

    async def _decision(self, job: str, now: JobState) -> Decision:
        folded = fold(now.progress, now.events)
        catalog = await self._catalog(now.catalog, folded)
        found: list[AnyEvent] = []
        given = _given(now.request, catalog, self._writes) if now.request is not None and not folded.steps else None
        if given is not None:
            found.append(given)
        planned = fold(folded, found) if found else folded
        while places := needed(planned):
            found.append(await self._valued(job, planned, places))
            planned = fold(planned, found[-1:])
        actions = decide(planned)
        releases = [action for action in actions if isinstance(action, Release)]
        subtasks = {subtask.id: subtask for subtask in planned.graph.subtasks} if releases else {}
        queues = {expert: expert_queue(catalog.cards[expert]) for expert in {release.expert for release in releases}}
        ending = next((action.ending for action in actions if isinstance(action, End)), None)
        return Decision(
            progress=folded,
            cursor=now.events[-1].seq if now.events else now.cursor,
            regrown=folded.graph is not now.progress.graph,
            events=tuple(found),
            releases=tuple(
                (
                    release,
                    queues[release.expert],
                    _delivery(job, planned, catalog, release, subtasks[parent_id(release.subtask)]),
                )
                for release in releases
            ),
            withdrawals=tuple(action for action in actions if isinstance(action, Withdraw)),
            ask_answer=next((action.number for action in actions if isinstance(action, AskAnswer)), 0),
            ask_plan=next((action.number for action in actions if isinstance(action, AskPlan)), 0),
            answer=await self._answer(job, planned, ending) if ending is not None else None,
        )

    async def _catalog(self, version: str, progress: Progress) -> Catalog:
        """Return the catalog that a job was accepted with. A job that must end needs none: it may have expired."""
        try:
            return await self._catalog_store.catalog(version)
        except EmptyCatalog:
            if progress.cause is None:
                raise
            return Catalog(version=version, cards={})

    async def _valued(self, job: str, progress: Progress, places: tuple[str, ...]) -> Valued:
        """Read the values that conditions and `for_each` refer to, from one result after the other."""
        of: dict[str, list[str]] = {}
        for place in places:
            named = referenced(place.removesuffix(LENGTH), progress.steps)
            of.setdefault(named[0] if named else place, []).append(place)
        found = Valued()
        for name, asked in of.items():
            try:
                results = await self._log.results(job, *progress.sources([name] if name in progress.steps else []))
                part = valued(asked, results)
            except TooLarge as error:
                part = Valued(missing=dict.fromkeys(asked, str(error)))
            found = Valued(values=found.values | part.values, missing=found.missing | part.missing)
        return found

    async def _answer(self, job: str, progress: Progress, ending: Ending) -> Answer:
        if progress.plan_only and ending == "completed":
            plan = as_plan(progress.subtasks, progress.graph.aggregate)
            data = plan.model_dump(mode="json", exclude_defaults=True) | {"aggregate": plan.aggregate}
            return Answer(job=job, ending=ending, complete=True, text=listing(plan), data=data, usage=progress.usage)
        answer = await self._answers.made(job, progress, ending)
        discarded = progress.discarded
        return answer if discarded == Usage() else answer.model_copy(update={"discarded": discarded})


def _given(request: Request, catalog: Catalog, writes: bool) -> Planned | None:
    """Return the caller's plan, if there is one. A faulty plan rejects the job here, before a worker tries it."""
    try:
        return planner_planner.given(request, catalog, writes=writes)
    except BadInput as error:
        return Planned(planner=planner_planner.GIVEN, failure=Failure(reason="bad_input", message=str(error)))


def _delivery(job: str, progress: Progress, catalog: Catalog, release: Release, subtask: Subtask) -> str:
    """Encode one attempt at a subtask for the expert's queue."""
    inputs, groups = progress.sources(subtask.depends_on)
    item = release.subtask.removeprefix(subtask.id).removeprefix("#")
    envelope = Envelope(
        job=job,
        subtask=subtask.model_copy(update={"id": release.subtask}) if item else subtask,
        attempt=release.attempt,
        expert=release.expert,
        catalog=catalog.version,
        inputs=inputs,
        groups=groups,
        item=int(item or 0),
        runner_up=subtask.id in progress.graph.runner_ups,
        after=progress.steps[release.subtask].reason if release.attempt > 1 else "",
    )
    return record("run", envelope.model_dump_json(exclude_defaults=True))
