"""What a caller holds: submit a request, follow its job, read its answer, cancel it.

    async with SwarmClient("redis://localhost") as swarm:
        job = await swarm.submit("Which of our parcels are late, and what do we owe for them?", deadline=30)
        async for event in job.events():
            print(event.type)
        print((await job.answer()).text)
        print((await swarm.plan("Which of our parcels are late?")).estimate.seconds)  # planned, not run

One connection carries the calls and one more the events of all jobs, however many are followed.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from swarm.broker.connection import Connection
from swarm.broker.deltas import Delta, Views
from swarm.broker.follow import Follower, Place
from swarm.broker.joblog import JobLog
from swarm.broker.shelf import Shelf
from swarm.broker.stats import Stats
from swarm.errors import BadInput, BrokerUnavailable, JobNotFound, PlanningFailed, WaitTimeout
from swarm.estimate import ExpertStats
from swarm.events import Accepted, AnyEvent, Ended, Planned, Reset
from swarm.models import Answer, Catalog, JobInfo, Receipt, Request
from swarm.plans import Plan
from swarm.report import PlanReport, report
from swarm.settings import Settings
from swarm.values import JOB_ID, explain, received

EVENT_ID = r"[0-9]{1,18}-[0-9]{1,18}"

T = TypeVar("T")


class Job:
    """A job of a client. Cheap to make; it holds an id, not a connection."""

    def __init__(self, client: SwarmClient, job_id: str) -> None:
        self._client, self.id = client, job_id

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    async def events(self, after: str = "0-0") -> AsyncIterator[AnyEvent]:
        """What happens, from the event after the one with id `after`, up to and with `ended`.

        After a `reset` (a failover rolled the log back) the events come again from the first. Raises JobNotFound.
        """
        async for event in self._client.follow(self.id, after):
            yield event

    async def deltas(self, after: str = "0-0") -> AsyncIterator[Delta]:
        """Texts while they are written, from the piece after the one with id `after` until the job ends.

        Today the answer alone, where a model writes it; a job without such an answer has none. Where a piece has
        `reset`, forget what came before of its `subtask`: a worker was lost, or the model is asked again. Whoever
        comes late has about the last 1,000 pieces; the whole text is in the answer. Raises JobNotFound.
        """
        async for delta in self._client.watch(self.id, after):
            yield delta

    async def answer(self, timeout: float | None = None) -> Answer:
        """The answer, as soon as the job has ended. Raises WaitTimeout after `timeout` seconds; the job goes on."""
        try:
            async with asyncio.timeout(timeout):
                return await self._client.wait(self.id)
        except TimeoutError:
            raise WaitTimeout(self.id, timeout or 0.0) from None

    async def cancel(self, timeout: float = 10.0) -> Receipt:
        """Cancel, wait until it is done, and say what was stopped, withdrawn and finished, and what was used.

        A job that has ended already keeps its ending, which the receipt names. Raises WaitTimeout when no router
        took the cancel within `timeout` seconds; it stays asked for.
        """
        await self._client.log.cancel(self.id)
        answer = await self.answer(timeout)
        progress = await self._client.log.progress(self.id)
        ended = await self._last()
        return Receipt(
            job=self.id,
            ending=answer.ending,
            stopped=ended.stopped,
            withdrawn=ended.withdrawn,
            finished=tuple(progress.solved),
            usage=progress.usage,
        )

    async def _last(self) -> Ended:
        async for event in self.events():
            if isinstance(event, Ended):
                return event
        raise JobNotFound(self.id)


class SwarmClient:
    """A front to the swarm behind one Redis. Use it as an async context manager, or `aclose` it.

    `url` None takes SWARM_REDIS_URL from the environment, else the private Redis of the `swarm up` that serves
    SWARM_DATA now. Raises BadInput for a URL that is none, and where there is none.
    """

    def __init__(self, url: str | None = None, *, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load(os.environ)
        url = url or self.settings.redis_url or _served(self.settings.data)
        if not url:
            remedy = f"give one, set SWARM_REDIS_URL, or start: swarm up (none serves {self.settings.data} now)"
            raise BadInput("redis", "no URL of a Redis", remedy)
        self._connection = Connection.open(url, self.settings.prefix)
        self.log = JobLog(self._connection, self.settings)
        self._shelf = Shelf(self._connection, self.settings.max_age + self.settings.retention)
        self._stats = Stats(self._connection)
        self._follower = Follower(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._follower.aclose()
        await self._connection.aclose()

    async def submit(
        self,
        text: str,
        *,
        expert: str | None = None,
        plan: Plan | Mapping[str, Any] | list[Any] | None = None,
        deadline: float | None = None,
        max_age: float | None = None,
        attempts: int = 3,
        replans: int | None = None,
        tenant: str = "default",
        job_id: str | None = None,
    ) -> Job:
        """Accept a request and return at once. Repeating it with the same `job_id` gives the same job.

        `deadline` and `max_age` are seconds from now. With `expert` or `plan` no planner is asked; `replans` is how
        often one may plan again after failures (None: as the settings say).
        Raises BadInput (with the field and the remedy), Busy, EmptyCatalog, UnknownExpert, JobConflict.
        """
        request = make_request(
            text=text, expert=expert, plan=plan, deadline=deadline, max_age=max_age, attempts=attempts,
            replans=replans, tenant=tenant,
        )  # fmt: skip
        return await self._accepted(job_id, request)

    async def _accepted(self, job_id: str | None, request: Request) -> Job:
        job = self.job(job_id or new_job_id())
        try:
            await self.log.submit(job.id, request)
        except BrokerUnavailable:
            # the answer may have been lost on its way; asking again with the same id never doubles the job
            await self.log.submit(job.id, request)
        return job

    async def ask(self, text: str, *, timeout: float | None = None, **options: Any) -> Answer:
        """Submit and wait for the answer; options as for `submit`."""
        return await (await self.submit(text, **options)).answer(timeout)

    async def plan(
        self, text: str, *, timeout: float | None = None, job_id: str | None = None, **options: Any
    ) -> PlanReport:
        """Plan a request and run nothing: the plan, who does what and why, and what it will take by past runs.

        Options as for `submit`. The report's `plan`, changed or not, can be submitted: `submit(text, plan=...)`.
        Raises what `submit` does, PlanningFailed when there is no plan, WaitTimeout after `timeout` seconds.
        """
        job = await self._accepted(job_id, make_request(text=text, plan_only=True, **options))
        try:
            async with asyncio.timeout(timeout):
                accepted, planned = await _planning(job)
                answer = await self.wait(job.id)
        except TimeoutError:
            raise WaitTimeout(job.id, timeout or 0.0) from None
        if answer.ending != "completed" or planned.failure is not None:
            why = planned.failure.reason if planned.failure else ""
            raise PlanningFailed(job.id, answer.ending, answer.reason, reason=why, notes=planned.notes)
        plan = Plan.read(answer.data)
        stats = await self.stats(subtask.expert for subtask in plan.subtasks)
        return report(job.id, plan, planned, answer.usage, (planned.at - accepted.at) / 1000, stats)

    async def stats(self, names: Iterable[str]) -> dict[str, ExpertStats]:
        """What is on record of these experts' past runs; one without any is left out."""
        return await self._stats.stats(names)

    def job(self, job_id: str) -> Job:
        """A job by its id; whether it exists shows when it is used. Raises BadInput for what can be no id."""
        if not _matches(JOB_ID, job_id):
            raise BadInput("job_id", f"{str(job_id)[:80]!r} is no job id", "use 1 to 64 of A-Z a-z 0-9 _ -")
        return Job(self, job_id)

    async def jobs(self, limit: int = 20, *, ended: bool = True) -> list[JobInfo]:
        """Open jobs, then the last that ended, newest first."""
        return await self.log.jobs(limit, ended=ended)

    async def experts(self) -> Catalog | None:
        """The catalog that new jobs are planned with."""
        version = await self._shelf.current()
        return None if version is None else await self._shelf.catalog(version)

    async def wait(self, job: str) -> Answer:
        """The answer of a job, once there is one. A Redis that goes away is waited for. Raises JobNotFound."""
        async with self._follower.place(self._connection.keys.over(job)) as place:
            met = False
            while True:
                if told := await place.news():
                    return received(Answer, told)
                try:
                    if (answer := await self.log.answer(job)) is not None:
                        return answer
                    met = True
                except BrokerUnavailable:
                    if not met:
                        raise

    async def follow(self, job: str, after: str = "0-0") -> AsyncIterator[AnyEvent]:
        """Events of a job, see `Job.events`."""
        if not _matches(EVENT_ID, after):
            raise BadInput(
                "after", f"{str(after)[:80]!r} is no event id", "give the id of an event, such as 7-1732150000123"
            )
        async with self._follower.place(self._connection.keys.events(job)) as place:
            seen, met = after, False
            while True:
                over, page = await self._looked(place, job, partial(self.log.events, job, seen), patient=met)
                met = True
                if page is None:
                    seen = "0-0"
                    yield Reset()
                    continue
                for event in page:
                    seen = event.id
                    yield event
                    if isinstance(event, Ended):
                        return
                if not page:
                    if over:
                        return
                    await place.news()

    async def watch(self, job: str, after: str = "0-0") -> AsyncIterator[Delta]:
        """Pieces of texts that a job writes, see `Job.deltas`."""
        if not _matches(EVENT_ID, after):
            raise BadInput("after", f"{str(after)[:80]!r} is no id of a delta", "give the id of one that came")
        keys, views = self._connection.keys, Views(resumed=after != "0-0")
        async with self._follower.place(keys.writing(job), keys.over(job)) as place:
            seen, met = after, False
            while True:
                over, page = await self._looked(place, job, partial(self.log.deltas.after, job, seen), patient=met)
                met = True
                for seen, fields in page:
                    yield views.delta(seen, fields)
                if not page:
                    if over:
                        return
                    await place.news()

    async def _looked(
        self, place: Place, job: str, page: Callable[[], Coroutine[Any, Any, T]], *, patient: bool
    ) -> tuple[bool, T]:
        """Whether the job was over, and what `page` reads. A Redis that goes away is waited for if `patient`."""
        while True:
            try:
                # over is asked first, so that what was over then holds nothing more after an empty page
                over, found = await asyncio.gather(self.log.ended(job), page())
                return over, found
            except BrokerUnavailable:
                if not patient:
                    raise
                await place.news()


def _served(data: Path) -> str | None:
    """The Redis of a `swarm up` that runs on this machine."""
    try:
        from swarm.serves import up_url
    except ImportError:  # a system without such locks
        return None
    return up_url(data)


async def _planning(job: Job) -> tuple[Accepted, Planned]:
    """When the job was accepted, and how its planning ended."""
    accepted, planned = Accepted(), Planned()
    async for event in job.events():
        match event:
            case Accepted():
                accepted = event
            case Planned() if event.closed:
                planned = event
    return accepted, planned


def make_request(*, text: str, plan: Plan | Mapping[str, Any] | list[Any] | None = None, **fields: Any) -> Request:
    """A Request out of what a caller gave, or BadInput with the field and the remedy."""
    whole = plan if plan is None or isinstance(plan, Plan) else Plan.read(plan)
    try:
        return Request(text=text, plan=whole, **fields)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"]) or "request"
        raise BadInput(place, explain(error).removeprefix(f"{place}: ")) from None


def _matches(pattern: str, given: object) -> bool:
    return isinstance(given, str) and re.fullmatch(pattern, given) is not None


def new_job_id() -> str:
    """Unique, and sorted by time."""
    return f"{int(time.time()):x}{secrets.token_hex(6)}"
