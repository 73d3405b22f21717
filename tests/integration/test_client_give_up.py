"""An ask that is given up: what becomes of its job; and looking at a job without waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from swarm.client import SwarmClient
from swarm.errors import BadInput, JobNotFound, WaitTimeout
from swarm.models import Failure, Solution
from swarm.plans import Subtask
from swarm.settings import Settings
from tests.integration.processes import echo, expert, publish, serving, until


async def slow(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
    await asyncio.sleep(30)
    return "too late"


async def broken(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
    raise ValueError("no")


CREW = (expert("echo", echo), expert("slow", slow), expert("broken", broken))


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    await publish(settings, *CREW)
    async with serving(settings, *CREW), SwarmClient(settings=settings) as client:
        yield client


async def state(client: SwarmClient, job: str) -> str:
    return (await client.job(job).status()).state


async def running(client: SwarmClient, job: str) -> bool:
    try:
        return bool((await client.job(job).status()).running)
    except JobNotFound:
        return False


async def given_up(client: SwarmClient, **options: Any) -> asyncio.CancelledError:
    asking = asyncio.create_task(client.ask("costly", expert="slow", job_id="j1", **options))
    await until(lambda: running(client, "j1"), "the expert at work")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await asking
    return raised.value


async def test_an_ask_that_is_cancelled_cancels_its_job(client: SwarmClient) -> None:
    error = await given_up(client, on_cancel="cancel")

    assert error.__notes__ == ["job j1 is cancelled"]
    assert (await client.job("j1").answer(10)).ending == "cancelled"


async def test_an_ask_that_is_cancelled_may_leave_its_job(client: SwarmClient) -> None:
    error = await given_up(client)

    assert error.__notes__ == ["job j1 goes on"], "one that its caller named may have other readers"
    assert await state(client, "j1") == "running"
    assert (await client.job("j1").cancel()).ending == "cancelled"


async def test_an_ask_that_is_refused_never_cancels_the_job_that_was_there(client: SwarmClient) -> None:
    await client.submit("costly", expert="slow", job_id="shared")
    for turns in range(6):
        asking = asyncio.create_task(client.ask("another", expert="slow", job_id="shared", on_cancel="cancel"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    assert await state(client, "shared") in ("queued", "running")
    assert (await client.job("shared").cancel()).ending == "cancelled"


async def test_a_wait_that_times_out_cancels_a_job_whose_id_nobody_has(client: SwarmClient) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.ask("costly", expert="slow"), 0.5)
    (job,) = await client.jobs(5)

    assert (await client.job(job.id).answer(10)).ending == "cancelled"


async def test_an_ask_that_is_cancelled_at_once_leaves_no_job_open(client: SwarmClient) -> None:
    for turns in range(5):
        asking = asyncio.create_task(client.ask("costly", expert="slow"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    await until(lambda: _none_open(client), "no open job")


async def _none_open(client: SwarmClient) -> bool:
    return not await client.log.open("default")


async def test_after_its_own_timeout_the_job_goes_on_and_is_named(client: SwarmClient) -> None:
    with pytest.raises(WaitTimeout) as raised:
        await client.ask("costly", expert="slow", timeout=0.3)

    assert await state(client, raised.value.job_id) == "running"
    await client.job(raised.value.job_id).cancel()


async def test_a_timeout_of_nothing_only_looks(client: SwarmClient) -> None:
    job = await client.submit("quick", expert="echo")
    await job.answer(20)
    other = await client.submit("slow", expert="slow")

    assert (await job.answer(timeout=0)).text == "quick"
    with pytest.raises(WaitTimeout, match=f"job {other.id} has not ended; it goes on"):
        await other.answer(timeout=0)
    with pytest.raises(JobNotFound):
        await client.job("nobody").answer(timeout=0)
    await other.cancel()


async def test_results_can_be_read_while_the_job_goes_on(client: SwarmClient) -> None:
    plan = [
        {"id": "t1", "expert": "echo", "instruction": "one"},
        {"id": "t2", "expert": "broken", "instruction": "two"},
        {"id": "t3", "expert": "slow", "instruction": "${t1}"},
        {"id": "t4", "expert": "echo", "instruction": "${t2}"},
    ]
    job = await client.submit("all", plan=plan)
    await until(lambda: _settled(client, job.id, 3), "all but the slow one settled")
    status = await job.status()
    solved, failed, open_, dropped = [await job.result(f"t{n}") for n in range(1, 5)]

    assert (status.state, status.subtasks, status.running, status.failed) == ("running", 4, ("t3",), ("t2", "t4"))
    assert isinstance(solved, Solution)
    assert solved.text == "one"
    assert isinstance(failed, Failure)
    assert failed.reason == "bug"
    assert open_ is None
    assert isinstance(dropped, Failure)
    assert dropped.message == "waited for t2"
    with pytest.raises(BadInput, match="it has: t1, t2, t3, t4"):
        await job.result("t9")
    await job.cancel()
    assert (await job.status()).state == "cancelled"


async def _settled(client: SwarmClient, job: str, count: int) -> bool:
    status = await client.job(job).status()
    return status.settled == count and bool(status.running)


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 65])
async def test_an_id_that_is_none_is_refused_and_not_replaced(client: SwarmClient, name: str) -> None:
    for call in (client.submit("x", job_id=name), client.ask("x", job_id=name), client.plan("x", job_id=name)):
        with pytest.raises(BadInput, match="job_id"):
            await call
