"""A Redis that takes no writes: without memory, without disk, as a replica. What runs goes on when it does again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from swarm.broker.connection import Connection
from swarm.cli.commands.serve import await_redis
from swarm.client.client import SwarmClient
from swarm.errors import BrokerDenied, BrokerError, BrokerEvicts, BrokerFull, BrokerUnavailable
from swarm.settings import Settings
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import echo, expert, publish, serving, until

ECHO = expert("echo", echo)
MEMORY = 8 * 2**20


class Gate:
    """An expert that answers when it is let."""

    def __init__(self, result: str = "done") -> None:
        self.begun, self.let = asyncio.Event(), asyncio.Event()
        self.result = result

    async def __call__(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.begun.set()
        await self.let.wait()
        return self.result


@pytest.fixture
async def own_redis(redis_binary: Path, tmp_path: Path) -> AsyncIterator[OwnRedis]:
    async with OwnRedis(redis_binary, tmp_path / "redis", appendonly="no") as redis:
        yield redis


@pytest.fixture
def settings(own_redis: OwnRedis) -> Settings:
    return Settings(redis_url=own_redis.url, prefix="t", max_age=600, retention=600)


@pytest.fixture
async def admin(own_redis: OwnRedis) -> AsyncIterator[Connection]:
    async with Connection.open(own_redis.url, "t") as connection:
        yield connection


async def test_without_memory_new_jobs_are_refused_and_old_ones_end(settings: Settings, admin: Connection) -> None:
    gate = Gate("x" * 100_000)
    waits = expert("waits", gate)
    await publish(settings, ECHO, waits)
    async with SwarmClient(settings=settings) as client, serving(settings, ECHO, waits):
        running = await client.submit("go", expert="waits")
        await asyncio.wait_for(gate.begun.wait(), 40)
        await admin.call("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(BrokerFull, match="raise maxmemory"):
            await client.submit("more", expert="echo")
        gate.let.set()
        with pytest.raises(BrokerFull):
            await client.submit("more", expert="echo")

        await admin.call("CONFIG", "SET", "maxmemory", 0)
        ended = await running.answer(40)
        after = await client.ask("hello", expert="echo", timeout=40)

    assert (ended.ending, len(ended.text)) == ("completed", 100_000)
    assert after.text == "hello"


async def test_a_memory_that_fills_up_under_load_loses_no_accepted_job(settings: Settings, admin: Connection) -> None:
    await publish(settings, ECHO)
    await admin.call("CONFIG", "SET", "maxmemory", MEMORY)
    async with SwarmClient(settings=settings) as client, serving(settings, ECHO):
        accepted, refused = [], 0
        while refused < 5:
            try:
                accepted.append(await client.submit("y" * 20_000, expert="echo"))
            except BrokerFull:
                refused += 1
        await admin.call("CONFIG", "SET", "maxmemory", 8 * MEMORY)
        answers = await asyncio.gather(*(job.answer(40) for job in accepted))

    assert len(accepted) > 20
    assert {answer.ending for answer in answers} == {"completed"}


async def test_without_disk_jobs_are_refused_and_what_runs_ends_later(
    own_redis: OwnRedis, settings: Settings, admin: Connection, tmp_path: Path
) -> None:
    """Redis stops writing when a snapshot fails; its folder being gone is as good as a full disk."""
    gate = Gate()
    waits = expert("waits", gate)
    await publish(settings, ECHO, waits)
    async with SwarmClient(settings=settings) as client, serving(settings, ECHO, waits):
        running = await client.submit("go", expert="waits")
        await asyncio.wait_for(gate.begun.wait(), 40)
        await admin.call("CONFIG", "SET", "save", "3600 1")
        folder = (await admin.call("CONFIG", "GET", "dir"))[1].decode()
        shutil.rmtree(folder)
        await admin.call("BGSAVE")
        await until(lambda: _refuses(admin), "a Redis that takes no writes")
        with pytest.raises(BrokerFull, match="MISCONF"):
            await client.submit("more", expert="echo")
        gate.let.set()

        await admin.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        ended = await running.answer(40)

    assert ended.text == "done"


async def _refuses(admin: Connection) -> bool:
    try:
        await admin.call("SET", "t:worker:none", "x", "PX", 1_000)
    except BrokerFull:
        return True
    return False


async def test_a_master_that_became_a_replica_holds_work_up_until_it_is_one_again(
    settings: Settings, admin: Connection
) -> None:
    gate = Gate()
    waits = expert("waits", gate)
    await publish(settings, waits)
    async with SwarmClient(settings=settings) as client, serving(settings, waits) as process:
        running = await client.submit("go", expert="waits")
        await asyncio.wait_for(gate.begun.wait(), 40)
        await admin.call("REPLICAOF", "127.0.0.1", "1")
        gate.let.set()
        await until(lambda: process.worker.report()["redis"] == "away", "a worker that knows")
        await admin.call("REPLICAOF", "NO", "ONE")
        ended = await running.answer(40)

    assert ended.text == "done"


@pytest.mark.parametrize(
    ("url", "kind", "remedy"),
    [
        ("redis://127.0.0.1:{port}/99", BrokerDenied, "name a database that it has"),
        ("redis://127.0.0.1:{port}/-1", BrokerDenied, "name a database that it has"),
        ("redis://nobody:wrong@127.0.0.1:{port}/0", BrokerDenied, "check user, password"),
    ],
)
async def test_what_is_wrong_with_a_url_shows_in_the_remedy(
    own_redis: OwnRedis, url: str, kind: type[BrokerError], remedy: str
) -> None:
    async with Connection.open(url.format(port=own_redis.port)) as connection:
        with pytest.raises(kind, match=remedy):
            await connection.call("PING")


async def test_a_redis_without_room_for_one_more_client_is_away(own_redis: OwnRedis, admin: Connection) -> None:
    await admin.call("CONFIG", "SET", "maxclients", 1)
    async with Connection.open(own_redis.url) as connection:
        with pytest.raises(BrokerUnavailable, match="max number of clients"):
            await connection.call("PING")


@pytest.mark.parametrize("policy", ["volatile-lru", "allkeys-lru", "volatile-ttl"])
async def test_a_redis_that_evicts_is_refused_at_submit_and_at_the_start_of_a_worker(
    settings: Settings, admin: Connection, policy: str
) -> None:
    await publish(settings, ECHO)
    await admin.call("CONFIG", "SET", "maxmemory-policy", policy)
    async with SwarmClient(settings=settings) as client:
        await client.submit("without a limit nothing is evicted", expert="echo")
    await admin.call("CONFIG", "SET", "maxmemory", 100 * 2**20)
    async with SwarmClient(settings=settings) as client:
        with pytest.raises(BrokerEvicts, match=f"maxmemory-policy {policy}"):
            await client.submit("hello", expert="echo")
        with pytest.raises(BrokerEvicts):
            await await_redis(settings.redis_url or "", settings)
        await admin.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await client.submit("hello", expert="echo")
        await await_redis(settings.redis_url or "", settings)


async def test_a_user_who_may_not_know_the_policy_is_not_refused(settings: Settings, admin: Connection) -> None:
    await publish(settings, ECHO)
    await admin.call("ACL", "SETUSER", "blind", "on", ">blind", "~*", "&*", "+@all", "-info")
    url = (settings.redis_url or "").replace("redis://", "redis://blind:blind@")
    async with SwarmClient(url, settings=settings) as client:
        await client.submit("hello", expert="echo")
