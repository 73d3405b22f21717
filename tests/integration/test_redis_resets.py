"""Connections to Redis break at every await, busy and idle: no process ends, no accepted job is lost, reads succeed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from experts.python_experts import load_implementations
from swarm import logging as events
from swarm.broker import address
from swarm.broker.connection import Connection
from swarm.broker.notifications import Notifications
from swarm.client.client import Job, SwarmClient, new_job_id
from swarm.errors import BrokerError, BrokerUnavailable
from swarm.settings import Settings
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.chaos.proxy import Link, Proxy
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import SPECS, Fleet, echo, expert, publish, serving, until

BREAKS = 40
Break = Callable[[Proxy, list[Link]], None]


@pytest.fixture
async def own_redis(redis_binary: Path, tmp_path: Path) -> AsyncIterator[OwnRedis]:
    async with OwnRedis(redis_binary, tmp_path / "redis") as redis:
        yield redis


@pytest.fixture
async def proxy(own_redis: OwnRedis) -> AsyncIterator[Proxy]:
    async with Proxy(own_redis.port) as proxy:
        yield proxy


def through(url: str) -> Settings:
    return Settings(redis_url=url, prefix="t", max_age=600, retention=600)


@pytest.mark.parametrize("pieces", range(6))
async def test_a_read_is_repeated_wherever_its_connection_was_reset(proxy: Proxy, pieces: int) -> None:
    """0: before anything is said; 1: asked and not answered; 2: idle, after the first answer; and so on."""
    proxy.fuses = [pieces, pieces, pieces]
    async with Connection.open(proxy.url) as connection:
        for _ in range(8):
            assert await connection.call("GET", "nothing") is None
            await asyncio.sleep(0.01)
        assert proxy.fuses == []


async def test_what_may_not_happen_twice_is_not_repeated(proxy: Proxy, own_redis: OwnRedis) -> None:
    async with Connection.open(proxy.url) as connection, Connection.open(own_redis.url) as direct:
        proxy.fuses = [1]
        with pytest.raises(BrokerError):
            await connection.call("INCR", "count")

        assert await direct.call("GET", "count") in (None, b"1")


async def test_a_read_over_a_connection_that_nobody_knows_any_more_is_made_over_another(proxy: Proxy) -> None:
    async with Connection.open(f"{proxy.url}?socket_timeout=0.3") as connection:
        assert await connection.call("PING") == b"PONG"
        proxy.half_open(proxy.links)
        assert await connection.call("PING") == b"PONG"


async def test_a_connection_that_nobody_knows_is_given_up_when_another_is_answered(proxy: Proxy) -> None:
    """Long before its own time is over, which is longer here than a test may take."""
    async with Connection.open(f"{proxy.url}?socket_timeout=600") as connection:
        assert await connection.call("PING") == b"PONG"
        proxy.half_open(proxy.links)

        assert await connection.call("PING") == b"PONG"
        assert connection.made == 2


async def test_what_is_not_repeated_fails_soon_on_a_connection_that_nobody_knows(proxy: Proxy) -> None:
    async with Connection.open(f"{proxy.url}?socket_timeout=600") as connection:
        assert await connection.call("PING") == b"PONG"
        proxy.half_open(proxy.links)
        with pytest.raises(BrokerUnavailable):
            await connection.call("INCR", "count")

        assert await connection.call("GET", "count") is None


async def test_a_connection_is_kept_while_redis_is_slow_for_all(proxy: Proxy, own_redis: OwnRedis) -> None:
    async with Connection.open(f"{proxy.url}?socket_timeout=600") as connection:
        assert await connection.call("PING") == b"PONG"
        with own_redis.hung():
            waiting = asyncio.ensure_future(connection.call("INCR", "count"))
            await until(lambda: len(proxy.links) == 2, "somebody who asks over another connection")

        assert await waiting == 1
        assert connection.made == 1


async def test_a_connection_whose_reply_comes_after_that_of_another_is_kept(proxy: Proxy) -> None:
    async with Connection.open(f"{proxy.url}?socket_timeout=600") as connection:
        assert await connection.call("PING") == b"PONG"
        late = proxy.links
        proxy.hold(late, 0.05)
        waiting = asyncio.ensure_future(connection.call("INCR", "count"))
        while proxy.made == 1:  # until Redis is asked over another
            proxy.hold(late, 0.05)
            await asyncio.sleep(0.01)

        assert await waiting == 1
        assert connection.made == 1


async def test_ready_work_is_done_while_every_old_connection_hangs(
    proxy: Proxy, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "ANSWER_TIMEOUT", 600.0)
    settings = through(proxy.url)
    await publish(settings, expert("echo", echo))
    async with serving(settings, expert("echo", echo)), SwarmClient(own_redis.url, settings=settings) as client:
        assert (await client.ask("one", expert="echo", timeout=40)).text == "one"
        old = proxy.links
        proxy.half_open(old)

        assert (await client.ask("two", expert="echo", timeout=40)).text == "two"
        assert all(link.half_open for link in old)


async def test_a_worker_that_must_end_while_redis_is_away_says_plainly_what_it_leaves(
    proxy: Proxy, own_redis: OwnRedis
) -> None:
    begun, ready = asyncio.Event(), asyncio.Event()

    async def waits(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        begun.set()
        await ready.wait()
        return "done"

    settings = through(proxy.url)
    await publish(settings, expert("waits", waits))
    with capture_logs() as lines:
        async with (
            SwarmClient(own_redis.url, settings=settings) as client,
            serving(settings, expert("waits", waits)),
        ):
            await client.submit("one", expert="waits")
            await begun.wait()
            own_redis.kill()
            ready.set()
            await until(lambda: any(line["event"] == events.REDIS_AWAY for line in lines), "a worker without Redis")

    left = [line for line in lines if line["event"] == events.DELIVERY_LEFT]
    assert [(line["log_level"], "cannot reach Redis" in line["error"]) for line in left] == [("warning", True)]
    assert [line["outcome"] for line in lines if line.get("queue") == "run:waits@1"] == ["left"]
    assert [line for line in lines if "exc_info" in line] == []


@pytest.mark.parametrize("how", ["reset", "half_open"])
async def test_a_follower_hears_again_after_its_connection_broke(proxy: Proxy, own_redis: OwnRedis, how: str) -> None:
    follower = Notifications(proxy.url)
    async with Connection.open(own_redis.url) as direct, follower.place("news") as place:
        for number in range(3):
            getattr(proxy, how)(proxy.links)

            async def heard(said: str = f"news {number}") -> bool:
                await direct.call("PUBLISH", "news", said)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        return await place.news() == said.encode()
                return False

            await until(heard, "news over a new connection")
    await follower.aclose()


def reset(proxy: Proxy, links: list[Link]) -> None:
    proxy.reset(links)


async def broken(
    proxy: Proxy, breaks: Iterable[Break], chance: random.Random, progress: Callable[[], int] | None = None
) -> None:
    """Break some or all connections again and again, a few of them while they are being made, some while idle.

    After every five breaks `progress` must grow before the next: a busy machine needs longer to connect anew.
    """
    for number, broke in enumerate(breaks):
        await asyncio.sleep(chance.choice((0.0, 0.003, 0.02, 0.1, 0.6 if number % 10 == 0 else 0.05)))
        proxy.fuses = [chance.randrange(8) for _ in range(chance.randrange(4))]
        broke(proxy, proxy.some(chance, chance.choice((0.1, 0.5, 1.0))))
        if progress is not None and number % 5 == 4:
            before, proxy.fuses = progress(), []
            await until(lambda: progress() > before, "a job that ends between the breaks", within=100)  # noqa: B023
    proxy.fuses = []


async def lives_through(proxy: Proxy, settings: Settings, folder: Path, breaks: list[Break], seed: int) -> None:
    """A router, an expert worker and a client work on while connections break, and none is the worse for it."""
    async with Fleet(settings, folder) as fleet, SwarmClient(settings=settings) as client:
        await fleet.publish()
        workers = [fleet.launch("router", lease=1.0), fleet.launch("expert", lease=1.0)]
        for worker in workers:
            await worker.healthy()
        jobs: list[Job] = []
        ended = 0
        failed: list[BaseException] = []

        async def asking(who: int) -> None:
            nonlocal ended
            while True:
                with suppress(BrokerError):
                    jobs.append(await client.submit(f"0.0 {who}", expert="sleep", job_id=new_job_id()))
                    try:
                        await jobs[-1].receipt()
                        await client.jobs()
                        await jobs[-1].answer(200)
                        ended += 1
                    except BrokerError as error:
                        failed.append(error)
                await asyncio.sleep(0.01)

        load = [asyncio.create_task(asking(who)) for who in range(4)]
        chance = random.Random(seed)
        await broken(proxy, breaks, chance, lambda: ended)
        while len(jobs) <= 10:  # a busy machine takes longer
            await broken(proxy, breaks, chance, lambda: ended)
        for each in load:
            each.cancel()
        ends = await asyncio.gather(*load, return_exceptions=True)
        answers = await asyncio.gather(*(job.answer(40) for job in jobs))
        await broken(proxy, breaks, random.Random(seed + 1))  # nobody asks for anything now
        after = await client.ask("0.0", expert="sleep", timeout=40)
        alive = [worker.alive for worker in workers]

    assert alive == [True, True]
    assert failed == []
    assert {type(end) for end in ends} == {asyncio.CancelledError}
    assert {answer.ending for answer in answers} == {"completed"}
    assert after.ending == "completed"


@pytest.mark.parametrize("seed", [1, 2])
async def test_processes_live_through_dozens_of_resets(proxy: Proxy, tmp_path: Path, seed: int) -> None:
    await lives_through(proxy, through(proxy.url), tmp_path, [reset] * BREAKS, seed)


async def test_half_open_connections_are_left_for_new_ones(proxy: Proxy) -> None:
    settings = through(f"{proxy.url}?socket_timeout=0.5")
    async with serving(settings) as process, SwarmClient(settings=settings) as client:
        await publish(settings, *load_implementations(SPECS).values())
        await client.ask("hello", expert="echo", timeout=40)
        for _ in range(3):
            proxy.half_open(proxy.links)
            answer = await client.ask("hello", expert="echo", timeout=40)
            assert answer.text == "hello"
        assert process.worker.main_task is not None
        assert not process.worker.main_task.done()
