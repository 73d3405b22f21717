"""What a swarm holds in Redis: counted, weighed, and looked through for what should not be so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from swarm.broker import snapshot as counting
from swarm.broker.limiters import Limiters
from swarm.broker.running_workers import WorkerInfo, unserved
from swarm.broker.snapshot_types import Memory, PersistentKey, Snapshot
from swarm.cli.base.console import Screen
from swarm.cli.commands import unserved_hint as saying
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.card import Limits
from tests.conftest import Hands, StartRedis
from tests.integration.processes import ROUTER, echo, expert, publish, serving, until
from tests.integration.test_cli_jobs import Cli, cli

__all__ = ["cli"]

ECHO, LATE = expert("echo", echo), expert("late", echo)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


async def test_jobs_queues_workers_and_what_nobody_serves(settings: Settings, client: SwarmClient) -> None:
    await publish(settings, ECHO, LATE)
    async with serving(settings, ECHO) as process:
        await client.ask("hello", expert="echo", timeout=40)
        job = await client.submit("never", expert="late")
        await until(lambda: _waits_for(client, job.id, "late"), "a subtask that nobody serves")
        snapshot = await client.snapshot()

    assert (snapshot.open, snapshot.ended, snapshot.dead, snapshot.parked) == (1, 1, 0, 0)
    assert snapshot.queues["run:late@1"].ready == 1
    assert snapshot.queues["advance"].later == 1
    assert snapshot.unserved == ("late",)
    assert "no worker serves late" in snapshot.warnings[-1]
    assert [worker.worker for worker in snapshot.workers] == [process.worker.name]
    assert snapshot.workers[0].queues == ("advance", "plan", "answer", "run:echo@1")
    assert snapshot.kinds["jobs"].count == 2
    assert snapshot.kinds["jobs"].bytes > 500
    assert "other" not in snapshot.kinds
    assert snapshot.eternal["ended"] == PersistentKey(size=1, bound=10_000)
    assert (snapshot.sampled, snapshot.leaks) == (False, ())


async def test_the_age_of_what_waits_is_its_lag(hands: Hands, client: SwarmClient) -> None:
    await hands.submit("j", "t1:a")
    delivery = hands.keys.delivery("j:advance")
    began = int(await hands.now())
    await hands.call("HSET", delivery, "at", began - 30_000)

    lag = (await client.snapshot()).queues["advance"].lag

    assert 29 <= lag <= 31 + (await hands.now() - began) / 1000


async def test_a_router_that_is_missing_is_named(settings: Settings, client: SwarmClient) -> None:
    await publish(settings, ECHO)
    job = await client.submit("hello", expert="echo")
    assert await client.unserved(job.id) == ("router",)
    async with serving(settings, ECHO, roles=ROUTER):
        await until(lambda: _waits_for(client, job.id, "echo"), "a subtask without a worker")
    assert await client.unserved("nothing") == ()


async def _waits_for(client: SwarmClient, job: str, name: str) -> bool:
    return await client.unserved(job) == (name,)


async def test_a_key_without_a_lifetime_is_a_leak(hands: Hands, client: SwarmClient) -> None:
    """What is current, and what is bounded, is none."""
    await hands.submit("j", "t1:a")
    await hands.call("SET", hands.keys.blob("0" * 64), "left behind")
    try:
        snapshot = await client.snapshot()
        assert snapshot.leaks == ("blob:" + "0" * 64,)
        assert any("keys without a lifetime: blob:000" in warning for warning in snapshot.warnings)
    finally:
        await hands.call("DEL", hands.keys.blob("0" * 64))


async def test_what_an_older_version_left_of_a_queue_is_no_leak_that_anybody_reports(
    hands: Hands, client: SwarmClient
) -> None:
    wake, turns = (hands.keys.queue("run:gone@1", part) for part in ("wake", "turns"))
    await hands.call("RPUSH", wake, "1")
    await hands.call("ZADD", turns, 5, "")
    try:
        assert (await client.snapshot()).leaks == ()
    finally:
        await hands.call("DEL", wake, turns)


async def test_of_very_many_keys_some_are_looked_at_and_the_rest_is_estimated(
    hands: Hands, client: SwarmClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST", 2_000)
    await asyncio.gather(*(hands.call("SET", f"{hands.keys.prefix}:worker:w{i}", "{}", "EX", 60) for i in range(6_000)))
    told: list[tuple[int, int]] = []

    snapshot = await client.snapshot(lambda seen, of: told.append((seen, of)))

    assert snapshot.sampled
    assert 4_500 < snapshot.kinds["workers"].count < 7_500
    assert told[-1][0] < 4_000
    assert told[-1][1] == snapshot.memory.keys > 6_000


async def test_a_redis_that_may_forget_jobs_is_warned_of(start_redis: StartRedis) -> None:
    server = await start_redis({"maxmemory-policy": "allkeys-lru"}, maxmemory="50mb", appendonly="no")
    async with SwarmClient(server.url) as client:
        snapshot = await client.snapshot()

    said = " / ".join(snapshot.warnings)
    assert "maxmemory-policy is allkeys-lru" in said
    assert "no append-only file" in said
    assert snapshot.memory.most == 50 * 2**20


def test_stats_is_printed_for_people_and_as_json(cli: Cli) -> None:
    document = cli.json("stats")
    text = cli("stats")

    assert document["memory"]["policy"] == "noeviction"
    assert document["warnings"] == ["no worker runs; start one: swarm worker, or swarm up"]
    assert text.startswith("Redis ")
    assert "Jobs 0 open, 0 ended, 0 dead letters" in text
    assert "no worker runs" in cli.err


async def test_a_limiter_says_what_holds_it_and_a_queue_where_it_waits(hands: Hands, cli: Cli) -> None:
    limiters, words = Limiters(hands.connection), "model:box/small endpoint:box"
    await limiters.set("box/small", Limits(concurrency=1, requests_per_minute=1_200, tokens_per_minute=90_000))
    await hands.begin("j", "t1:a", "t2:a")
    await hands.no_grace()
    claims, _ = await hands.worker(lease=300).claim(["run:a"], 5, {"run:a": words})
    assert len(claims) == 1
    limiter, now = hands.keys.limiter("model:box/small"), int(await hands.now())
    await hands.call("HSET", limiter, "cut", now, "cap", "2.5", "rate", "0.5", "pause", now + 29_000)

    document = await asyncio.to_thread(cli.json, "stats")
    lines = str(await asyncio.to_thread(cli, "stats")).splitlines()

    assert document["queues"]["run:a"]["limited_by"] == "model:box/small"
    told = document["limiters"]["model:box/small"]
    assert (told["running"], told["cap"], told["rate"], told["waiting"]) == (1, 2, 0.5, ["run:a"])
    (row,) = (line for line in lines if line.startswith("model:box/small"))
    assert re.split(r"  +", row.strip())[1:4] == ["1 of 1", "1,200 (50% now)", "90,000 (50% now)"]
    assert re.search(r" [12]?\d(\.\d)? s +2 +- +1$", row)
    assert any(re.match(r"run:a .* model:box/small$", line) for line in lines)


async def test_a_breaker_says_since_when_and_until_when_it_is_open(hands: Hands, cli: Cli) -> None:
    limiter, now = hands.keys.limiter("endpoint:box"), int(await hands.now())
    await hands.call("HSET", limiter, "broken", now - 9_000, "shut", now + 60_000, "span", 60_000)
    await hands.call("PEXPIRE", limiter, 60_000)

    opened = await asyncio.to_thread(cli.json, "stats")
    text = await asyncio.to_thread(cli, "stats")
    await hands.call("HSET", limiter, "shut", now - 1_000)
    half = await asyncio.to_thread(cli.json, "stats")

    assert opened["limiters"]["endpoint:box"]["breaker"] == {
        "since": now - 9_000, "until": now + 60_000, "half_open": False
    }  # fmt: skip
    assert re.search(r"endpoint:box .* open since \d\d:\d\d:\d\d until \d\d:\d\d:\d\d +0", text)
    assert half["limiters"]["endpoint:box"]["breaker"]["half_open"]
    assert any("the last calls of the endpoint box have all failed" in each for each in half["warnings"])


@pytest.mark.parametrize(
    ("queues", "missing"),
    [
        ([("run:a", "advance")], ("b", "router")),
        ([("run:a", "advance"), ("plan", "run:b@2")], ()),
        ([], ("a", "b", "router")),
        ([("run:a",), None], ()),
    ],
)
def test_what_no_worker_serves(queues: list[tuple[str, ...] | None], missing: tuple[str, ...]) -> None:
    """A worker that does not say what it serves may serve anything."""
    workers = [WorkerInfo(worker=str(number), queues=each) for number, each in enumerate(queues)]

    assert unserved(["run:a", "run:b@2", "advance", "plan"], workers) == missing


async def test_a_snapshot_does_not_need_redis_to_hold_anything(client: SwarmClient) -> None:
    snapshot = await client.snapshot()

    assert isinstance(snapshot, Snapshot)
    assert isinstance(snapshot.memory, Memory)
    assert (snapshot.kinds, snapshot.budgets, snapshot.limiters) == ({}, {}, {})


async def test_who_waits_for_a_worker_that_is_not_there_is_told(
    settings: Settings, client: SwarmClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(saying, "SILENCE", 0.2)
    hint = "no running worker serves late: start one (swarm worker --expert late --import tests:late)"
    said: list[str] = []

    def hinted() -> bool:
        said.append(capsys.readouterr().err)
        return hint in "".join(said)

    await publish(settings, ECHO, LATE)
    async with serving(settings, ECHO):
        job = await client.submit("never", expert="late")
        await until(lambda: _waits_for(client, job.id, "late"), "a subtask that nobody serves")
        async with saying.hints(client, job.id, Screen()) as heard:
            await until(hinted, "the hint")
            for _ in range(2):
                heard()
                await asyncio.sleep(0.3)  # the silence itself
        served = await client.submit("x", expert="echo")
        await served.answer(40)
        async with saying.hints(client, served.id, Screen()):
            await asyncio.sleep(0.3)

    said.append(capsys.readouterr().err)
    assert "".join(said).count(hint) == 1
