"""Claims that go wrong: made twice, answered to nobody, taken from under a worker, and left when Redis stays away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from swarm.broker.connection import Connection, digest
from swarm.broker.queue import Claim
from swarm.broker.served_queues import ServedQueues
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.conftest import Hands
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import Fleet, claims, echo, expert, publish, serving, until

ECHO = expert("echo", echo)
FAN = [
    {"id": "a", "expert": "echo", "instruction": "1"},
    {"id": "b", "expert": "echo", "instruction": "${a}2"},
    {"id": "c", "expert": "echo", "instruction": "${a}3"},
]


# -- twice -------------------------------------------------------------------------------------------------------


class Twice:
    """An expert whose first start goes on until it is stopped, slowly, and whose second answers after that."""

    def __init__(self) -> None:
        self.starts, self.first_ended = 0, asyncio.Event()
        self.expert = expert("twice", self.solve)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.starts += 1
        if self.starts > 1:
            await asyncio.wait_for(self.first_ended.wait(), 40)
            return "the second"
        try:
            await asyncio.sleep(3_600)
        finally:
            await asyncio.sleep(0.1)
            self.first_ended.set()
        return "the first"


async def test_a_delivery_claimed_again_by_its_own_process_stops_the_older_copy_and_counts_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = Twice()
    await publish(settings, twice.expert)
    async with SwarmClient(settings=settings) as client, serving(settings, twice.expert) as process:
        worker = process.worker
        renew = worker._heartbeat._renew

        def fails() -> list[Claim]:
            if twice.starts == 1:
                raise redis.exceptions.ConnectionError("the heartbeat does not get through")
            return renew()

        monkeypatch.setattr(worker._heartbeat, "_renew", fails)
        job = await client.submit("go", expert="twice")
        answer = await job.answer(40)
        await until(lambda: not worker.runner.tasks, "the end of every copy")
        events = await client.log.events(job.id) or []

    assert (answer.ending, answer.text) == ("completed", "the second")
    assert claims(events, "t1") == [(1, 1), (1, 2)]
    assert [event.type for event in events].count("outcome") == 1
    assert worker.runner.failed == 0
    assert [lane.busy for lane in worker.lanes] == [0] * len(worker.lanes)
    runner = worker.runner
    assert (runner._claims, runner._current, runner._stopped, runner._cancellable) == ({}, {}, set(), {})


async def test_successive_claims_of_advance_have_different_owners(hands: Hands) -> None:
    await hands.submit("j", "t1:a", "t2:b<-t1")
    owners = []
    for name in ("a", "b"):
        claim = await hands.take("advance")
        owners.append(claim.owner)
        assert await hands.advance("j", claim) == "done"
        await hands.solve(await hands.run(name))
    owners.append((await hands.take("advance")).owner)

    assert [owner.partition("~")[0] for owner in owners] == ["w1:1", "w1:2", "w1:3"]


# -- answered to nobody --------------------------------------------------------------------------------------------


async def test_what_a_claim_took_unheard_goes_back_untried_and_what_is_known_stays(hands: Hands) -> None:
    await hands.begin("j", *(f"t{i}:a" for i in range(5)))
    (known,) = await hands.claim("run:a", hands.worker("w1"))
    unheard = await hands.claim("run:a", hands.worker("w1"), free=2)
    others = [await hands.run("a", hands.worker(name)) for name in ("w10", "w")]

    assert await hands.worker("w1").disown(["run:a", "run:b"], [known]) == 2

    stands = await hands.stands("run:a")
    assert stands["ready"] == [claim.id for claim in unheard]
    assert sorted(stands["leases"]) == sorted(claim.id for claim in (known, *others))
    assert await hands.field(hands.keys.delivery(unheard[0].id), "lost") is None
    assert not await hands.fail(unheard[0]), "it is nobody's now"
    assert await hands.solve(known)
    again = await hands.run("a", hands.worker("w2"))
    assert (again.id, again.owner.partition("~")[0]) == (unheard[0].id, "w2:2")


async def test_an_older_claim_of_the_same_delivery_does_not_make_the_unheard_one_known(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    older = await hands.run("a")
    await hands.expire_lease(older)
    await hands.run("a")

    assert await hands.worker().disown(["run:a"], [older]) == 1
    assert await hands.worker().disown(["run:a"], [older]) == 0
    assert await hands.stands("run:a") == {"ready": ["j:t1:1"]}


async def test_an_advance_that_was_taken_unheard_is_taken_again(hands: Hands) -> None:
    await hands.submit("j", "t1:a")
    await hands.take("advance")

    assert await hands.worker().disown(["advance"], []) == 1

    assert await hands.advance("j") == "done"
    assert (await hands.stands("run:a"))["ready"] == ["j:t1:1"]


async def test_the_same_claim_of_a_redis_that_lost_its_last_writes_is_not_the_older_one(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    parts = [hands.keys.delivery("j:t1:1"), *(hands.keys.queue("run:a", part) for part in ("ready", "leases"))]
    before = [await hands.call("DUMP", key) for key in parts]
    older = await hands.run("a")
    for key, dump in zip(parts, before, strict=True):
        await hands.call("DEL", key)
        if dump is not None:
            await hands.call("RESTORE", key, 0 if "queue" in key else 60_000, dump)

    newer = await hands.run("a")

    assert (newer.number, newer.id) == (older.number, older.id)
    assert await hands.worker().renew([older]) == [older.id]
    assert not await hands.fail(older)
    assert await hands.worker().renew([newer]) == []


class Cutting:
    """A proxy before Redis that now and then passes a call of `claim` on and hangs up instead of answering."""

    def __init__(self, target: str, path: Path) -> None:
        self._target, self.path = target.removeprefix("unix://"), path
        self.every, self.calls, self.cuts = 0, 0, 0
        self._wires: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Cutting:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for wire in list(self._wires):
            wire.close()
        await until(lambda: not self._wires, "the end of every connection")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_unix_connection(self._target)
        wires, cut = {writer, on}, asyncio.Event()
        self._wires |= wires

        async def there() -> None:
            while data := await reader.read(1 << 20):
                if self.every and digest("claim").encode() in data:
                    self.calls += 1
                    if self.calls % self.every == 0:
                        cut.set()
                on.write(data)
            on.close()

        async def back_again() -> None:
            while data := await back.read(1 << 20):
                if cut.is_set():
                    self.cuts += 1
                    writer.transport.abort()
                    on.close()
                    return
                writer.write(data)
            writer.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(there(), back_again())
        for wire in wires:
            wire.close()
        self._wires -= wires


async def test_a_worker_whose_claims_are_answered_to_nobody_completes_every_job(
    settings: Settings, connection: Connection, tmp_path: Path
) -> None:
    """Leases are longer than the test: what is not given back would stay where it is."""
    await publish(settings, ECHO)
    async with Cutting(settings.redis_url or "", tmp_path / "proxy") as proxy, SwarmClient(settings=settings) as client:
        behind = settings.model_copy(update={"redis_url": f"unix://{proxy.path}", "lease": 60.0})
        async with serving(behind, ECHO) as process:
            proxy.every = 3
            jobs = [await client.submit("go", plan=FAN) for _ in range(8)]
            answers = await asyncio.gather(*(job.answer(40) for job in jobs))
            proxy.every = 0
            failed = process.worker.runner.failed
        logs = [await client.log.events(job.id) or [] for job in jobs]

    assert proxy.cuts > 0
    assert {answer.ending for answer in answers} == {"completed"}
    assert {tuple(segment.text for segment in answer.segments) for answer in answers} == {("12", "13")}
    assert {[event.type for event in events].count("outcome") for events in logs} == {3}
    assert failed == 0
    assert await connection.call("XLEN", connection.keys.dead) == 0


# -- emptied -------------------------------------------------------------------------------------------------------


async def test_a_redis_that_is_emptied_between_a_claim_and_the_wait_ends_no_lane(
    settings: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(settings, ECHO)
    emptied = asyncio.Event()
    async with SwarmClient(settings=settings) as client, serving(settings, ECHO) as process:
        await client.ask("before", expert="echo", timeout=40)
        claim = process.worker.queue.claim

        async def and_emptied(served: ServedQueues, *more: Any, **also: Any) -> tuple[list[Claim], float | None]:
            found = await claim(served, *more, **also)
            if served.queues == ("run:echo@1",) and not emptied.is_set():
                await connection.call("FLUSHALL")
                await process.refresh()
                emptied.set()
            return found

        monkeypatch.setattr(process.worker.queue, "claim", and_emptied)
        await asyncio.wait_for(emptied.wait(), 40)
        without = list(process.runs.queues)
        await publish(settings, ECHO)
        answer = await client.ask("after", expert="echo", timeout=40)

    assert without == []
    assert answer.text == "after"


# -- and a Redis that stays away -----------------------------------------------------------------------------------


@pytest.fixture
async def own_redis(redis_binary: Path, tmp_path: Path) -> AsyncIterator[OwnRedis]:
    async with OwnRedis(redis_binary, tmp_path / "redis") as own:
        yield own


async def test_a_worker_with_an_outcome_to_write_ends_when_told_although_redis_stays_away(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    settings = Settings(redis_url=own_redis.url, prefix="t", max_age=600, retention=600)
    async with Fleet(settings, tmp_path) as fleet:
        await fleet.publish()
        worker = await fleet.start("all", drain=0.5)
        async with SwarmClient(settings=settings) as client:
            await client.submit("0.3", expert="sleep")
            await fleet.started("t1")
        own_redis.kill()
        await asyncio.sleep(0.6)  # the outcome is there, and waits
        worker.signal(signal.SIGTERM)
        code = await worker.ended()

    assert code == 0
