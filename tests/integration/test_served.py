"""A lane sends all its queues as one text: a claim looks into those of them that hold deliveries, in their turn."""

from __future__ import annotations

import asyncio

import pytest

from swarm.broker.connection import Connection
from swarm.broker.keys import Keys
from swarm.broker.served_queues import ServedQueues
from tests.conftest import Hands
from workers.wake import Waker

NAMES = [f"e{number}" for number in range(30)]


async def claimed(hands: Hands, served: ServedQueues, free: int, first: int, also: str = "") -> list[str]:
    claims, _ = await hands.worker().claim(served, free, first=first, also=also)
    return [claim.queue for claim in claims]


@pytest.mark.parametrize("also", ["", "run:e0", "*"])
@pytest.mark.parametrize("count", [3, 30], ids=["few", "many"])
async def test_a_claim_begins_with_the_queue_whose_turn_it_is_and_goes_round(
    hands: Hands, count: int, also: str
) -> None:
    names = NAMES[:count]
    await hands.publish(*names, version="v2")
    await hands.begin("j", *(f"t{number}:{name}" for number, name in enumerate(names)))
    served = ServedQueues([f"run:{name}" for name in names], {f"run:{names[1]}": f"expert:{names[1]}=9,,,"})

    assert await claimed(hands, served, 2, count - 1, also) == [f"run:{names[-1]}", "run:e0"]
    assert await claimed(hands, served, count, 1, also) == [f"run:{name}" for name in names[1:-1]]


@pytest.mark.parametrize("others", [0, 30])
async def test_a_name_that_begins_as_another_or_ends_so_is_not_taken_for_it(hands: Hands, others: int) -> None:
    experts = ["a", "aa", "a_a", "a-a", *NAMES[:others]]
    await hands.publish(*experts, version="v2")
    await hands.begin("j", *(f"t{number}:{name}" for number, name in enumerate(experts)))

    assert await claimed(hands, ServedQueues(["run:aa"]), 9, 0) == ["run:aa"]
    assert await claimed(hands, ServedQueues(["run:x", "run:a"], {"run:x": "run:aa"}), 9, 0) == ["run:a"]
    assert await claimed(hands, ServedQueues([]), 9, 0, "*") == []


async def test_a_wait_on_thousands_of_lists_hears_of_each(connection: Connection, redis_url: str, keys: Keys) -> None:
    served = ServedQueues([f"run:ä{number}" for number in range(3_000)])
    lists = served.lists(keys)
    assert served.lists(keys) is lists, "what is sent is made once"

    async def turn() -> None:
        await connection.call("PING")

    async with Waker(redis_url, turn, lambda: None) as waker:
        for name in (lists[0], lists[1_500], lists[-1]):
            waiting = asyncio.create_task(waker.wait(lists, 20))
            await connection.call("RPUSH", name, "1")
            assert await waiting == name
        assert await waker.wait(lists[:1], 0.01) == ""
        await connection.call("RPUSH", lists[1], "1")
        assert await waker.wait(lists[:1], 0.01) == "", "other lists, another wait"
        assert await waker.wait(lists, 20) == lists[1]
