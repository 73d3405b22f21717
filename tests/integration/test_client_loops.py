"""One client in several event loops, threads and processes: the caller's own answer each time, at once, and no trace.

The swarm runs in a thread of its own, as another process would.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
import uvloop
from anyio.from_thread import start_blocking_portal

from swarm.broker.connection import Connection
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from tests.integration.processes import echo, expert, publish, serving

ECHO = expert("echo", echo)
_names = count()


@pytest.fixture(autouse=True)
def no_follower_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that gets no notification waits until the call times out."""
    monkeypatch.setattr("swarm.broker.notifications.LOOK_AGAIN", 3_600.0)


@pytest.fixture
def swarm_of_another(settings: Settings) -> Iterator[None]:
    """A swarm that serves while the test runs, in a loop and thread of its own."""
    up, over = threading.Event(), threading.Event()

    async def serve() -> None:
        await publish(settings, ECHO)
        async with serving(settings, ECHO):
            up.set()
            await asyncio.to_thread(over.wait)

    with ThreadPoolExecutor(1) as pool:
        serves = pool.submit(asyncio.run, serve())
        assert up.wait(20)
        yield
        over.set()
        serves.result(20)


@pytest.fixture
def client(settings: Settings, swarm_of_another: None) -> SwarmClient:
    """Made outside of any loop, as at the head of a module."""
    return SwarmClient(settings=settings)


@pytest.fixture(autouse=True)
def nothing_is_complained_of(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio logs tasks and errors that nobody took; what is not closed would be a warning, and so an error."""
    caplog.set_level(logging.WARNING, "asyncio")
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def one(client: SwarmClient) -> str:
    """Ask for a word of its own. What comes back must be that word, and by a notification."""
    word = f"word {os.getpid()} {next(_names)}"
    text = (await client.ask(word, expert="echo", timeout=40)).text
    assert text == word
    return text


async def some(client: SwarmClient, times: int = 4) -> None:
    await asyncio.gather(*(one(client) for _ in range(times)))


def forked(work: Callable[[], object]) -> int:
    """The exit code of a child that does `work`: 0 if that went well."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_client_works_in_each_of_several_loops(client: SwarmClient, run: Callable[..., None]) -> None:
    for _ in range(4):
        run(some(client))


def test_threads_with_loops_of_their_own_share_a_client(client: SwarmClient) -> None:
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(asyncio.run, some(client)) for _ in range(12)]:
            done.result(30)


def test_a_loop_that_runs_and_a_thread_beside_it_share_a_client(client: SwarmClient) -> None:
    async def both() -> None:
        await asyncio.gather(some(client), asyncio.to_thread(asyncio.run, some(client)))

    asyncio.run(both())


def test_a_loop_that_was_closed_without_care_is_no_harm(client: SwarmClient) -> None:
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(some(client))
        loop.run_until_complete(client.aclose())
        loop.close()
    asyncio.run(some(client))


def test_portals_of_a_web_framework_share_a_client(client: SwarmClient) -> None:
    """As Starlette's TestClient does without a lifespan: a loop in a thread for each request."""
    for _ in range(3):
        with start_blocking_portal() as portal:
            portal.call(some, client)


# -- three of the same kind ---------------------------------------------------------------------------------------


def test_a_job_of_one_loop_is_read_and_cancelled_in_another(client: SwarmClient) -> None:
    async def submitted() -> str:
        return (await client.submit("hello", expert="echo")).id

    async def read() -> list[str]:
        assert (await job.answer(40)).text == "hello"
        assert (await job.cancel()).ending == "completed"
        return [event.type async for event in job.events()]

    job = client.job(asyncio.run(submitted()))
    assert [asyncio.run(read())[-1] for _ in range(2)] == ["ended", "ended"]


def test_a_client_is_closed_in_another_loop_than_it_was_used_in(client: SwarmClient) -> None:
    async def closed() -> None:
        async with client:
            pass

    asyncio.run(some(client))
    asyncio.run(closed())
    asyncio.run(some(client))


def test_a_fork_reads_nothing_of_its_parent(client: SwarmClient) -> None:
    """The child is made while replies to the parent are on their way."""

    async def parent() -> None:
        asking = [asyncio.create_task(one(client)) for _ in range(8)]
        await asyncio.sleep(0)
        code = await asyncio.get_running_loop().run_in_executor(None, forked, lambda: asyncio.run(some(client)))
        assert code == 0
        await asyncio.gather(*asking)
        await some(client)

    asyncio.run(parent())
    assert forked(lambda: asyncio.run(some(client))) == 0


async def test_after_all_tasks_were_cancelled_a_call_gets_its_own_reply(connection: Connection) -> None:
    """As a framework does on its way out, before the program's own last words. Redis has the calls by then."""
    for turns in range(6):
        asking = [asyncio.create_task(connection.call("ECHO", f"lost {n}")) for n in range(5)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        async with asyncio.timeout(40):
            assert await connection.call("ECHO", f"mine {turns}") == f"mine {turns}".encode()
            assert await connection.call("ECHO", f"next {turns}") == f"next {turns}".encode()
        await asyncio.gather(*asking, return_exceptions=True)


# -- all of them at random ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_threads_loops_portals_and_forks_at_random(client: SwarmClient, seed: int) -> None:
    ways = ["run", "runs", "given up", "closed", "uvloop", "portal", "fork"]

    def life(rng: random.Random) -> None:
        for _ in range(4):
            match rng.choice(ways):
                case "run":
                    asyncio.run(some(client, rng.randint(1, 5)))
                case "runs":
                    with asyncio.Runner() as runner:
                        runner.run(one(client))
                        runner.run(one(client))
                case "given up":
                    asyncio.run(_given_up(client, rng.random() / 50))
                case "closed":
                    asyncio.run(_closed_and_used(client))
                case "uvloop":
                    uvloop.run(some(client))
                case "portal":
                    with start_blocking_portal() as portal:
                        portal.call(one, client)
                case "fork":
                    assert forked(lambda: asyncio.run(one(client))) == 0

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(life, random.Random(seed * 10 + n)) for n in range(4)]:
            done.result(30)


async def _given_up(client: SwarmClient, after: float) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.gather(one(client), asyncio.sleep(30)), after)
    await one(client)


async def _closed_and_used(client: SwarmClient) -> None:
    async with client:
        await one(client)
    await one(client)
