"""An ask that is given up: what becomes of its job; and looking at a job without waiting for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import pytest

from swarm.client.client import SwarmClient
from swarm.errors import BadInput, JobNotFound, WaitTimeout
from swarm.settings import Settings
from swarm.types.answer import Answer
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Solution
from tests.integration.processes import echo, expert, publish, serving, until

WARNED = "swarm.client"


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
    assert (await client.job("j1").answer(40)).ending == "cancelled"


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


async def within(seconds: float, answer: Coroutine[Any, Any, Answer]) -> Answer:
    async with asyncio.timeout(seconds):
        return await answer


@pytest.mark.parametrize("wait", [lambda seconds, answer: asyncio.wait_for(answer, seconds), within])
async def test_a_wait_that_times_out_cancels_its_job_and_names_it(
    client: SwarmClient, wait: Callable[..., Coroutine[Any, Any, Answer]], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TimeoutError) as raised:
        await wait(0.5, client.ask("costly", expert="slow"))
    (job,) = await client.jobs(5)

    cause = raised.value.__cause__
    assert cause is not None
    assert cause.__notes__ == [f"job {job.id} is cancelled"]
    assert (
        WARNED,
        logging.WARNING,
        f"the caller of an ask was cancelled: job {job.id} is cancelled",
    ) in caplog.record_tuples
    assert (await client.job(job.id).answer(40)).ending == "cancelled"


@pytest.fixture
def durable(client: SwarmClient, settings: Settings) -> SwarmClient:
    """A client of the same swarm that waits for a replica which never comes: a second, twice for each submission."""
    return SwarmClient(settings=settings.model_copy(update={"durable": True}))


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("when", ["before it is sent", "while it is confirmed"])
async def test_a_job_that_is_not_confirmed_yet_is_cancelled_too(
    client: SwarmClient, durable: SwarmClient, named: bool, when: str
) -> None:
    async with durable:
        own: dict[str, Any] = {"job_id": "j1", "on_cancel": "cancel"} if named else {}
        asking = asyncio.create_task(durable.ask("costly", expert="slow", **own))
        if when == "before it is sent":
            await asyncio.sleep(0)
        else:
            await until(lambda: _any_open(client), "a job that is written")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await asking
    (job,) = await client.jobs(5)

    assert raised.value.__notes__ == [f"job {job.id} is cancelled"]
    assert (await client.job(job.id).answer(40)).ending == "cancelled"


async def _any_open(client: SwarmClient) -> bool:
    return bool(await client.log.open("default"))


async def test_a_named_job_that_is_not_confirmed_yet_goes_on(client: SwarmClient, durable: SwarmClient) -> None:
    async with durable:
        asking = asyncio.create_task(durable.ask("costly", expert="slow", job_id="j1"))
        await until(lambda: _any_open(client), "a job that is written")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await asking

    assert raised.value.__notes__ == ["job j1 goes on"]
    assert await state(client, "j1") in ("queued", "running")
    await client.job("j1").cancel()


async def test_an_ask_that_finds_no_room_is_not_accepted_when_it_is_given_up(settings: Settings) -> None:
    few = settings.model_copy(update={"max_open": 1, "retry_after": 0.2})
    await publish(few, *CREW)
    async with SwarmClient(settings=few) as client:
        await client.submit("first", expert="slow", job_id="first")
        asking = asyncio.create_task(client.ask("second", expert="slow", busy_timeout=60))
        await asyncio.sleep(0.3)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await asking

        assert raised.value.__notes__[0].endswith("was not accepted")
        assert [job.id for job in await client.jobs()] == ["first"]


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

    assert await state(client, raised.value.job_id) in ("queued", "running")
    await client.job(raised.value.job_id).cancel()


async def test_a_timeout_of_nothing_only_looks(client: SwarmClient) -> None:
    job = await client.submit("quick", expert="echo")
    await job.answer(40)
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
