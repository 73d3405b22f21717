"""submit, watch, answer, jobs, cancel: work with single jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from swarm.cli.base import exit_codes, options
from swarm.cli.base.console import Screen, flat, listed
from swarm.cli.base.context import AsJson, Edge, RedisUrl, confirm
from swarm.cli.commands.ask import Timeout, takes_request
from swarm.cli.commands.unserved_hint import hints
from swarm.cli.render import answer as answer_view
from swarm.cli.render.answer import fallback_note
from swarm.cli.render.plan import spent
from swarm.client.client import SwarmClient
from swarm.errors import BadInput, WaitTimeout
from swarm.types.answer import Answer, JobInfo
from swarm.types.events import (
    Answered,
    AnyEvent,
    CancelAsked,
    Ended,
    OutcomeRecorded,
    Planned,
    Released,
    RoundOpened,
    Started,
    Valued,
    Withdrawn,
)

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


@takes_request
def submit(wanted: dict[str, Any], redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Submit a request and print its job's id at once. See `swarm watch` and `swarm answer`."""
    edge = Edge.of(redis, as_json)

    async def submitted() -> None:
        await edge.await_up()
        async with edge.client() as client:
            job = await client.submit(**wanted)
            edge.screen.line(job.id)
            edge.screen.document({"job": job.id})
            edge.warn_if_unserved()

    edge.run(submitted())
    return exit_codes.OK


def watch(
    job: JobArgument,
    after: Annotated[str, typer.Option("--after", metavar="ID", help="Continue after this event.")] = "0-0",
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Print the events of a job, one per line, until it ends. With --json each line is one event.

    Ctrl-C only stops watching. The exit code is that of the job's ending.
    """
    edge = Edge.of(redis, as_json)
    follower = _Follower(edge, options.job_id(job), options.event_id(after))
    try:
        return edge.run(follower.follow())
    except KeyboardInterrupt:
        more = f" --after {follower.seen}" if follower.seen != "0-0" else ""
        edge.screen.note(f"stopped watching; the job goes on: swarm watch {job}{more}")
        return exit_codes.INTERRUPTED


def answer(job: JobArgument, timeout: Timeout = None, redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Wait until a job has ended and print its answer. With --timeout 0 it does not wait."""
    edge, name, limit = Edge.of(redis, as_json), options.job_id(job), options.seconds("timeout", timeout)

    async def answered() -> int:
        async with edge.client() as client:
            found = await _answer(edge, client, name, limit)
            progress = await client.log.progress(name)
            experts = {subtask.id: progress.expert_of(subtask) for subtask in progress.subtasks}
            answer_view.show(edge.screen, found, experts)
            edge.screen.document(found)
            return exit_codes.of_answer(found)

    return edge.run(answered())


def jobs(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Number of jobs, at most.")] = 20,
    only_open: Annotated[bool, typer.Option("--open", help="Only jobs that have not ended.")] = False,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """List open jobs, then the jobs that ended last."""
    edge = Edge.of(redis, as_json)

    async def found() -> list[JobInfo]:
        async with edge.client() as client:
            return await client.jobs(limit, ended=not only_open)

    infos = edge.run(found())
    edge.screen.document({"jobs": [info.model_dump(mode="json") for info in infos]})
    _show_jobs(edge.screen, infos, "no open jobs" if only_open else "no jobs yet")
    return exit_codes.OK


def cancel(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", show_default=False, help="The job's id.")] = None,
    subtask: Annotated[
        str | None, typer.Option("--subtask", metavar="ID", show_default=False, help="Cancel only this subtask.")
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="NAME", show_default=False, help="Cancel all open jobs of a tenant."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --tenant: skip the question.")] = False,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Cancel a job, one of its subtasks, or all jobs of a tenant, and print what was stopped, withdrawn and solved."""
    edge = Edge.of(redis, as_json)
    if tenant is not None:
        if job is not None or subtask is not None:
            raise BadInput("tenant", "given together with a job or a subtask", "give one of them")
        return edge.run(_cancel_tenant(edge, options.utf8(tenant, "tenant"), yes))
    if job is None:
        raise BadInput("job", "no job is named", "give the job's id, or --tenant NAME")
    name = options.job_id(job)

    async def cancelled() -> None:
        async with edge.client() as client:
            edge.warn_if_unserved()
            receipt = await client.job(name).cancel(
                subtask=None if subtask is None else options.utf8(subtask, "subtask")
            )
        edge.screen.document(receipt)
        for text in answer_view.receipt(receipt, subtask):
            edge.screen.line(text)

    edge.run(cancelled())
    return exit_codes.OK


async def _cancel_tenant(edge: Edge, tenant: str, yes: bool) -> int:
    async with edge.client() as client:
        count = len(await client.log.open(tenant))
        if count and not yes:
            confirm(f"cancel all {count:,} open jobs of {tenant}?", edge, "nothing was cancelled")
        edge.warn_if_unserved()
        with edge.screen.busy(f"cancelling {count:,} jobs of {tenant}") as status:
            found = await client.cancel_tenant(tenant, on_progress=_progress(status, tenant))
    edge.screen.document(found)
    for text in answer_view.tenant_receipt(found):
        edge.screen.line(text)
    return exit_codes.OK if not found.pending and not found.accepted_since else exit_codes.WAITED


def _progress(status: object, tenant: str) -> Callable[[int, int], None]:
    """Return a callback that shows the progress on a terminal, and nothing elsewhere."""
    update = getattr(status, "update", None)

    def show(done: int, of: int) -> None:
        if update is not None:
            update(f"cancelling {of:,} jobs of {tenant}: {done:,} have ended")

    return show


async def _answer(edge: Edge, client: SwarmClient, job: str, timeout: float | None) -> Answer:
    """Return the answer at once if the job has ended, else wait for it."""
    found = await client.log.answer(job)
    if found is not None:
        return found
    if timeout == 0:
        raise WaitTimeout(job, 0)
    edge.warn_if_unserved()
    return await client.job(job).answer(timeout)


def _show_jobs(screen: Screen, infos: list[JobInfo], none: str) -> None:
    if not infos:
        screen.note(none)
        return
    paid = any(info.cost or info.presumed for info in infos)
    head = ("JOB", "STATE", "SETTLED", "AGE", "TENANT", *(("COST",) if paid else ()), "REQUEST")
    screen.columns([_row(info, paid) for info in infos], head)


def _row(info: JobInfo, paid: bool) -> tuple[str, ...]:
    """Return the columns of a job. The known cost and the possible cost of calls of unknown fate stay apart."""
    cost = spent(info.cost, info.presumed) if info.cost or info.presumed else ""
    settled = "plan only" if info.plan_only else f"{info.settled}/{info.subtasks}"
    return (info.id, info.state, settled, _ago(info.accepted_at), info.tenant, *((cost,) if paid else ()), info.text)


def _ago(ms: int) -> str:
    """Write the age of a time in the largest unit that fits.

    >>> _ago(round(time.time() * 1000) - 90_000)
    '90 s'
    """
    age = max(0.0, time.time() - ms / 1000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if age >= 2 * size:
            return f"{age / size:.0f} {unit}"
    return f"{age:.0f} s"


# -- following -----------------------------------------------------------------------------------------------------


class _Follower:
    """Prints the events of a job. `seen` is the id of the last one."""

    def __init__(self, edge: Edge, job: str, after: str) -> None:
        self._edge, self._job, self.seen = edge, job, after

    async def follow(self) -> int:
        async with self._edge.client() as client:
            ended = await client.log.answer(self._job)
            if ended is None:
                self._edge.warn_if_unserved()
            elif self.seen != "0-0" and await client.log.events(self._job, self.seen) == []:
                return exit_codes.of_answer(ended)
            async with hints(client, self._job, self._edge.screen) as heard:
                async for event in client.job(self._job).events(self.seen):
                    heard()
                    self.seen = event.id
                    self._print(event)
                    if isinstance(event, Ended):
                        return exit_codes.of_ending(event.ending)
        return exit_codes.OK

    def _print(self, event: AnyEvent) -> None:
        self._edge.screen.document(event)
        self._edge.screen.line((f"{event.id:<18} ", "dim"), (f"{event.type:<13}", "bold"), happened(event))


def happened(event: AnyEvent) -> str:
    """Describe an event in words."""
    match event:
        case RoundOpened():
            return f"round {event.round}"
        case Planned() if event.failure is not None:
            return flat(event.failure.message)
        case Planned():
            plan = listed(f"{subtask.id} {subtask.expert}" for subtask in event.subtasks)
            more = "" if event.closed else ", more to come"
            return f"{plan} (by {event.planner}{more})" if event.planner else plan + more
        case Valued():
            found = [f"{place} is {flat(json.dumps(value), 60)}" for place, value in event.values.items()]
            return listed([*found, *(f"{place}: {flat(why, 60)}" for place, why in event.missing.items())])
        case Withdrawn():
            return f"{event.subtask} attempt {event.attempt}" + (", stopped" if event.stopped else "")
        case CancelAsked():
            return event.subtask
        case Answered() if event.failure is not None or event.lacking:
            return f"lacking: {flat(event.lacking)}" if event.failure is None else flat(event.failure.message)
        case Released():
            delay = f", in {event.delay} ms" if event.delay else ""
            return f"{event.subtask} to {event.expert}, attempt {event.attempt}{delay}"
        case Started():
            again = f", claim {event.claim}" if event.claim > 1 else ""
            return f"{event.subtask} attempt {event.attempt}{again} at {event.worker}{_limited(event)}"
        case OutcomeRecorded():
            how = f"{event.failure.reason}: {flat(event.failure.message)}" if event.failure else _solved(event)
            return f"{event.subtask} attempt {event.attempt} {how} ({event.ms} ms)"
        case Ended():
            stopped = f", stopped {listed(event.stopped)}" if event.stopped else ""
            return event.ending + stopped
    return ""


def _solved(event: OutcomeRecorded) -> str:
    by = fallback_note(event.model, event.failed_models)
    return f"solved {by}" if by else "solved"


def _limited(event: Started) -> str:
    """Say which limit or budget delayed the start, and for how long."""
    if not event.limited_by:
        return ""
    kind, _, name = event.limited_by.partition(":")
    at = f"for room in the budget of the {name}" if kind == "budget" else f"at the limits of {event.limited_by}"
    return f", after {event.limited_ms} ms {at}"
