"""SIGTERM: what can finish finishes, the rest goes back at once and burns no try."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarm.client.client import SwarmClient
from swarm.settings import Settings
from tests.integration.processes import EXPERTS, ROUTER, Fleet, claims, serving, until


@pytest.fixture
async def fleet(settings: Settings, tmp_path: Path) -> AsyncIterator[Fleet]:
    # the lease is long, so that nothing here comes back because one ended
    async with Fleet(settings.model_copy(update={"lease": 30.0}), tmp_path) as fleet:
        await fleet.publish()
        yield fleet


@pytest.fixture
async def client(fleet: Fleet) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=fleet.settings) as client, serving(fleet.settings, roles=ROUTER):
        yield client


def plan(**sleeps: str) -> list[dict[str, str]]:
    return [{"id": name, "expert": "careful", "instruction": seconds} for name, seconds in sleeps.items()]


async def test_what_can_finish_finishes_and_the_rest_is_handed_back(fleet: Fleet, client: SwarmClient) -> None:
    first = await fleet.start("expert", drain=1.0)
    job = await client.submit("go", plan=plan(short="0.6", long="60"))
    await fleet.started("short", "long")
    async with serving(fleet.settings, roles=EXPERTS) as second:
        first.signal(signal.SIGTERM)
        code = await first.ended()
        await fleet.started("long", times=2)
        events = await client.log.events(job.id) or []
        await job.cancel(timeout=40)
    solved = [event.subtask for event in events if event.type == "outcome"]
    owner = [event.worker for event in events if event.type == "started" and event.subtask == "long"][-1]

    assert code == 0
    assert solved == ["short"]
    assert fleet.starts() == {"short": 1, "long": 2}
    assert claims(events, "long") == [(1, 1), (1, 2)]
    assert owner == second.worker.name


async def test_what_is_handed_back_burns_no_try(fleet: Fleet, client: SwarmClient) -> None:
    """Handed back five times, more often than a lease may be lost."""
    job = await client.submit("60", expert="careful")
    for turn in range(1, 6):
        async with serving(fleet.settings, roles=EXPERTS):
            await fleet.started("t1", times=turn)
    async with serving(fleet.settings, roles=EXPERTS):
        await fleet.started("t1", times=6)
        lost = await client.log._connection.call("HGET", f"{fleet.settings.prefix}:delivery:{job.id}:t1:1", "lost")
        receipt = await job.cancel(timeout=40)

    assert lost is None
    assert receipt.stopped == ("t1:1",)


async def test_a_worker_that_drains_takes_nothing_new(fleet: Fleet, client: SwarmClient) -> None:
    worker = await fleet.start("expert", drain=8.0)
    first = await client.submit("1.5", expert="careful")
    await fleet.started("t1")
    worker.signal(signal.SIGTERM)
    second = await client.submit("go", plan=plan(new="0"))
    answer = await first.answer(40)
    code = await worker.ended()
    events = await client.log.events(second.id) or []
    await second.cancel(timeout=40)

    assert (answer.ending, code) == ("completed", 0)
    assert fleet.starts() == {"t1": 1}
    assert claims(events, "new") == []


async def test_a_second_signal_ends_the_drain(fleet: Fleet, client: SwarmClient) -> None:
    worker = await fleet.start("expert", drain=60.0)
    job = await client.submit("60", expert="careful")
    await fleet.started("t1")
    worker.signal(signal.SIGTERM)
    # a process that drains no longer claims, and says so
    await until(lambda: worker.report()["since_claim"] > 0.7, "a worker that drains")
    drained = worker.alive
    worker.signal(signal.SIGTERM)
    code = await worker.ended()
    where = await client.log._connection.call("ZRANGE", f"{fleet.settings.prefix}:queue:run:careful@1:ready", 0, -1)
    await job.cancel(timeout=40)

    assert drained
    assert code == 0
    assert where == [f"{job.id}:t1:1".encode()]
    assert fleet.noted("cancelled") == ["t1"]
    assert fleet.noted("closed") == ["t1"]


async def test_sigint_drains_too(fleet: Fleet, client: SwarmClient) -> None:
    worker = await fleet.start("expert")
    job = await client.submit("0.5", expert="careful")
    await fleet.started("t1")
    worker.signal(signal.SIGINT)
    answer = await job.answer(40)

    assert await worker.ended() == 0
    assert answer.ending == "completed"
    assert "Traceback" not in worker.words()


async def test_an_idle_worker_ends_at_once(fleet: Fleet) -> None:
    worker = await fleet.start("all")
    worker.signal(signal.SIGTERM)

    assert await worker.ended() == 0
    assert "Traceback" not in worker.words()


async def test_a_router_that_stops_leaves_the_job_to_another(fleet: Fleet) -> None:
    steps = [
        {"id": f"t{i}", "expert": "sleep", "instruction": "0.2", "depends_on": [f"t{i - 1}"] if i else []}
        for i in range(5)
    ]
    first = await fleet.start("router")
    async with SwarmClient(settings=fleet.settings) as client, serving(fleet.settings, roles=EXPERTS):
        job = await client.submit("go", plan=steps)
        await fleet.started("t0")
        async with serving(fleet.settings, roles=ROUTER):
            first.signal(signal.SIGTERM)
            answer = await job.answer(40)

    assert await first.ended() == 0
    assert answer.complete
    assert fleet.starts() == {f"t{i}": 1 for i in range(5)}
