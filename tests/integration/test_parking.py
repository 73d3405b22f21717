"""Deliveries whose calls do not fit a budget yet wait beside their queue, and what waits delays nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import Any

import pytest

from swarm.broker.connection import LIBRARY
from swarm.client.client import SwarmClient
from swarm.errors import NoRoom
from swarm.settings import Settings
from swarm.types.events import Started
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.conftest import Hands
from tests.integration.processes import echo, expert, publish, serving, until

SCOPE = "day:20000"


async def open_scope(hands: Hands, limit: int = 100, earmarked: int = 100) -> None:
    """A day's budget in which nothing is left as long as what is open stays open."""
    await hands.call("HSET", hands.keys.budget(SCOPE), "limit", limit, "earmarked", earmarked)
    await hands.call("PEXPIRE", hands.keys.budget(SCOPE), 60_000)


async def make_room(hands: Hands, room: int, most: int = 100) -> None:
    """What a settlement does."""
    folder = files("swarm.broker") / "scripts"
    text = "".join((folder / f"{part}.lua").read_text() for part in LIBRARY)
    call = "unpark(ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))"
    await hands.call("EVAL", text + call, 1, hands.keys.prefix, SCOPE, room, most)


async def parked(hands: Hands) -> list[str]:
    return [name.decode() for name in await hands.call("ZRANGE", hands.keys.parked(SCOPE), 0, -1)]


async def park(hands: Hands, *needs: int) -> list[str]:
    """One subtask for each need, parked in the order in which they came; their deliveries."""
    await open_scope(hands)
    await hands.begin("j1", *(f"t{i}:a" for i in range(len(needs))))
    claims = await hands.claim("run:a", free=len(needs))
    for claim, need in reversed(list(zip(claims, needs, strict=True))):
        assert await hands.worker().park(claim, SCOPE, need) == "parked"
    return [claim.id for claim in claims]


async def test_a_parked_delivery_stands_in_no_queue_and_keeps_its_place(hands: Hands) -> None:
    first, second = await park(hands, 5, 5)

    assert await hands.stands("run:a") == {}
    assert await parked(hands) == [first, second]
    await make_room(hands, 100)
    assert await hands.stands("run:a") == {"ready": [first, second]}
    again = await hands.run("a")
    assert (again.number, await hands.field(hands.keys.delivery(first), "lost")) == (2, None)


async def test_those_that_fit_together_go_on_in_order(hands: Hands) -> None:
    ids = await park(hands, 30, 30, 30, 30)

    await make_room(hands, 70)

    assert await hands.stands("run:a") == {"ready": ids[:2]}
    assert await parked(hands) == ids[2:]


async def test_those_that_never_fit_go_on_and_leave_the_room_to_others(hands: Hands) -> None:
    ids = await park(hands, 90, 40, 90, 40)

    await make_room(hands, 50, most=50)

    assert await hands.stands("run:a") == {"ready": ids[:3]}
    assert await parked(hands) == ids[3:]


async def test_a_claim_that_would_be_parked_when_there_is_room_by_then_goes_on_at_once(hands: Hands) -> None:
    await open_scope(hands, limit=100, earmarked=0)
    await hands.begin("j1", "t1:a")
    claim = await hands.run("a")

    assert await hands.worker().park(claim, SCOPE, 5) == "ready"
    assert await hands.stands("run:a") == {"ready": ["j1:t1:1"]}


async def test_the_claim_after_the_wait_says_so_and_no_other(hands: Hands) -> None:
    (name,) = await park(hands, 5)
    await make_room(hands, 100)
    await hands.worker().hand_back([await hands.run("a")])
    await hands.run("a")

    started = [event for event in await hands.log.events("j1") or () if isinstance(event, Started)]
    assert [(event.claim, event.limited_by) for event in started] == [(1, ""), (2, "budget:day"), (3, "")]
    assert 0 <= started[1].limited_ms == started[1].waited
    assert await hands.field(hands.keys.delivery(name), "parked") == SCOPE


async def test_a_lost_claim_parks_nothing(hands: Hands) -> None:
    await open_scope(hands)
    await hands.begin("j1", "t1:a")
    claim = await hands.run("a")
    await hands.worker().hand_back([claim])

    assert await hands.worker().park(claim, SCOPE, 5) == "gone"
    assert await hands.stands("run:a") == {"ready": ["j1:t1:1"]}


async def test_a_repeated_call_changes_nothing(hands: Hands) -> None:
    await open_scope(hands)
    await hands.begin("j1", "t1:a")
    claim = await hands.run("a")

    answers = [await hands.worker().park(claim, SCOPE, 5) for _ in range(2)]

    assert answers == ["parked", "gone"]
    assert await parked(hands) == ["j1:t1:1"]


async def test_a_parked_delivery_leaves_with_its_job(hands: Hands) -> None:
    await park(hands, 5)
    await hands.log.cancel("j1")
    await hands.settle("j1")

    assert await parked(hands) == []
    assert await hands.call("EXISTS", hands.keys.delivery("j1:t0:1")) == 0


# -- who goes on and asks no model after all makes the next one go on --------------------------------------------------


async def gone_on(hands: Hands, *subtasks: str) -> list[str]:
    """Three subtasks that wait for room for one each; the first goes on, as nothing is open any more."""
    await open_scope(hands)
    await hands.begin("j1", *subtasks)
    claims = [claim for queue in ("run:a", "run:b") for claim in await hands.claim(queue, free=9)]
    for claim in claims:
        assert await hands.worker().park(claim, SCOPE, 80) == "parked"
    await hands.call("HSET", hands.keys.budget(SCOPE), "earmarked", 0)
    await make_room(hands, 100, most=100)
    return [claim.id for claim in claims]


@pytest.mark.parametrize("how", ["solved", "failed", "withdrawn", "buried", "waits elsewhere"])
async def test_a_delivery_that_leaves_its_room_makes_the_next_one_go_on(hands: Hands, how: str) -> None:
    first, second, third = await gone_on(hands, "t1:a", "t2:a", "t3:a")
    assert await hands.stands("run:a") == {"ready": [first]}

    if how == "withdrawn":
        await hands.log.cancel("j1", "t1")
        await hands.settle("j1")
    else:
        claim = await hands.run("a")
        if how == "solved":
            await hands.solve(claim)
        elif how == "failed":
            await hands.fail(claim)
        elif how == "buried":
            for _ in range(2):
                await hands.expire_lease(claim)
                claim = await hands.run("a")
            await hands.expire_lease(claim)
            assert [again.id for again in await hands.claim("run:a", free=0)] == []
        else:
            other = hands.keys.budget("day:1")
            await hands.call("HSET", other, "limit", 100, "open", 50)
            await hands.call("PEXPIRE", other, 60_000)
            assert await hands.worker().park(claim, "day:1", 80) == "parked"

    assert await hands.stands("run:a") == {"ready": [second]}
    assert await parked(hands) == [third]


async def test_a_delivery_that_is_lost_keeps_its_turn(hands: Hands) -> None:
    first, *others = await gone_on(hands, "t1:a", "t2:a", "t3:a")
    await hands.expire_lease(await hands.run("a"))

    again = await hands.run("a")
    assert (again.id, await parked(hands)) == (first, others)
    await hands.solve(again)
    assert await parked(hands) == others[1:]


async def test_an_expert_that_nobody_serves_keeps_no_room_from_others(hands: Hands) -> None:
    ids = await gone_on(hands, "t1:a", "t2:a", "t3:b", "t4:b")

    assert (await hands.stands("run:a"), await hands.stands("run:b")) == ({"ready": [ids[0]]}, {"ready": [ids[2]]})
    assert sorted(await parked(hands)) == [ids[1], ids[3]]


async def test_the_end_of_a_job_wakes_others_and_none_of_its_own(hands: Hands) -> None:
    await gone_on(hands, "t1:a", "t2:a", "t3:a")
    await hands.submit("j2", "t1:b")
    await hands.advance("j2")
    claim = await hands.run("b")
    await hands.call("HSET", hands.keys.budget(SCOPE), "earmarked", 100)
    await hands.worker().park(claim, SCOPE, 80)
    await hands.call("HSET", hands.keys.budget(SCOPE), "earmarked", 0)

    await hands.log.cancel("j1")
    await hands.settle("j1")

    assert (await hands.stands("run:a"), await hands.stands("run:b")) == ({}, {"ready": [claim.id]})
    assert await parked(hands) == []


# -- with a real worker ------------------------------------------------------------------------------------------------


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


async def full(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
    raise NoRoom(SCOPE, 5)


class Held:
    """An expert that answers when it is let go."""

    def __init__(self) -> None:
        self.inside, self.open = 0, asyncio.Event()

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.inside += 1
        await self.open.wait()
        return "through"


async def submit(client: SwarmClient, name: str, jobs: int = 20, size: int = 50) -> list[Any]:
    plan = [{"id": f"t{i}", "expert": name, "instruction": "go"} for i in range(size)]
    return [await client.submit("go", plan=plan) for _ in range(jobs)]


async def test_a_thousand_parked_subtasks_of_one_expert_delay_no_other(
    settings: Settings, client: SwarmClient, hands: Hands
) -> None:
    poor, free = expert("poor", full), expert("echo", echo)
    await publish(settings, poor, free)
    await open_scope(hands)
    async with serving(settings, poor, free) as process:
        await submit(client, "poor")
        await until(_number(hands, 1_000), "a thousand parked")
        await until(lambda: not process.worker.runner.tasks, "free slots")
        answers = [await client.ask("go", expert="echo", timeout=40) for _ in range(5)]
        still = await parked(hands)

    assert [answer.ending for answer in answers] == ["completed"] * 5
    assert len(still) == 1_000, "no parked subtask was claimed to be parked again"


def _number(hands: Hands, wanted: int) -> Any:
    async def reached() -> bool:
        return len(await parked(hands)) == wanted

    return reached


async def test_a_thousand_subtasks_at_the_limits_of_one_expert_delay_no_other(
    settings: Settings, client: SwarmClient
) -> None:
    gate = Held()
    slow = expert("slow", gate.solve, limits={"concurrency": 2})
    free = expert("echo", echo)
    few = settings.model_copy(update={"slots": 4})
    await publish(few, slow, free)
    async with serving(few, slow, free) as process:
        await submit(client, "slow")
        await until(lambda: gate.inside == 2, "two running")
        answers = [await client.ask("go", expert="echo", timeout=40) for _ in range(5)]
        still = gate.inside
        claims = await _claims_each_second(process)
        gate.open.set()

    assert ([answer.ending for answer in answers], still) == (["completed"] * 5, 2)
    assert claims < 20, "nobody may look again and again at a limiter that admits nothing"


async def _claims_each_second(process: Any) -> float:
    """How often a worker with nothing to do asks."""
    count, claim = 0, process.worker.queue.claim

    async def counted(*args: Any) -> Any:
        nonlocal count
        count += 1
        return await claim(*args)

    process.worker.queue.claim = counted
    began = time.monotonic()
    await asyncio.sleep(1.0)
    process.worker.queue.claim = claim
    return count / (time.monotonic() - began)
