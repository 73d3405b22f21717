"""Redis goes away: killed, restarted, not yet there. No process dies, no job is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from swarm.client.client import Job, SwarmClient, new_job_id
from swarm.errors import BrokerError, BrokerUnavailable
from swarm.settings import Settings
from swarm.types.events import Ended
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import EXPERTS, ROUTER, Fleet, claims, serving, until

ROUNDS = int(os.environ.get("SWARM_TEST_RESTARTS", "1"))
"""How often each kind of restart is tried; the project's claim rests on six."""


@pytest.fixture
def own_redis(redis_binary: Path, tmp_path: Path) -> OwnRedis:
    return OwnRedis(redis_binary, tmp_path / "redis", appendfsync="always")


@pytest.fixture
def own_settings(own_redis: OwnRedis) -> Settings:
    return Settings(redis_url=own_redis.url, prefix="t", max_age=600, retention=600)


@pytest.fixture
async def fleet(own_redis: OwnRedis, own_settings: Settings, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with own_redis, Fleet(own_settings, tmp_path) as fleet:
        await fleet.publish()
        yield fleet


async def down(redis: OwnRedis, how: str, seconds: float) -> None:
    redis.kill() if how == "killed" else redis.stop()
    await asyncio.sleep(seconds)  # the outage itself
    await redis.start()


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("outage", [0.0, 2.2], ids=["short", "longer than a lease"])
@pytest.mark.parametrize("attempt", range(ROUNDS))
async def test_twenty_running_subtasks_survive_a_restart(
    own_redis: OwnRedis, fleet: Fleet, how: str, outage: float, attempt: int
) -> None:
    """Ten of them end while Redis is away, ten go on until after it is back; another worker is eager to take them."""
    plan = [{"id": f"t{i}", "expert": "sleep", "instruction": str(0.7 if i % 2 else outage + 2.0)} for i in range(20)]
    names = [subtask["id"] for subtask in plan]
    worker = await fleet.start("expert")
    async with SwarmClient(settings=fleet.settings) as client, serving(fleet.settings, roles=ROUTER) as router:
        job = await client.submit("go", plan=plan)
        await fleet.started(*names)
        async with serving(fleet.settings, roles=EXPERTS) as eager:
            await down(own_redis, how, outage)
            answer = await job.answer(40)
            events = await client.log.events(job.id) or []
            here = [each.worker.main_task for each in (router, eager)]

    assert answer.ending == "completed"
    assert worker.alive
    assert all(task is not None and task.exception() is None for task in here)
    assert fleet.starts() == dict.fromkeys(names, 1)
    assert [claims(events, name) for name in names] == [[(1, 1)]] * 20
    assert sum(isinstance(event, Ended) for event in events) == 1


async def test_work_goes_on_soon_after_a_restart(own_redis: OwnRedis, fleet: Fleet) -> None:
    """A job that was accepted before is decided and run; new ones are accepted on the same client."""
    async with SwarmClient(settings=fleet.settings) as client:
        waiting = await client.submit("before", expert="echo")
        async with serving(fleet.settings):
            await client.ask("meanwhile", expert="echo", timeout=40)
            own_redis.stop()
            accepted = asyncio.create_task(client.ask("none", expert="echo"))
            with pytest.raises(BrokerUnavailable):
                await accepted
            await own_redis.start()
            answers = [await waiting.answer(40), await client.ask("after", expert="echo", timeout=40)]

    assert [answer.text for answer in answers] == ["before", "after"]


async def test_the_grace_after_an_outage_hides_no_dead_worker(own_redis: OwnRedis, fleet: Fleet) -> None:
    """A worker killed while Redis was away: its work runs again, one lease after Redis is back."""
    victim = await fleet.start("expert")
    async with SwarmClient(settings=fleet.settings) as client, serving(fleet.settings, roles=ROUTER):
        job = await client.submit("60", expert="sleep")
        await fleet.started("t1")
        async with serving(fleet.settings, roles=EXPERTS):
            own_redis.stop()
            victim.kill()
            await own_redis.start()
            await fleet.started("t1", times=2)
            receipt = await job.cancel(timeout=40)

    assert receipt.stopped == ("t1:1",)


async def test_a_worker_waits_for_a_redis_that_is_not_there_yet(
    own_redis: OwnRedis, own_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "redis").mkdir()
    async with Fleet(own_settings, tmp_path) as fleet:
        worker = fleet.launch("all")
        await until(lambda: worker.report().get("redis") == "away", "a worker that knows Redis is away")
        async with own_redis:
            await fleet.publish()
            await worker.healthy()
            async with SwarmClient(settings=own_settings) as client:
                answer = await client.ask("hello", expert="echo", timeout=40)

    assert answer.text == "hello"


async def test_a_worker_can_be_stopped_while_redis_is_away(own_redis: OwnRedis, fleet: Fleet) -> None:
    worker = await fleet.start("all", drain=0.5)
    async with SwarmClient(settings=fleet.settings) as client:
        await client.submit("60", expert="careful")
        await fleet.started("t1")
    own_redis.kill()
    worker.signal(signal.SIGTERM)

    assert await worker.ended() == 0
    assert fleet.noted("cancelled") == ["t1"]


async def test_a_restart_that_forgot_everything_kills_no_worker(
    own_redis: OwnRedis, fleet: Fleet, tmp_path: Path
) -> None:
    """A Redis without its data, such as a wrong volume: running work is dropped, and new jobs are served."""
    worker = await fleet.start("all")
    async with SwarmClient(settings=fleet.settings) as client:
        await client.submit("60", expert="careful")
        await fleet.started("t1")
        own_redis.kill()
        for path in (tmp_path / "redis").rglob("*"):
            if path.is_file():
                path.unlink()
        await own_redis.start()
        await until(lambda: fleet.noted("cancelled") == ["t1"], "the stop of what nobody knows any more")
        await fleet.publish()
        answer = await client.ask("hello", expert="echo", timeout=40)

    assert worker.alive
    assert answer.text == "hello"


KILLS = 6


async def test_under_load_six_kills_of_redis_lose_nothing_and_start_nothing_again(
    redis_binary: Path, tmp_path: Path
) -> None:
    """With everysec: what a killed Redis has answered it has written, if not yet brought to the disk."""
    redis = OwnRedis(redis_binary, tmp_path / "redis", appendfsync="everysec")
    settings = Settings(redis_url=redis.url, prefix="t", max_age=600, retention=600)
    async with redis, Fleet(settings, tmp_path) as fleet, SwarmClient(settings=settings) as client:
        await fleet.publish()
        workers = [fleet.launch("router"), fleet.launch("expert")]
        for worker in workers:
            await worker.healthy()
        jobs: list[Job] = []
        answered: list[Job] = []

        async def asking() -> None:
            while True:
                number = f"0.1 {len(answered)}.{new_job_id()}"
                with suppress(BrokerError):
                    job = await client.submit(number, expert="sleep")
                    jobs.append(job)
                    await job.answer(40)
                    answered.append(job)
                await asyncio.sleep(0.01)

        load = [asyncio.create_task(asking()) for _ in range(8)]
        for _ in range(KILLS):
            before = len(answered)
            await until(partial(_more, answered, before + 10), "work between two kills")
            redis.kill()
            await redis.start()
            before = len(answered)
            await until(partial(_more, answered, before + 1), "an answer after a kill")
        for each in load:
            each.cancel()
        await asyncio.gather(*load, return_exceptions=True)
        answers = await asyncio.gather(*(job.answer(40) for job in jobs))
        logs = [await client.log.events(job.id) or [] for job in jobs]
        assert [worker.alive for worker in workers] == [True, True]

    began = Counter(line.split()[2] for line in fleet.record.read_text().splitlines())
    assert {answer.ending for answer in answers} == {"completed"}
    assert [sum(isinstance(event, Ended) for event in log) for log in logs] == [1] * len(jobs)
    assert set(began.values()) == {1}


def _more(found: list[Job], count: int) -> bool:
    return len(found) >= count
