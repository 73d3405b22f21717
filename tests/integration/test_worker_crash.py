"""kill -9: of the worker that runs a subtask, of the router, again and again; and of work that kills its worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarm.client import SwarmClient
from swarm.models import Ended
from swarm.settings import Settings
from tests.integration.processes import Fleet, WorkerProcess, claims, kinds, starts, until


@pytest.fixture
async def fleet(settings: Settings, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with Fleet(settings.model_copy(update={"lease": 0.6}), tmp_path) as fleet:
        await fleet.publish()
        yield fleet


@pytest.fixture
async def client(fleet: Fleet) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=fleet.settings) as client:
        yield client


async def test_a_killed_workers_subtask_runs_again_elsewhere(fleet: Fleet, client: SwarmClient) -> None:
    router, first = await asyncio.gather(fleet.start("router"), fleet.start("expert"))
    job = await client.submit("60 then go", expert="sleep")
    await fleet.started("t1")
    second = await fleet.start("expert")
    first.kill()
    await fleet.started("t1", times=2)
    events = await client.log.events(job.id) or []
    second.kill()
    third = await fleet.start("expert")
    await fleet.started("t1", times=2)
    receipt = await job.cancel(timeout=5)

    assert claims(events, "t1") == [(1, 1), (1, 2)]
    assert receipt.ending == "cancelled"
    assert router.alive
    assert third.alive


async def test_a_job_whose_worker_was_killed_completes_once(fleet: Fleet, client: SwarmClient) -> None:
    await asyncio.gather(fleet.start("router"), fleet.start("expert"), fleet.start("expert"))
    job = await client.submit("1 second", expert="sleep")
    await fleet.started("t1")
    killed = _runs(fleet)
    killed.kill()
    answer = await job.answer(8)
    events = await client.log.events(job.id) or []

    assert (answer.ending, answer.text) == ("completed", "slept")
    assert claims(events, "t1") == [(1, 1), (1, 2)]
    assert kinds(events).count("outcome") == 1
    assert kinds(events).count("ended") == 1


async def test_a_killed_router_is_followed_by_another(fleet: Fleet, client: SwarmClient) -> None:
    """Killed ten times while a chain of ten subtasks goes on: each subtask runs once all the same."""
    await asyncio.gather(fleet.start("expert"), fleet.start("router"))
    plan = [
        {"id": f"t{i}", "expert": "sleep", "instruction": "0.3", "depends_on": [f"t{i - 1}"] if i else []}
        for i in range(10)
    ]
    job = await client.submit("go", plan=plan)
    for i in range(2):
        await fleet.started(f"t{i}")
        router = fleet.workers[-1]
        fleet.launch("router")
        router.kill()
    answer = await job.answer(9)

    assert answer.ending == "completed"
    assert fleet.starts() == {f"t{i}": 1 for i in range(10)}


async def test_a_subtask_that_kills_its_worker_is_given_up_after_three(fleet: Fleet, client: SwarmClient) -> None:
    await asyncio.gather(fleet.start("router"), *(fleet.start("expert", slots=1) for _ in range(4)))
    plan = [
        {"id": "bad", "expert": "poison", "instruction": "die"},
        {"id": "good", "expert": "echo", "instruction": "hello"},
    ]
    job = await client.submit("go", plan=plan)
    answer = await job.answer(9)
    letters = await client.log._connection.call("XRANGE", f"{fleet.settings.prefix}:dead", "-", "+")

    assert fleet.starts()["bad"] == 3
    assert answer.ending == "partial"
    assert answer.text == "hello"
    assert [(m.subtask, m.reason) for m in answer.missing] == [("bad", "poison")]
    assert sum(worker.alive for worker in fleet.workers) == 2, "the router and one expert worker live"
    assert [fields[1] for _, fields in letters] == [f"{job.id}:bad:1".encode()]


async def test_a_blocked_loop_keeps_its_leases(fleet: Fleet, client: SwarmClient) -> None:
    """An expert that blocks its process for longer than three leases is not started a second time."""
    await asyncio.gather(fleet.start("all"), fleet.start("all"))
    answer = await client.ask("2.2 seconds", expert="block", timeout=8)
    events = await client.log.events(answer.job) or []

    assert answer.text == "blocked"
    assert claims(events, "t1") == [(1, 1)]
    assert fleet.starts() == {"t1": 1}


async def test_work_of_the_dead_goes_before_newer_work(fleet: Fleet, client: SwarmClient) -> None:
    """With 300 subtasks ready, the one whose worker died is the next to run."""
    await fleet.start("router")
    first = await fleet.start("expert", slots=1)
    job = await client.submit("0.8", expert="sleep")
    await fleet.started("t1")
    many = [{"id": f"n{i}", "expert": "sleep", "instruction": "0.05"} for i in range(300)]
    async with SwarmClient(settings=fleet.settings.model_copy(update={"window": 300})) as wide:
        later = await wide.submit("go", plan=many)
    second = fleet.launch("expert", slots=1)
    first.kill()
    answer = await job.answer(9)
    before = sum(starts(fleet.record)[f"n{i}"] for i in range(300))
    await later.cancel(timeout=5)

    assert answer.ending == "completed"
    assert second.alive
    assert before < 40


async def test_whoever_is_killed_no_job_is_lost_or_ended_twice(fleet: Fleet, client: SwarmClient) -> None:
    """Twelve jobs of three subtasks while workers of everything are killed one after the other."""
    await asyncio.gather(fleet.start("all"), fleet.start("all"))
    plan = [
        {"id": "a", "expert": "sleep", "instruction": "0.3"},
        {"id": "b", "expert": "sleep", "instruction": "0.3"},
        {"id": "c", "expert": "echo", "instruction": "${a} ${b}"},
    ]
    jobs = [await client.submit("go", plan=plan) for _ in range(12)]
    for worker in list(fleet.workers):
        # each kill is after the jobs got on, or poison would be what we measure
        await until(lambda: fleet.starts()["a"] > 2, "work under way")
        fleet.launch("all")
        worker.kill()
    answers = await asyncio.gather(*(job.answer(9) for job in jobs))
    endings = [sum(isinstance(e, Ended) for e in await client.log.events(job.id) or []) for job in jobs]

    assert [answer.ending for answer in answers] == ["completed"] * 12
    assert endings == [1] * 12


def _runs(fleet: Fleet) -> WorkerProcess:
    pid = int(fleet.record.read_text().split()[-1])
    return next(worker for worker in fleet.workers if worker.pid == pid)
