"""`SWARM_DURABLE=disk`: a job is accepted once the disk of Redis has it, or refused with the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarm.broker.connection import Connection
from swarm.cli.commands.serve import await_redis
from swarm.client.client import SwarmClient
from swarm.errors import BrokerUndurable
from swarm.settings import Settings
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import echo, expert, publish, serving
from workers.local_redis.server import private

ECHO = expert("echo", echo)


@pytest.fixture
async def own_redis(redis_binary: Path, tmp_path: Path) -> AsyncIterator[OwnRedis]:
    async with OwnRedis(redis_binary, tmp_path / "redis", appendfsync="everysec") as redis:
        yield redis


def on_disk(url: str) -> Settings:
    return Settings(redis_url=url, prefix="t", max_age=600, retention=600, durable="disk")


async def test_accepted_jobs_are_there_after_a_kill_and_end(own_redis: OwnRedis) -> None:
    settings = on_disk(own_redis.url)
    await publish(settings, ECHO)
    async with SwarmClient(settings=settings) as client:
        jobs = [await client.submit(f"{n}", expert="echo") for n in range(5)]
    own_redis.kill()
    await own_redis.start()
    async with SwarmClient(settings=settings) as client, serving(settings, ECHO):
        assert [(await client.job(job.id).answer(40)).text for job in jobs] == list("01234")


async def test_the_disk_is_seen_to_anew_after_a_restart(own_redis: OwnRedis) -> None:
    """A server without WAITAOF is set to `always`, which it forgets at its restart."""
    settings = on_disk(own_redis.url)
    await publish(settings, ECHO)
    async with SwarmClient(settings=settings) as client, Connection.open(own_redis.url) as admin:
        for _ in range(2):
            await client.submit("hello", expert="echo")
            commands = await admin.call("COMMAND", "INFO", "WAITAOF")
            if not commands[0]:
                assert (await admin.call("CONFIG", "GET", "appendfsync"))[1] == b"always"
            own_redis.stop()
            await own_redis.start()


async def test_a_redis_without_an_append_only_file_is_refused(redis_binary: Path, tmp_path: Path) -> None:
    async with OwnRedis(redis_binary, tmp_path / "redis", appendonly="no") as redis:
        settings = on_disk(redis.url)
        await publish(settings, ECHO)
        async with SwarmClient(settings=settings) as client:
            with pytest.raises(BrokerUndurable, match="no append-only file"):
                await client.submit("hello", expert="echo")
        with pytest.raises(BrokerUndurable):
            await await_redis(redis.url, settings)


async def test_a_user_who_may_not_see_to_it_is_told(own_redis: OwnRedis) -> None:
    settings = on_disk(own_redis.url)
    await publish(settings, ECHO)
    async with Connection.open(own_redis.url) as admin:
        await admin.call("ACL", "SETUSER", "small", "on", ">small", "~*", "&*", "+@all", "-config")
        without = not (await admin.call("COMMAND", "INFO", "WAITAOF"))[0]
    async with SwarmClient(own_redis.url.replace("redis://", "redis://small:small@"), settings=settings) as client:
        if without:
            with pytest.raises(BrokerUndurable, match="this user may not set appendfsync"):
                await client.submit("hello", expert="echo")


async def test_a_private_redis_syncs_each_write_where_that_is_asked_for(tmp_path: Path) -> None:
    async with private(tmp_path / "data", always=True) as url, Connection.open(url) as connection:
        assert (await connection.call("CONFIG", "GET", "appendfsync"))[1] == b"always"
        await connection.reach_disk()
