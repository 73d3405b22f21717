"""What a caller holds: submit a request, follow its job, read its answer, cancel it.

    async with SwarmClient("redis://localhost") as swarm:
        job = await swarm.submit("Which of our parcels are late, and what do we owe for them?", deadline=30)
        async for event in job.events():
            print(event.type)
        print((await job.answer()).text)
        print((await swarm.plan("Which of our parcels are late?")).estimate.seconds)  # planned, not run

One connection carries the calls and one more the events of all jobs, however many are followed. A client works in any
event loop, thread and process: each loop has two such connections of its own, which are closed when it ends.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import ValidationError

from swarm.broker.dead_letters import DeadLetter
from swarm.broker.job_log import JobLog
from swarm.broker.session import Session, Sessions
from swarm.broker.snapshot import take_snapshot
from swarm.broker.snapshot_types import Snapshot
from swarm.broker.workers import unserved_of
from swarm.client.abandoned_ask import Submission
from swarm.client.job import Job, planning
from swarm.client.tenant_cancel import cancel_all
from swarm.engine.estimate import ExpertStats
from swarm.engine.plan_report import PlanReport, report
from swarm.engine.receipt import TenantReceipt
from swarm.errors import (
    BadInput,
    BrokerUnavailable,
    BrokerUnconfirmed,
    Busy,
    PlanningFailed,
    WaitTimeout,
)
from swarm.settings import Settings
from swarm.types.answer import Answer, JobInfo
from swarm.types.base import JOB_ID, TENANT, TENANT_REMEDY, explain
from swarm.types.card import Catalog
from swarm.types.plan import Plan
from swarm.types.request import Request

__all__ = ["Job", "SwarmClient", "make_request", "new_job_id"]

LOOK = 1.0
"""Seconds after which a patient caller asks again, at most."""
MAX_BUSY_TIMEOUT = 86_400


class SwarmClient:
    """A front to the swarm behind one Redis. Use it as an async context manager, or `aclose` it.

    `url` None takes SWARM_REDIS_URL from the environment, else the private Redis of the `swarm up` that serves
    SWARM_DATA now. Raises BadInput for a URL that is none, and where there is none.
    """

    def __init__(self, url: str | None = None, *, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load(os.environ)
        url = url or self.settings.redis_url or _served(self.settings.data)
        if not url:
            none = f"none serves {self.settings.data} now; one that starts says when it is up"
            remedy = f"give one, set SWARM_REDIS_URL, or start: swarm up ({none})"
            raise BadInput("redis", "no URL of a Redis", remedy)
        self._sessions = Sessions(url, self.settings)

    @property
    def log(self) -> JobLog:
        """The jobs in Redis, read over the connection of the running event loop."""
        return self._session.log

    @property
    def _session(self) -> Session:
        return self._sessions.current

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close what the running event loop has open. It is opened again when it is used again."""
        await self._sessions.aclose()

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
        budget: float | None = None,
        priority: int = 0,
        job_id: str | None = None,
        busy_timeout: float = 0.0,
    ) -> Job:
        """Accept a request and return at once. Repeating it with the same `job_id` gives the same job.

        `deadline` and `max_age` are seconds from now. With `expert` or `plan` no planner is asked; `replans` is how
        often one may plan again after failures (None: as the settings say). `budget` is what its model calls may
        cost, all together, in US dollars; each step of `priority` (0 to 9) is a head start
        of 100 subtasks, over other tenants too.
        While the swarm is Busy it is asked again, at least once a second, for `busy_timeout` seconds in all.
        Raises BadInput (with the field and the remedy), Busy, OverBudget, TenantFull, EmptyCatalog, UnknownExpert,
        JobConflict.
        """
        request = make_request(
            text=text, expert=expert, plan=plan, deadline=deadline, max_age=max_age, attempts=attempts,
            replans=replans, tenant=tenant, budget=budget, priority=priority,
        )  # fmt: skip
        return await self._accepted(job_id, request, _seconds("busy_timeout", busy_timeout))

    async def _accepted(
        self,
        job_id: str | None,
        request: Request,
        busy_timeout: float = 0.0,
        sent: Callable[[Awaitable[Job]], Awaitable[Job]] = lambda asked: asked,
    ) -> Job:
        job, until = self.job(new_job_id() if job_id is None else job_id), time.monotonic() + busy_timeout
        while True:
            try:
                return await sent(self._asked(job, request, max(0.0, until - time.monotonic())))
            except Busy as busy:
                if (left := until - time.monotonic()) <= 0:
                    raise
                # what it says is an estimate: there may be room sooner, and asking again keeps the place
                await asyncio.sleep(min(busy.retry_after, LOOK, left))

    async def _asked(self, job: Job, request: Request, busy_timeout: float) -> Job:
        try:
            await self.log.submit(job.id, request, busy_timeout=busy_timeout)
        except BrokerUnavailable:
            # the answer may have been lost on its way; asking again with the same id never doubles the job
            try:
                await self.log.submit(job.id, request, busy_timeout=busy_timeout)
            except BrokerUnconfirmed as error:
                raise BrokerUnconfirmed(error.where, error.seconds, job.id, error.on) from None
        return job

    async def ask(
        self,
        text: str,
        *,
        timeout: float | None = None,
        on_cancel: Literal["cancel", "leave"] | None = None,
        job_id: str | None = None,
        **options: Any,
    ) -> Answer:
        """Submit and wait for the answer; options as for `submit`.

        After `timeout` seconds the job goes on, and the WaitTimeout has its `job_id`.

        Whoever waits may be cancelled: by `asyncio.wait_for`, a web client that hangs up, Ctrl-C. Nobody reads the
        answer then, so its job is cancelled as well; with `on_cancel="leave"` it goes on. A job that you named with
        `job_id` may have other readers: it goes on unless `on_cancel="cancel"`. A warning in the log (`swarm.client`)
        and a note on the CancelledError, which is the `__cause__` of the TimeoutError of `asyncio.wait_for`, have the
        job's id and what became of it.
        """
        cancels = on_cancel == "cancel" if on_cancel else job_id is None
        job = self.job(new_job_id() if job_id is None else job_id)
        busy_timeout = _seconds("busy_timeout", options.pop("busy_timeout", 0.0))
        request = make_request(text=text, **options)
        submission = Submission()
        try:
            await self._accepted(job.id, request, busy_timeout, submission.seen_through)
            return await job.answer(timeout)
        except asyncio.CancelledError as error:
            await submission.given_up(error, self.log, job.id, request, cancels)
            raise

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
                accepted, planned = await planning(job)
                answer = await job.answer()
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
        return await self._session.stats.stats(names)

    def job(self, job_id: str) -> Job:
        """A job by its id; whether it exists shows when it is used. Raises BadInput for what can be no id."""
        if not _matches(JOB_ID, job_id):
            raise BadInput("job_id", f"{str(job_id)[:80]!r} is no job id", "use 1 to 64 of A-Z a-z 0-9 _ -")
        return Job(self._sessions, job_id)

    async def jobs(self, limit: int = 20, *, ended: bool = True) -> list[JobInfo]:
        """Open jobs, then the last that ended, newest first."""
        return await self.log.jobs(limit, ended=ended)

    async def experts(self) -> Catalog | None:
        """The catalog that new jobs are planned with."""
        version = await self._session.shelf.current()
        return None if version is None else await self._session.shelf.catalog(version)

    async def census(self, on_progress: Callable[[int, int], None] = lambda seen, of: None) -> Snapshot:
        """Count what this swarm holds in Redis, without blocking it. `on_progress` gets keys read and keys in all."""
        return await take_snapshot(self._session.connection, self.settings, on_progress)

    async def unserved(self, job: str) -> tuple[str, ...]:
        """The experts (`router` for the router pool) that a job waits for and no running worker serves."""
        return await unserved_of(self._session.connection, job)

    async def cancel_tenant(
        self, tenant: str, *, timeout: float = 10.0, on_progress: Callable[[int, int], None] = lambda done, of: None
    ) -> TenantReceipt:
        """Cancel all open jobs of a tenant, those it submits meanwhile included, and say what each had done.

        All are asked at once, and waited for as long as one of them ends within `timeout` seconds; `told` hears how
        many have ended, of how many. A tenant that never stops submitting is followed for a few rounds only.
        """
        if not _matches(TENANT, tenant):
            raise BadInput("tenant", f"{str(tenant)[:80]!r} is no tenant", TENANT_REMEDY)
        return await cancel_all(self.log, self.job, tenant, timeout, on_progress)

    async def dead(self) -> list[DeadLetter]:
        """The dead letters, newest first: deliveries that were given up after they lost their worker too often."""
        return await self._session.dead.all()

    async def dead_letter(self, name: str) -> DeadLetter:
        """One of them, with what the job's log says around it. Raises BadInput when there is none."""
        return await self._session.dead.letter(name)

    async def retry_dead(self, name: str) -> Job:
        """Submit the request behind a dead letter anew; twice is once. Raises BadInput when it is no longer kept."""
        letter, request = await self._session.dead.request(name)
        job = await self._accepted(letter.again, request)
        await self._session.dead.mark(name, job.id)
        return job

    async def drop_dead(self, name: str) -> bool:
        """Forget a dead letter; False when there is none."""
        return await self._session.dead.drop(name)


def _served(data: Path) -> str | None:
    """The Redis of a `swarm up` that runs on this machine."""
    try:
        from swarm.client.discovery import up_url
    except ImportError:  # a system without such locks
        return None
    return up_url(data)


def make_request(*, text: str, plan: Plan | Mapping[str, Any] | list[Any] | None = None, **fields: Any) -> Request:
    """A Request out of what a caller gave, or BadInput with the field and the remedy."""
    whole = plan if plan is None or isinstance(plan, Plan) else Plan.read(plan)
    try:
        return Request(text=text, plan=whole, **fields)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"]) or "request"
        raise BadInput(place, explain(error).removeprefix(f"{place}: ")) from None


def _seconds(field: str, given: object) -> float:
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= MAX_BUSY_TIMEOUT:
        return float(given)
    raise BadInput(field, f"{str(given)[:40]!r} is no time", f"give seconds, a number from 0 to {MAX_BUSY_TIMEOUT:,}")


def _matches(pattern: str, given: object) -> bool:
    return isinstance(given, str) and re.fullmatch(pattern, given) is not None


def new_job_id() -> str:
    """Unique, and sorted by time."""
    return f"{int(time.time()):x}{secrets.token_hex(6)}"
