"""A master that fails: sentinels choose another, every process finds it, and no accepted job is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarm.broker.connection import Connection
from swarm.client.client import Job, SwarmClient, new_job_id
from swarm.errors import BrokerDenied, BrokerError, BrokerUnavailable, BrokerUnconfirmed
from swarm.settings import Settings
from swarm.types.events import Ended
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import Fleet, echo, expert, publish, serving, until
from tests.integration.watched import Watched, answered, free_port, sentinel


@pytest.fixture
async def watched(redis_binary: Path, tmp_path: Path) -> AsyncIterator[Watched]:
    async with Watched(redis_binary, tmp_path) as watched:
        yield watched


@pytest.fixture
def durable(watched: Watched) -> Settings:
    return Settings(redis_url=watched.url, prefix="t", max_age=600, retention=600, durable=True)


async def accepted(client: SwarmClient, expert: str = "echo", text: str = "hello") -> Job:
    """A job, submitted again under its id until the answer is that it is accepted."""
    name = new_job_id()
    while True:
        try:
            return await client.submit(text, expert=expert, job_id=name)
        except BrokerError:
            await asyncio.sleep(0.05)


async def test_a_client_finds_the_master_and_its_database(watched: Watched) -> None:
    async with Connection.open(watched.url + "/3") as connection:
        await connection.call("SET", "k", "v", "PX", 60_000)
    async with Connection.open(f"redis://127.0.0.1:{watched.servers[0].port}/3") as master:
        assert await master.call("GET", "k") == b"v"


async def test_a_service_that_the_sentinels_do_not_know_is_named(watched: Watched) -> None:
    async with Connection.open(watched.url.replace("/swarm", "/other")) as connection:
        with pytest.raises(BrokerUnavailable, match="no master of 'other'"):
            await connection.call("PING")


async def test_sentinels_that_are_not_there_are_unavailable() -> None:
    async with Connection.open(f"redis+sentinel://127.0.0.1:{free_port()}/swarm") as connection:
        with pytest.raises(BrokerUnavailable, match="none could be reached"):
            await connection.call("PING")


async def test_every_accepted_job_ends_once_over_a_failover(
    watched: Watched, durable: Settings, tmp_path: Path
) -> None:
    """The master is killed while jobs are submitted and run; nobody is told where the next one is."""
    async with Fleet(durable, tmp_path) as fleet, SwarmClient(settings=durable) as client:
        await fleet.publish()
        workers = [fleet.launch("router"), fleet.launch("expert")]
        for worker in workers:
            await worker.healthy()
        jobs: list[Job] = []

        async def submitting() -> None:
            while True:
                jobs.append(await accepted(client, "sleep", "0.1"))
                await asyncio.sleep(0.02)

        load = [asyncio.create_task(submitting()) for _ in range(4)]
        await until(lambda: len(jobs) > 40, "a load of jobs")
        master = watched.master()
        master.kill()
        await watched.moved(master)
        before = len(jobs)
        await until(lambda: len(jobs) > before + 40, "jobs after the failover")
        for each in load:
            each.cancel()
        await asyncio.gather(*load, return_exceptions=True)
        answers = await asyncio.gather(*(job.answer(40) for job in jobs))
        logs = [await client.log.events(job.id) or [] for job in jobs]
        assert [worker.alive for worker in workers] == [True, True]

    assert {answer.ending for answer in answers} == {"completed"}
    assert [sum(isinstance(event, Ended) for event in log) for log in logs] == [1] * len(jobs)


async def test_a_master_that_hangs_is_left_too(watched: Watched, durable: Settings) -> None:
    """Nothing is closed and nothing refused: only the silence tells. Calls, subscriptions and leases all move."""
    implementation = expert("echo", echo)
    await publish(durable, implementation)
    master = watched.master()
    async with SwarmClient(settings=durable) as client, serving(durable, implementation):
        await client.ask("before", expert="echo", timeout=40)
        with master.hung():
            job = await accepted(client)
            while True:
                with contextlib.suppress(BrokerUnavailable):
                    answer = await job.answer(40)
                    break
            assert watched.master() is not master

    assert answer.text == "hello"


async def test_a_master_that_was_demoted_is_left(watched: Watched, durable: Settings) -> None:
    """A planned failover: the old master lives on as a replica, and answers READONLY."""
    former = watched.master()
    async with Connection.open(watched.url, "t") as connection:
        await connection.call("SET", "k", "1", "PX", 60_000)
        async with Connection.open(f"redis://127.0.0.1:{watched.ports[0]}") as asked:
            await asked.call("SENTINEL", "FAILOVER", "swarm")
        await watched.moved(former)

        async def written() -> bool:
            with contextlib.suppress(BrokerUnavailable):
                return bool(await connection.call("SET", "k", "2", "PX", 60_000) == b"OK")
            return False

        await until(written, "a write to the new master")
        assert await connection.call("GET", "k") == b"2"
    assert watched.master() != former


async def test_a_durable_job_without_a_replica_is_refused_and_may_be_repeated(
    redis_binary: Path, tmp_path: Path
) -> None:
    """It is written all the same: once a replica is there, the same call finds it."""
    master = OwnRedis(redis_binary, tmp_path / "master", **{"repl-diskless-sync-delay": "0"})
    replica = OwnRedis(redis_binary, tmp_path / "replica", replicaof=f"127.0.0.1 {master.port}")
    settings = Settings(redis_url=master.url, prefix="t", max_age=600, retention=600, durable=True)
    async with master, Fleet(settings, tmp_path) as fleet, SwarmClient(settings=settings) as client:
        await fleet.publish()
        with pytest.raises(BrokerUnconfirmed, match="repeat it with the job id j,"):
            await client.submit("hello", expert="echo", job_id="j")
        assert [job.id for job in await client.jobs()] == ["j"]

        async with replica:
            await follows(master)
            job = await client.submit("hello", expert="echo", job_id="j")
            async with Connection.open(replica.url, "t") as copy:
                assert await copy.call("EXISTS", copy.keys.job(job.id)) == 1


async def follows(master: OwnRedis) -> None:
    """Wait for a replica."""
    async with Connection.open(master.url) as connection:

        async def online() -> bool:
            return b"state=online" in await connection.call("INFO", "replication")

        await until(online, "a replica")


async def test_a_replica_that_hangs_confirms_nothing_that_it_has_not(redis_binary: Path, tmp_path: Path) -> None:
    """Repeating what is written already must not take an old word of the replica for a new one."""
    master = OwnRedis(redis_binary, tmp_path / "master", **{"repl-diskless-sync-delay": "0"})
    replica = OwnRedis(redis_binary, tmp_path / "replica", replicaof=f"127.0.0.1 {master.port}")
    settings = Settings(redis_url=master.url, prefix="t", max_age=600, retention=600, durable=True)
    async with master, replica, Fleet(settings, tmp_path) as fleet, SwarmClient(settings=settings) as client:
        await fleet.publish()
        await follows(master)
        await client.submit("before", expert="echo")
        with replica.hung():
            for _ in range(2):
                async with SwarmClient(settings=settings) as another:
                    with pytest.raises(BrokerUnconfirmed):
                        await another.submit("hello", expert="echo", job_id="j")
        await client.submit("after", expert="echo")


async def test_the_sentinels_may_have_a_password_of_their_own(redis_binary: Path, tmp_path: Path) -> None:
    async with OwnRedis(redis_binary, tmp_path / "master") as master:
        port = free_port()
        process = sentinel(redis_binary, tmp_path, port, master.port, "requirepass sesame")
        url = f"redis+sentinel://127.0.0.1:{port}/swarm"
        try:
            async with Connection.open(url + "?sentinel_password=sesame") as connection:
                await until(lambda: answered(connection), "an answer of the master")
            async with Connection.open(url) as connection:
                with pytest.raises(BrokerDenied, match="sentinel_password"):
                    await connection.call("PING")
        finally:
            process.kill()
            process.wait()


async def test_a_redis_in_place_of_a_sentinel_is_named(redis_binary: Path, tmp_path: Path) -> None:
    plain = OwnRedis(redis_binary, tmp_path / "plain")
    async with plain, Connection.open(f"redis+sentinel://127.0.0.1:{plain.port}/swarm") as connection:
        with pytest.raises(BrokerError, match="no sentinel; give the sentinels' port"):
            await connection.call("PING")
