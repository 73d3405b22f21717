"""Accepting a job: all of it or nothing, and once."""

from __future__ import annotations

import asyncio

import pytest

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog
from swarm.errors import BrokerFull, Busy, EmptyCatalog, JobConflict, UnknownExpert
from swarm.settings import Settings
from swarm.types.card import Card
from tests.conftest import Hands, StartRedis, a_request


async def names(connection: Connection) -> set[str]:
    found = await connection.call("KEYS", f"{connection.keys.prefix}:*")
    return {name.decode().partition(":")[2] for name in found}


async def test_a_submitted_job_has_its_first_delivery_and_its_timer(hands: Hands) -> None:
    assert await hands.submit("j", "t1:a")

    assert await hands.stands("advance") == {"ready": ["j:advance"], "later": ["j:@timer:1"]}
    assert await hands.history("j") == ["accepted"]
    assert [job.state for job in await hands.log.jobs()] == ["queued"]


async def test_a_request_without_a_plan_goes_to_a_planner_first(hands: Hands) -> None:
    await hands.submit("j")

    assert await hands.stands("plan") == {"ready": ["j:plan"]}
    assert await hands.stands("advance") == {"later": ["j:@timer:1"]}


async def test_submitting_again_changes_nothing(hands: Hands, connection: Connection) -> None:
    assert await hands.submit("j", "t1:a")
    before = await names(connection)

    assert not await hands.submit("j", "t1:a")

    assert await names(connection) == before
    assert await hands.history("j") == ["accepted"]
    assert await hands.stands("advance") == {"ready": ["j:advance"], "later": ["j:@timer:1"]}


async def test_submitting_again_after_the_ending_starts_nothing(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.solve(await hands.run("a"))
    await hands.settle("j")

    assert not await hands.submit("j", "t1:a")

    assert (await hands.history("j"))[-1] == "ended completed"
    assert await hands.stands("advance") == {}


async def test_ten_submits_of_one_job_at_once_accept_it_once(hands: Hands, redis_url: str) -> None:
    async with Connection.open(redis_url, hands.keys.prefix) as other:
        logs = [hands.log, JobLog(other, Settings())]
        accepted = await asyncio.gather(*(logs[i % 2].submit("j", a_request("t1:a")) for i in range(10)))

    assert sorted(accepted) == [False] * 9 + [True]
    assert await hands.history("j") == ["accepted"]


async def test_a_taken_id_is_a_conflict_and_spares_the_first_job(hands: Hands) -> None:
    await hands.submit("j", "t1:a")

    with pytest.raises(JobConflict) as caught:
        await hands.submit("j", "t1:b")

    assert caught.value.job_id == "j"
    assert await hands.history("j") == ["accepted"]
    assert (await hands.log.jobs())[0].id == "j"


async def test_busy_in_all_leaves_nothing_behind(hands: Hands, connection: Connection, settings: Settings) -> None:
    log = JobLog(connection, settings.model_copy(update={"max_open": 1}))
    await log.submit("j1", a_request("t1:a"))
    before = await names(connection)

    with pytest.raises(Busy) as caught:
        await log.submit("j2", a_request("t1:a"))

    assert (caught.value.open_jobs, caught.value.limit, caught.value.retry_after) == (1, 1, settings.retry_after)
    assert await names(connection) == before
    assert not await log.submit("j1", a_request("t1:a")), "a job that is accepted is told so, however full it is"


async def test_a_busy_tenant_does_not_block_another(hands: Hands, connection: Connection, settings: Settings) -> None:
    log = JobLog(connection, settings.model_copy(update={"max_open_tenant": 1}))
    await log.submit("j1", a_request("t1:a", tenant="acme"))

    with pytest.raises(Busy, match="for tenant acme"):
        await log.submit("j2", a_request("t1:a", tenant="acme"))

    assert await log.submit("j3", a_request("t1:a", tenant="other"))


async def test_an_ended_job_gives_its_place_back(hands: Hands, connection: Connection, settings: Settings) -> None:
    log = JobLog(connection, settings.model_copy(update={"max_open": 1}))
    await hands.begin("j1", "t1:a")
    await hands.solve(await hands.run("a"))
    await hands.settle("j1")

    assert await log.submit("j2", a_request("t1:a"))


async def test_an_unknown_expert_leaves_nothing_behind(hands: Hands, connection: Connection) -> None:
    before = await names(connection)

    with pytest.raises(UnknownExpert) as caught:
        await hands.submit("j", "t1:a", "t2:nobody")
    with pytest.raises(UnknownExpert):
        await hands.log.submit("k", a_request(expert="nobody"))

    assert (caught.value.name, caught.value.known) == ("nobody", ("a", "b", "c"))
    assert await names(connection) == before


async def test_an_empty_catalog_leaves_nothing_behind(log: JobLog, connection: Connection) -> None:
    with pytest.raises(EmptyCatalog):
        await log.submit("j", a_request("t1:a"))

    assert await names(connection) == set()


async def test_a_full_redis_refuses_new_jobs_whole_and_finishes_old_ones(start_redis: StartRedis) -> None:
    server = await start_redis()
    async with Connection.open(server.url, "full") as connection:
        hands = Hands(
            connection, JobLog(connection, Settings(max_age=600, retention=600)), CatalogStore(connection, 600)
        )
        await hands.publish("a", "b")
        await hands.begin("j", "t1:a", "t2:b<-t1")
        running = await hands.run("a")
        before = await names(connection)
        await hands.call("CONFIG", "SET", "maxmemory", 1)

        with pytest.raises(BrokerFull):
            await hands.submit("k", "t1:a")

        assert await names(connection) == before
        assert await hands.worker().renew([running], about="busy") == []
        assert await hands.solve(running)
        await hands.settle("j")
        await hands.solve(await hands.run("b"))
        await hands.settle("j")
        assert (await hands.history("j"))[-1] == "ended completed"


async def test_a_full_redis_still_cancels(start_redis: StartRedis) -> None:
    server = await start_redis()
    async with Connection.open(server.url, "full") as connection:
        hands = Hands(
            connection, JobLog(connection, Settings(max_age=600, retention=600)), CatalogStore(connection, 600)
        )
        await hands.publish("a")
        await hands.begin("j", "t1:a")
        await hands.call("CONFIG", "SET", "maxmemory", 1)

        assert await hands.log.cancel("j")
        await hands.settle("j")

        assert (await hands.history("j"))[-1] == "ended cancelled"


async def test_every_expert_of_a_large_catalog_is_known(hands: Hands, catalog_store: CatalogStore) -> None:
    experts = [f"e{i}" for i in range(300)]
    await hands.publish(*experts, version="large")

    assert await hands.submit("j", *(f"t{i}:{name}" for i, name in enumerate(experts)))
    assert isinstance((await catalog_store.catalog("large")).cards["e299"], Card)
