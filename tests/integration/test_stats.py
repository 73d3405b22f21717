"""Records of experts: gathered in a worker, added up in Redis, kept for a while and for so many experts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from swarm.broker import expert_stats as records
from swarm.broker.connection import Connection
from swarm.broker.expert_stats import LIFETIME, Stats
from swarm.broker.keys import Keys
from swarm.client.client import SwarmClient
from swarm.engine.estimate import ExpertStats
from swarm.errors import ModelRefused
from swarm.logging import STATS_LOST
from swarm.settings import Settings
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Solution, Usage
from tests.integration.processes import expert, publish, serving, until
from workers.stats_buffer import StatsBuffer

USED = Usage(calls=2, input_tokens=100, output_tokens=20, cost=900)


@pytest.fixture
def stats(connection: Connection) -> Stats:
    return Stats(connection)


async def test_what_many_workers_gather_adds_up(stats: Stats) -> None:
    async with StatsBuffer(stats) as one, StatsBuffer(stats) as other:
        for gathered in (one, other):
            gathered.record("triage", Solution(text="x", usage=USED), 1000)
            gathered.record("triage", Failure(reason="timeout", message="late", usage=Usage(calls=1, cost=100)), 5000)
        other.record("letter", Solution(text="x"), 3)

    assert await stats.stats(["triage", "letter", "nobody"]) == {
        "triage": ExpertStats(
            attempts=4, solved=2, calls=6, input_tokens=200, output_tokens=40, cost=2000, times={40: 2}
        ),
        "letter": ExpertStats(attempts=1, solved=1, times={7: 1}),
    }


async def test_outcomes_go_to_redis_together_after_a_while_and_again_when_more_come(stats: Stats) -> None:
    calls = 0

    class Counted(Stats):
        async def add(self, counts: Mapping[str, Mapping[str, int]]) -> None:
            nonlocal calls
            calls += bool(counts)
            await stats.add(counts)

    async def solved(count: int) -> bool:
        return (await stats.stats(["a"])).get("a", ExpertStats()).solved == count

    async with StatsBuffer(Counted(stats._connection), every=0.05) as gathered:
        for _ in range(50):
            gathered.record("a", Solution(text="x"), 1)
        await until(lambda: solved(50), "the first fifty on record")
        gathered.record("a", Solution(text="x"), 1)
        await until(lambda: solved(51), "one more on record")

    assert calls == 2


async def test_a_flush_that_fails_loses_only_what_it_held(stats: Stats) -> None:
    async with Connection.open("unix:///nowhere/redis.sock") as nowhere:
        lost = StatsBuffer(Stats(nowhere), every=0.01)
        with capture_logs() as lines:
            lost.record("a", Solution(text="x"), 1)
            await until(lambda: [line["event"] for line in lines] == [STATS_LOST], "a flush that failed")
        lost._stats = stats
        lost.record("a", Solution(text="x"), 1)
        await lost.__aexit__(None, None, None)

    assert (await stats.stats(["a"]))["a"].attempts == 1


async def test_a_record_lives_thirty_days_after_the_last_run(stats: Stats, connection: Connection, keys: Keys) -> None:
    await stats.add({"a": {"attempts": 1}})
    await connection.call("PEXPIRE", keys.stats("a"), 1000)
    await stats.add({"a": {"attempts": 1}})

    for key in (keys.stats("a"), f"{keys.prefix}:stats"):
        assert LIFETIME * 1000 - 5000 < await connection.call("PTTL", key) <= LIFETIME * 1000


async def test_only_the_experts_that_ran_last_are_kept(
    stats: Stats, connection: Connection, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "EXPERTS_KEPT", 3)
    for name in "abcde":
        await stats.add({name: {"attempts": 1}})

    assert list(await stats.stats("abcde")) == ["c", "d", "e"]
    assert await connection.call("ZCARD", f"{keys.prefix}:stats") == 3


async def test_fields_of_a_newer_process_are_passed_over(stats: Stats) -> None:
    await stats.add({"a": {"attempts": 1, "solved": 1, "t5": 1, "t999": 1, "later": 7}})

    assert await stats.stats(["a"]) == {"a": ExpertStats(attempts=1, solved=1, times={5: 1})}


async def test_a_worker_puts_its_experts_on_record(settings: Settings, stats: Stats) -> None:
    async def slow(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.sleep(0.1)
        return Solution(text="x", usage=USED)

    async def refuses(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        raise ModelRefused("no")

    experts = expert("slow", slow), expert("refuses", refuses)
    await publish(settings, *experts)
    async with SwarmClient(settings=settings) as client, serving(settings, *experts):
        began = time.monotonic()
        await asyncio.gather(*(client.ask("x", expert=name, timeout=40) for name in ("slow", "slow", "refuses")))
        whole = time.monotonic() - began
    found = await stats.stats(["slow", "refuses"])

    assert (found["slow"].solved, found["slow"].cost, found["slow"].calls) == (2, 1800, 4)
    assert 0.09 < (found["slow"].quantile(0.5) or 0) < 1.2 * whole, "buckets are a fifth wide"
    assert found["refuses"] == ExpertStats(attempts=1)
