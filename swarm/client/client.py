"""SwarmClient: submit a request, follow its job, read its answer, cancel it.

    async with SwarmClient("redis://localhost") as swarm:
        job = await swarm.submit("Which of our parcels are late, and what do we owe for them?", deadline=30)
        async for event in job.events():
            print(event.type)
        print((await job.answer()).text)
        print((await swarm.plan("Which of our parcels are late?")).estimate.seconds)  # planned, not run

A client works in any event loop, thread and process. Each loop has two connections of its own, one for calls and one
for the notifications of all followed jobs. They are closed when the loop ends.
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
from swarm.broker.loop_session import Session, Sessions
from swarm.broker.running_workers import unserved_of
from swarm.broker.snapshot import take_snapshot
from swarm.broker.snapshot_types import Snapshot
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
"""Longest pause in seconds between two submissions of a request that met Busy."""
MAX_BUSY_TIMEOUT = 86_400


class SwarmClient:
    """A client of the swarm that works on one Redis. Use it as an async context manager, or `aclose` it.

    Without `url` it uses SWARM_REDIS_URL, else the private Redis of the `swarm up` that serves SWARM_DATA now. Raises
    BadInput for an invalid URL, and where no Redis is found.
    """

    def __init__(self, url: str | None = None, *, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load(os.environ)
        url = url or self.settings.redis_url or _served(self.settings.data)
        if not url:
            none = f"none is up on {self.settings.data} now"
            remedy = f"give one, set SWARM_REDIS_URL, or start: swarm up ({none})"
            raise BadInput("redis", "no Redis URL is given", remedy)
        self._sessions = Sessions(url, self.settings)

    @property
    def log(self) -> JobLog:
        """The log of all jobs in Redis, over the connection of the running event loop."""
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
        """Close the connections of the running event loop. Further use opens them again."""
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

        `deadline` and `max_age` are seconds from now. With `expert` or `plan` no planner runs. `replans` is how often
        the planner may plan again after failures (None: the settings decide). `budget` limits the cost of all model
        calls of the job, in US dollars. Each step of `priority` (0 to 9) is a head start of 100 subtasks, over other
        tenants too.
        While the swarm is Busy, it submits again at least once a second, for up to `busy_timeout` seconds.
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
                # `retry_after` is an estimate: there may be room sooner, and submitting again keeps the place in line
                await asyncio.sleep(min(busy.retry_after, LOOK, left))

    async def _asked(self, job: Job, request: Request, busy_timeout: float) -> Job:
        try:
            await self.log.submit(job.id, request, busy_timeout=busy_timeout)
        except BrokerUnavailable:
            # only the reply of Redis may be lost; submitting again with the same id never doubles the job
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
        """Submit a request and wait for its answer. It takes the options of `submit`.

        After `timeout` seconds it raises WaitTimeout with the `job_id`; the job goes on.

        If the caller is cancelled (by `asyncio.wait_for`, a web client that disconnects, Ctrl-C), nobody reads the
        answer, so the job is cancelled too. With `on_cancel="leave"` it goes on. A job with a `job_id` of yours may
        have other readers: it goes on unless `on_cancel="cancel"`. A warning in the log (`swarm.client`) and a note on
        the CancelledError name the job and its state; under `asyncio.wait_for` that error is the `__cause__` of the
        TimeoutError.
        """
        cancels = on_cancel == "cancel" if on_cancel else job_id is None
        job = self.job(new_job_id() if job_id is None else job_id)
        busy_timeout = _seconds("busy_timeout", options.pop("busy_timeout", 0.0))
        request = make_request(text=text, **options)
        submission = Submission()
        try:
            await self._accepted(job.id, request, busy_timeout, submission.shielded)
            return await job.answer(timeout)
        except asyncio.CancelledError as error:
            await submission.abandon(error, self.log, job.id, request, cancels)
            raise

    async def plan(
        self, text: str, *, timeout: float | None = None, job_id: str | None = None, **options: Any
    ) -> PlanReport:
        """Plan a request without running it: the plan, why each expert was chosen, and an estimate from past runs.

        It takes the options of `submit`. Submit the report's `plan`, edited or not, with `submit(text, plan=...)`.
        Raises what `submit` raises, PlanningFailed if no plan is found, WaitTimeout after `timeout` seconds.
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
        """Statistics of the past runs of these experts; an expert without runs is left out."""
        return await self._session.stats.stats(names)

    def job(self, job_id: str) -> Job:
        """Return the job with this id, without checking that it exists. Raises BadInput for an invalid id."""
        if not _matches(JOB_ID, job_id):
            raise BadInput("job_id", f"{str(job_id)[:80]!r} is no job id", "use 1 to 64 of A-Z a-z 0-9 _ -")
        return Job(self._sessions, job_id)

    async def jobs(self, limit: int = 20, *, ended: bool = True) -> list[JobInfo]:
        """List open jobs, then the jobs that ended last, newest first."""
        return await self.log.jobs(limit, ended=ended)

    async def experts(self) -> Catalog | None:
        """The catalog that new jobs are planned with."""
        version = await self._session.catalog_store.current()
        return None if version is None else await self._session.catalog_store.catalog(version)

    async def snapshot(self, on_progress: Callable[[int, int], None] = lambda seen, of: None) -> Snapshot:
        """Take a snapshot of this swarm in Redis, without blocking it. `on_progress` gets keys read and keys in all."""
        return await take_snapshot(self._session.connection, self.settings, on_progress)

    async def unserved(self, job: str) -> tuple[str, ...]:
        """Experts (`router` for the router pool) that a job needs and no running worker serves."""
        return await unserved_of(self._session.connection, job)

    async def cancel_tenant(
        self, tenant: str, *, timeout: float = 10.0, on_progress: Callable[[int, int], None] = lambda done, of: None
    ) -> TenantReceipt:
        """Cancel all open jobs of a tenant and return their receipts. Jobs that it submits meanwhile are included.

        All jobs are asked to end at once. The wait goes on as long as one of them ends within `timeout` seconds;
        `on_progress` gets the number of jobs that have ended, and of all. If the tenant keeps submitting, its new jobs
        are cancelled for a few rounds only.
        """
        if not _matches(TENANT, tenant):
            raise BadInput("tenant", f"{str(tenant)[:80]!r} is no tenant", TENANT_REMEDY)
        return await cancel_all(self.log, self.job, tenant, timeout, on_progress)

    async def dead(self) -> list[DeadLetter]:
        """List the dead letters, newest first: deliveries that lost their worker too often."""
        return await self._session.dead.all()

    async def dead_letter(self, name: str) -> DeadLetter:
        """Return one dead letter with the nearby events of its job's log. Raises BadInput if it does not exist."""
        return await self._session.dead.letter(name)

    async def retry_dead(self, name: str) -> Job:
        """Submit the request of a dead letter again. A repetition gives the same job. Raises BadInput if it expired."""
        letter, request = await self._session.dead.request(name)
        job = await self._accepted(letter.again, request)
        await self._session.dead.mark(name, job.id)
        return job

    async def drop_dead(self, name: str) -> bool:
        """Delete a dead letter. Returns False if it does not exist."""
        return await self._session.dead.drop(name)


def _served(data: Path) -> str | None:
    """Return the URL of the Redis of a `swarm up` that runs on this machine."""
    try:
        from swarm.client.discovery import up_url
    except ImportError:  # a system without file locks
        return None
    return up_url(data)


def make_request(*, text: str, plan: Plan | Mapping[str, Any] | list[Any] | None = None, **fields: Any) -> Request:
    """Build a Request. Raises BadInput with the field and the remedy."""
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
    """Return a unique job id. Later ids sort after earlier ones."""
    return f"{int(time.time()):x}{secrets.token_hex(6)}"
