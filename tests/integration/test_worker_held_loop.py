"""Experts that hold their worker's event loop: within its time a subtask keeps its lease, and nothing else waits."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from swarm.broker.queue import Claim, Queue
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.events import Started
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.conftest import Hands
from tests.integration.processes import (
    BEAT,
    EXPERTS,
    ROUTER,
    STARTS,
    Fleet,
    WorkerProcess,
    _card,
    _started,
    expert,
    publish,
    serving,
    starts,
    until,
)
from workers import heartbeat
from workers.heartbeat import Heartbeat

LEASE = 0.5
STUCK = {"HELD": 0.2, "STUCK": 0.5, "GRACE": 0.2}
"""Constants of the heartbeat."""


def _hold(subtask: str = "") -> None:
    """Hold the event loop until the test lets go."""
    while not Path(os.environ[STARTS] + ".go" + subtask).exists():
        time.sleep(0.01)


class Holds:
    """Holds the event loop, for less than its time."""

    card = _card("holds", timeout=60)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        _hold()
        return Solution(text="inferred")


class Stepwise:
    """Holds the event loop until the test lets go of this very subtask."""

    card = _card("stepwise", timeout=60)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        _hold(subtask.id)
        return Solution(text="inferred")


class Overtime:
    """Holds the event loop for longer than its time; who is asked second does not."""

    card = _card("overtime", timeout=0.3)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        if starts(Path(os.environ[STARTS]))[subtask.id] > 1:
            return Solution(text="the second")
        _hold()
        return Solution(text="the first")


@pytest.fixture
async def fleet(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    monkeypatch.setenv(BEAT, json.dumps(STUCK))
    async with Fleet(settings.model_copy(update={"lease": LEASE}), tmp_path) as fleet:
        await fleet.publish(*(f"{__name__}:{kind.__name__}" for kind in (Holds, Stepwise, Overtime)))
        yield fleet


@pytest.fixture
async def client(fleet: Fleet) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=fleet.settings) as client:
        yield client


def let_go(fleet: Fleet, subtask: str = "") -> None:
    Path(f"{fleet.record}.go{subtask}").touch()


async def serve(fleet: Fleet, kind: type) -> WorkerProcess:
    return await fleet.start("expert", f"{__name__}:{kind.__name__}")


def told(worker: WorkerProcess) -> list[dict[str, Any]]:
    """What a process says of experts that hold its event loop."""
    lines = [json.loads(line) for line in worker.words().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "event_loop_held" and line["holder"].startswith("expert ")]


def _is_stuck_over(fleet: Fleet, worker: WorkerProcess, number: int) -> bool:
    """Whether an expert holds the loop, as the only one, for the `number`th time."""
    stuck = [line for line in told(worker) if "reported" not in line]
    return len(fleet.starts()) == len(stuck) == number


async def claims_of(client: SwarmClient, job: str) -> list[int]:
    events = await client.log.events(job) or []
    return [event.claim for event in events if isinstance(event, Started)]


async def lease_of(client: SwarmClient, queue: str, delivery: str) -> float:
    connection = client.log._connection
    return float(await connection.call("ZSCORE", connection.keys.queue(queue, "leases"), delivery) or 0)


# -- within its time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["solve", "task"])
async def test_a_good_answer_counts_though_its_expert_held_the_loop_for_longer_than_the_lease(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The one worker's loop is stuck, and the lease is kept: the expert may be busy for a minute. It is named."""
    for name, value in STUCK.items():
        monkeypatch.setattr(heartbeat, name, value)

    async def infers() -> str:
        time.sleep(2.5)
        return "inferred"

    async def blocks(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        return await (asyncio.create_task(infers()) if where == "task" else infers())

    heavy = expert("heavy", blocks)
    await publish(settings, heavy)
    async with SwarmClient(settings=settings) as client:
        with capture_logs() as logs:
            async with serving(settings.model_copy(update={"lease": LEASE}), heavy):
                answer = await client.ask("go", expert="heavy", timeout=40)

    told = [line for line in logs if line["event"] == "event_loop_held" and line["holder"] == "expert heavy"]
    assert answer.text == "inferred"
    assert [line["log_level"] for line in told] == ["error", "warning"]
    assert not any(line["leases_lost"] for line in told)
    assert all(line["place"].startswith("test_worker_held_loop.py:") for line in told)


async def test_nobody_else_begins_what_an_expert_is_busy_with_while_it_holds_its_loop_within_its_time(
    fleet: Fleet, client: SwarmClient
) -> None:
    async with serving(fleet.settings, roles=ROUTER):
        first = await serve(fleet, Holds)
        job = await client.submit("go", expert="holds")
        await fleet.started("t1")
        for _ in range(2):
            await serve(fleet, Holds)
        await until(lambda: told(first), "a loop that counts as stuck")
        lease = await lease_of(client, "run:holds@1", f"{job.id}:t1:1")

        async def renewed() -> bool:
            return await lease_of(client, "run:holds@1", f"{job.id}:t1:1") > lease + 4_000 * LEASE

        await until(renewed, "a lease that was renewed for longer than it lasts")
        let_go(fleet)
        answer = await job.answer(40)

    assert answer.text == "inferred"
    assert fleet.starts() == {"t1": 1}
    assert await claims_of(client, job.id) == [1]
    assert [line["leases_lost"] for line in told(first)] == [False, False]


async def test_other_workers_begin_what_waits_behind_an_expert_that_holds_its_loop(
    fleet: Fleet, client: SwarmClient
) -> None:
    """One worker has claimed them all."""
    plan = [{"id": name, "expert": "holds", "instruction": "go"} for name in ("a", "b", "c")]
    async with serving(fleet.settings, roles=ROUTER):
        await serve(fleet, Holds)
        job = await client.submit("go", plan=plan)
        await until(lambda: len(fleet.starts()) == 1, "a subtask that runs")
        for _ in range(2):
            fleet.launch("expert", f"{__name__}:{Holds.__name__}")
        await until(lambda: len(fleet.starts()) == 3, "all subtasks at once")
        let_go(fleet)
        answer = await job.answer(40)

    assert answer.complete
    assert fleet.starts() == {"a": 1, "b": 1, "c": 1}


async def test_a_result_is_written_before_the_next_expert_holds_the_loop(fleet: Fleet, client: SwarmClient) -> None:
    """Else it would wait for as long again, and be lost when its time is over meanwhile."""
    plan = [{"id": name, "expert": "stepwise", "instruction": "go"} for name in ("a", "b", "c")]
    async with serving(fleet.settings, roles=ROUTER):
        only = await serve(fleet, Stepwise)
        job = await client.submit("go", plan=plan)
        for done in range(3):
            await until(partial(_is_stuck_over, fleet, only, done + 1), "a loop that counts as stuck over the next one")
            outcomes = [event for event in await client.log.events(job.id) or [] if event.type == "outcome"]
            assert len(outcomes) == done
            let_go(fleet, list(fleet.starts())[-1])
        answer = await job.answer(40)

    assert answer.complete
    assert fleet.starts() == {"a": 1, "b": 1, "c": 1}


# -- over its time -------------------------------------------------------------------------------------------------


async def test_an_expert_that_holds_its_loop_over_its_time_loses_the_lease_once_and_another_runs_it(
    fleet: Fleet, client: SwarmClient
) -> None:
    async with serving(fleet.settings, roles=ROUTER):
        first = await serve(fleet, Overtime)
        job = await client.submit("go", expert="overtime", attempts=1)
        await fleet.started("t1")
        await serve(fleet, Overtime)
        answer = await job.answer(40)
        let_go(fleet)
        await first.healthy()
        again = await client.ask("more", plan=[{"id": "t2", "expert": "overtime", "instruction": "more"}], timeout=40)

    lost = [line["leases_lost"] for line in told(first)]
    assert (answer.ending, answer.text) == ("completed", "the second")
    assert lost.count(True) == 2, "when they are given up, and when the loop turns again"
    assert lost == sorted(lost)
    assert fleet.starts()["t1"] == 2
    assert await claims_of(client, job.id) == [1, 2]
    assert again.complete


# -- nobody waits for it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["cancelled", "deadline"])
async def test_a_job_ends_at_its_cancel_and_its_deadline_while_its_expert_holds_the_loop(
    fleet: Fleet, client: SwarmClient, ending: str
) -> None:
    async with serving(fleet.settings, roles=ROUTER):
        first = await serve(fleet, Holds)
        job = await client.submit("go", expert="holds", deadline=5.0 if ending == "deadline" else None)
        await fleet.started("t1")
        await serve(fleet, Holds)
        if ending == "cancelled":
            await job.cancel(timeout=40)
        answer = await job.answer(40)
        let_go(fleet)
        await until(lambda: first.report().get("running") == 0, "the end of the delivery there")

    assert answer.ending == ending
    assert fleet.starts() == {"t1": 1}
    assert not any(line["leases_lost"] for line in told(first))


async def test_jobs_of_one_process_end_while_its_experts_hold_the_loop_one_after_the_other(
    settings: Settings, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision that goes back each time would wait until no expert has any more to do."""
    monkeypatch.setattr(heartbeat, "HELD", 0.2)
    ended: list[int] = []
    redis_now = redis.Redis.from_url(settings.redis_url or "")

    async def blocks(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        time.sleep(0.6)
        ended.append(len(list(redis_now.zscan_iter(hands.keys.ended))))
        return "done"

    heavy = expert("heavy", blocks)
    await publish(settings, heavy)
    async with SwarmClient(settings=settings) as client:
        jobs = [await client.submit("go", expert="heavy") for _ in range(6)]
        async with serving(settings.model_copy(update={"lease": LEASE}), heavy):
            for job in jobs:
                assert (await job.answer(40)).complete
    redis_now.close()

    assert len(ended) == 6, "each begins once"
    assert ended[-1] > 0, "some end before the last expert has held the loop"


@asynccontextmanager
async def held_by(task: str, worker: Heartbeat, claims: list[Claim]) -> AsyncIterator[None]:
    """For the block, a task of this name holds the event loop that a heartbeat watches."""
    over = threading.Event()

    async def holds() -> None:
        over.wait()

    async def held() -> None:
        for claim in claims:
            worker.hold(claim)
        worker.start(asyncio.get_running_loop())
        await asyncio.create_task(holds(), name=task)

    holding = asyncio.create_task(asyncio.to_thread(asyncio.run, held()))
    try:
        yield
    finally:
        over.set()
        await holding
        worker.close()


def a_beat(hands: Hands, url: str, gone: Callable[[list[Claim]], None] = lambda claims: None) -> Heartbeat:
    return Heartbeat(url, hands.keys.prefix, hands.worker("w1", LEASE), LEASE, lambda: "", gone)


async def test_decisions_go_back_untried_while_an_expert_holds_the_loop(
    hands: Hands, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So another router ends a job in time whose decision was begun where the loop is held."""
    monkeypatch.setattr(heartbeat, "HELD", 0.2)
    await hands.submit("j", "t1:a")
    decision = await hands.take("advance", hands.worker("w1", LEASE))
    async with held_by("expert heavy", a_beat(hands, redis_url), [decision]):

        async def ready() -> bool:
            return (await hands.stands("advance")).get("ready") == ["j:advance"]

        await until(ready, "a decision that others may take")
        assert await hands.advance("j", await hands.take("advance", hands.worker("w2"))) == "done"

    assert await hands.advance("j", decision) == "gone"
    assert await hands.field(hands.keys.delivery("j:advance"), "lost") is None


async def test_a_decision_that_computes_for_long_itself_is_not_handed_back(
    hands: Hands, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each router would begin it, and none would end it."""
    monkeypatch.setattr(heartbeat, "HELD", 0.2)
    await hands.submit("j", "t1:a")
    decision = await hands.take("advance", hands.worker("w1", LEASE))
    before = await hands.score("advance", "leases", "j:advance") or 0
    async with held_by("Task-7", a_beat(hands, redis_url), [decision]):

        async def renewed() -> bool:
            return (await hands.score("advance", "leases", "j:advance") or 0) > before + 4_000 * LEASE

        await until(renewed, "a lease that was renewed for longer than it lasts")

    assert await hands.advance("j", decision) == "done"


@pytest.mark.parametrize(("holder", "lost"), [("expert a", None), ("Task-7", "1")])
async def test_what_has_not_begun_is_taken_by_others_and_not_begun_later(
    hands: Hands, redis_url: str, monkeypatch: pytest.MonkeyPatch, holder: str, lost: str | None
) -> None:
    """At once and untried where an expert holds the loop, else when it counts as stuck."""
    for name, value in STUCK.items():
        monkeypatch.setattr(heartbeat, name, value)
    await hands.begin("j", "t1:a", "t2:a", "t3:a")
    begun, waiting, over = [await hands.run("a", hands.worker("w1", LEASE)) for _ in range(3)]
    heart = a_beat(hands, redis_url)
    assert not heart.begin(begun), "it is not held yet"
    for claim, seconds in ((begun, 60), (over, 0)):
        heart.hold(claim)
        heart.limit(claim, seconds)
        assert heart.begin(claim)
    async with held_by(holder, heart, [waiting]):
        taken: list[str] = []

        async def both() -> bool:
            taken.extend(claim.id for claim in await hands.claim("run:a", hands.worker("w2", 60)))
            return len(taken) == 2

        await until(both, "what has not begun, and what is over its time")
        assert sorted(taken) == [waiting.id, over.id]
        assert await hands.field(hands.keys.delivery(waiting.id), "lost") == lost
        assert await hands.field(hands.keys.delivery(over.id), "lost") == "1"
        assert not heart.begin(waiting)

    assert await hands.solve(begun)


async def test_a_claim_that_others_took_over_is_not_begun(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker was stuck between claiming it and beginning it."""
    begun: list[str] = []

    async def notes(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        begun.append(subtask.id)
        return "done"

    noting = expert("noting", notes)
    await publish(settings, noting)
    one = settings.model_copy(update={"slots": 1})
    async with (
        SwarmClient(settings=settings) as client,
        serving(settings, roles=ROUTER),
        serving(one, noting, roles=EXPERTS) as process,
    ):
        worker, tried = process.worker, asyncio.Event()
        thief = Queue(worker.connection, "thief")
        begin = worker.runner.begin

        async def late(claim: Claim) -> None:
            if tried.is_set():
                return await begin(claim)
            tried.set()
            await worker.queue.hand_back([claim])
            (taken,), _ = await thief.claim([claim.queue], 1)
            worker._heartbeat.drop(claim)
            try:
                await begin(claim)
                begun.append("what others have")
            finally:
                await thief.hand_back([taken])

        monkeypatch.setattr(worker.runner, "begin", late)
        answer = await client.ask("go", expert="noting", timeout=40)

    assert answer.complete
    assert begun == ["t1"]
