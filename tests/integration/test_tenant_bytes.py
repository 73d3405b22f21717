"""What all jobs of one tenant may keep in Redis is bounded, counted as it comes and goes, and shown."""

from __future__ import annotations

import asyncio

import pytest

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog
from swarm.broker.snapshot import take_snapshot
from swarm.broker.snapshot_types import Held
from swarm.cli.commands.stats import size as shown
from swarm.client.client import SwarmClient
from swarm.errors import AskRefused, TenantFull
from swarm.settings import Settings
from tests.conftest import Hands, StartRedis, a_request
from tests.integration.processes import echo, expert, publish, serving
from tests.integration.test_cli_jobs import Cli, cli

__all__ = ["cli"]

MOST = 10_000
ECHO = expert("echo", echo)


def limited(hands: Hands, settings: Settings, most: int = MOST) -> JobLog:
    return JobLog(hands.connection, settings.model_copy(update={"max_results_tenant": most}))


async def held(connection: Connection, settings: Settings) -> dict[str, Held]:
    return dict((await take_snapshot(connection, settings)).held)


async def kept(hands: Hands, job: str) -> int:
    """Bytes of a job's request, results and answer."""
    request, answer = await hands.call("HMGET", hands.keys.job(job), "request", "answer")
    bodies = await hands.call("HVALS", hands.keys.bodies(job))
    return sum(map(len, [request, answer or b"", *bodies]))


async def test_a_tenant_that_keeps_as_much_as_it_may_is_refused_and_others_are_not(
    hands: Hands, settings: Settings
) -> None:
    log = limited(hands, settings)
    for number in range(3):
        await log.submit(f"a{number}", a_request(tenant="acme", text="x" * 3_000))

    with pytest.raises(TenantFull, match="SWARM_MAX_RESULTS_TENANT") as caught:
        await log.submit("a3", a_request(tenant="acme", text="x" * 3_000))

    assert (caught.value.tenant, caught.value.limit) == ("acme", MOST)
    assert 9_000 < caught.value.held < MOST
    assert await hands.call("EXISTS", hands.keys.job("a3")) == 0
    assert not await log.submit("a0", a_request(tenant="acme", text="x" * 3_000)), "it is accepted already"
    assert await log.submit("o0", a_request(tenant="other", text="x" * 3_000))


async def test_all_that_a_job_keeps_is_counted_to_the_byte_until_it_expires(hands: Hands, settings: Settings) -> None:
    for job in ("j", "k"):
        await hands.begin(job, "t1:a", "t2:b<-t1", tenant="acme")
        await hands.solve(await hands.run("a"), "x" * 1_000)
        await hands.settle(job)
        assert (await held(hands.connection, settings))["acme"].bytes == await kept(hands, "j") + (
            await kept(hands, "k") if job == "k" else 0
        )
        await hands.solve(await hands.run("b"), "y" * 2_000)
        await hands.settle(job)

    both = await kept(hands, "j") + await kept(hands, "k")
    assert (await held(hands.connection, settings))["acme"].bytes == both > 6_000
    await hands.step_clock(settings.retention + 601)
    assert (await held(hands.connection, settings))["acme"].bytes == 0


async def test_what_has_expired_makes_room(hands: Hands, settings: Settings) -> None:
    log = limited(hands, settings)
    await log.submit("j", a_request("t1:a", tenant="acme"))
    await hands.advance("j")
    await hands.solve(await hands.run("a"), "x" * MOST)
    await hands.settle("j")
    with pytest.raises(TenantFull):
        await log.submit("k", a_request("t1:a", tenant="acme"))

    await hands.step_clock(settings.retention + 601)

    assert await log.submit("k", a_request("t1:a", tenant="acme"))
    (left,) = (await held(hands.connection, settings)).values()
    assert left == Held(bytes=await kept(hands, "k"), limit=MOST)
    fields = await hands.call("HKEYS", hands.keys.held("acme"))
    assert sum(field.isdigit() for field in fields) == 1, "what is past is not kept"


async def test_an_open_job_is_counted_however_long_it_is_open(hands: Hands, settings: Settings) -> None:
    log = limited(hands, settings)
    await log.submit("j", a_request(tenant="acme", text="x" * 9_900))
    await hands.step_clock(settings.max_age + settings.retention + 601)

    with pytest.raises(TenantFull):
        await log.submit("k", a_request(tenant="acme", text="x" * 9_900))


async def test_a_job_that_an_expert_asks_for_is_refused_to_the_expert(hands: Hands, settings: Settings) -> None:
    log = limited(hands, settings)
    await log.submit("j", a_request("t1:a", tenant="acme"))

    with pytest.raises(AskRefused, match="SWARM_MAX_RESULTS_TENANT"):
        await log.submit("k", a_request(tenant="acme", text="x" * MOST), parent="j")


async def test_jobs_that_a_version_before_accepted_end_and_what_it_did_not_count_is_not_taken_away(
    hands: Hands, settings: Settings
) -> None:
    await hands.begin("j", "t1:a", tenant="acme")
    await hands.begin("k", "t1:b", tenant="acme")
    await hands.call("HDEL", hands.keys.job("j"), "held", "retention")
    await hands.call("DEL", hands.keys.held("acme"))
    for name in ("a", "b"):
        await hands.solve(await hands.run(name), "x" * 1_000)
    for _ in range(2):
        claim = await hands.take("advance")
        await hands.advance(claim.job, claim)

    assert [(await hands.history(job))[-1] for job in ("j", "k")] == ["ended completed"] * 2
    most = await kept(hands, "j") + await kept(hands, "k")
    assert 2_000 < (await held(hands.connection, settings))["acme"].bytes <= most


async def test_results_of_accepted_jobs_have_a_quarter_of_room_and_then_fail_with_the_remedy(
    settings: Settings, connection: Connection
) -> None:
    bounded = settings.model_copy(update={"max_results_tenant": MOST})
    await publish(settings, ECHO)
    plan = [{"id": f"t{n}", "expert": "echo", "instruction": "z" * 1_500} for n in range(6)]
    async with SwarmClient(settings=bounded) as client:
        jobs = [
            await client.submit("go", plan={"subtasks": plan[:n], "aggregate": "join"}, tenant="acme") for n in (5, 1)
        ]
        async with serving(bounded, ECHO):
            mine = [await job.answer(40) for job in jobs]
            other = await client.ask("go", plan=plan[:3], tenant="other", timeout=40)

    missing = [part for answer in mine for part in answer.missing]
    assert {part.reason for part in missing} == {"too_large"}
    assert "SWARM_MAX_RESULTS_TENANT" in missing[0].message
    assert other.ending == "completed"
    results = [b for job in jobs for b in await connection.call("HVALS", connection.keys.bodies(job.id))]
    assert 1 <= len(results) < 6


async def test_by_default_one_tenant_has_half_of_the_memory_that_redis_may_use(start_redis: StartRedis) -> None:
    server = await start_redis(maxmemory="16mb")
    settings = Settings(max_age=600, retention=600)
    async with Connection.open(server.url, "t") as connection:
        hands = Hands(connection, JobLog(connection, settings), CatalogStore(connection, 600))
        await hands.publish("a")

        async def fill(tenant: str) -> None:
            for number in range(40):
                await hands.log.submit(f"{tenant}{number}", a_request(tenant=tenant, text="x" * 900_000))

        with pytest.raises(TenantFull) as caught:
            await fill("acme")

        assert caught.value.limit == 8 * 2**20
        assert await hands.log.submit("o", a_request(tenant="other", text="x" * 900_000))
        await connection.call("FLUSHALL")


async def test_where_redis_has_no_limit_a_tenant_has_none(start_redis: StartRedis) -> None:
    server = await start_redis(maxmemory="0")
    settings = Settings(max_age=600, retention=600, prefix="t")
    async with Connection.open(server.url, "t") as connection:
        hands = Hands(connection, JobLog(connection, settings), CatalogStore(connection, 600))
        await hands.publish("a")
        await hands.log.submit("j", a_request(tenant="acme", text="x" * 900_000))

        assert (await held(connection, settings))["acme"].limit is None


async def test_stats_shows_what_each_tenant_keeps_and_may_keep(hands: Hands, settings: Settings, cli: Cli) -> None:
    await limited(hands, settings, 2_048_000).submit("j", a_request(tenant="acme", text="x" * 20_480))

    document = await asyncio.to_thread(cli.json, "stats")
    lines = str(await asyncio.to_thread(cli, "stats")).splitlines()

    size = await kept(hands, "j")
    assert document["held"] == {"acme": {"bytes": size, "limit": 2_048_000}}
    row = next(line for line in lines if line.startswith("acme"))
    assert row.split() == ["acme", *shown(size).split(), "1.95", "MB"]
