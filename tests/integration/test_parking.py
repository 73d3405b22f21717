"""Deliveries whose calls do not fit a budget yet wait beside their queue, and what waits delays nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import Any

import pytest

from swarm.broker.connection import LIBRARY
from swarm.client import SwarmClient
from swarm.errors import NoRoom
from swarm.models import Solution
from swarm.plans import Subtask
from swarm.settings import Settings
from tests.conftest import Hands
from tests.integration.processes import echo, expert, publish, serving, until

SCOPE = "day:20000"


async def open_scope(hands: Hands, limit: int = 100, earmarked: int = 100) -> None:
    """A day's budget in which nothing is left as long as what is open stays open."""
    await hands.call("HSET", hands.keys.budget(SCOPE), "limit", limit, "earmarked", earmarked)
    await hands.call("PEXPIRE", hands.keys.budget(SCOPE), 60_000)


async def make_room(hands: Hands, room: int, everybody: bool = False) -> None:
    """What a settlement does."""
    folder = files("swarm.broker") / "scripts"
    text = "".join((folder / f"{part}.lua").read_text() for part in LIBRARY)
    call = "unpark(ARGV[1], tonumber(ARGV[2]), ARGV[3] ~= '')"
    await hands.call("EVAL", text + call, 1, hands.keys.prefix, SCOPE, room, "all" if everybody else "")


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


async def test_with_nothing_open_all_go_on(hands: Hands) -> None:
    ids = await park(hands, 300, 300, 300)

    await make_room(hands, 0, everybody=True)

    assert await hands.stands("run:a") == {"ready": ids}
    assert await parked(hands) == []


async def test_a_claim_that_would_be_parked_when_there_is_room_by_then_goes_on_at_once(hands: Hands) -> None:
    await open_scope(hands, limit=100, earmarked=0)
    await hands.begin("j1", "t1:a")
    claim = await hands.run("a")

    assert await hands.worker().park(claim, SCOPE, 5) == "ready"
    assert await hands.stands("run:a") == {"ready": ["j1:t1:1"]}


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


async def took(client: SwarmClient) -> float:
    """Seconds for a job of another expert, the median of five."""
    times = []
    for _ in range(5):
        begun = time.monotonic()
        await client.ask("go", expert="echo", timeout=5)
        times.append(time.monotonic() - begun)
    return sorted(times)[2]


async def test_a_thousand_parked_subtasks_of_one_expert_delay_no_other(
    settings: Settings, client: SwarmClient, hands: Hands
) -> None:
    poor, free = expert("poor", full), expert("echo", echo)
    await publish(settings, poor, free)
    await open_scope(hands)
    async with serving(settings, poor, free) as process:
        before = await took(client)
        await submit(client, "poor")
        await until(_number(hands, 1_000), "a thousand parked", 8)
        after = await took(client)
        await until(lambda: not process.worker.tasks, "free slots")

    print(f"a job beside a thousand parked ones: {after * 1000:.1f} ms, alone {before * 1000:.1f} ms")
    assert after < before + 0.2


def _number(hands: Hands, wanted: int) -> Any:
    async def reached() -> bool:
        return len(await parked(hands)) == wanted

    return reached


async def test_a_thousand_subtasks_at_the_gate_of_one_expert_delay_no_other(
    settings: Settings, client: SwarmClient
) -> None:
    gate = Held()
    slow = expert("slow", gate.solve, limits={"concurrency": 2})
    free = expert("echo", echo)
    few = settings.model_copy(update={"slots": 4})
    await publish(few, slow, free)
    async with serving(few, slow, free) as process:
        before = await took(client)
        await submit(client, "slow")
        await until(lambda: gate.inside == 2, "two running")
        after = await took(client)
        claims = await _claims_within(process, 1.0)
        gate.open.set()

    print(f"a job beside a thousand gated ones: {after * 1000:.1f} ms, alone {before * 1000:.1f} ms; {claims} claims/s")
    assert after < before + 0.2
    assert claims < 20, "nobody may look again and again at a gate that is shut"


async def _claims_within(process: Any, seconds: float) -> int:
    """How often a worker with nothing to do asks."""
    count, claim = 0, process.worker.queue.claim

    async def counted(*args: Any) -> Any:
        nonlocal count
        count += 1
        return await claim(*args)

    process.worker.queue.claim = counted
    await asyncio.sleep(seconds)
    process.worker.queue.claim = claim
    return count
