"""Turns: tenants share an expert by their weights, priorities overtake by a bounded number of places."""

from __future__ import annotations

import pytest

from swarm.broker.queue import Claim
from tests.conftest import Hands

pytestmark = pytest.mark.usefixtures("held_clock")


async def fill(hands: Hands, tenant: str, count: int, *, priority: int = 0, size: int = 50, name: str = "") -> None:
    """So many subtasks of a tenant wait, in jobs of at most `size`."""
    for first in range(0, count, size):
        subtasks = [f"t{i}:a" for i in range(min(size, count - first))]
        await hands.begin(f"{name or tenant}{first}", *subtasks, tenant=tenant, priority=priority)


async def served(hands: Hands, count: int) -> list[str]:
    """The tenants of the next so many deliveries, in the order in which they are claimed one by one."""
    order = []
    for _ in range(count):
        (claim,) = await hands.claim("run:a", hands.worker(lease=300))
        order.append(claim.job.rstrip("0123456789"))
    return order


async def weigh(hands: Hands, tenant: str, weight: int) -> None:
    await hands.call("HSET", f"{hands.keys.prefix}:tenants", f"{tenant}:weight", weight)


@pytest.mark.parametrize(("weight", "last"), [(1, 21), (3, 15)])
async def test_a_tenant_with_ten_gets_its_share_beside_one_with_a_thousand(
    hands: Hands, weight: int, last: int
) -> None:
    await weigh(hands, "small", weight)
    await fill(hands, "big", 1_000)
    await served(hands, 100)
    await fill(hands, "small", 10)

    order = await served(hands, 40)

    first, final = order.index("small"), 40 - order[::-1].index("small")
    print(f"weights {weight}:1: the ten were served among {final - first} turns, beginning with turn {first + 1}")
    assert order.count("small") == 10
    assert final <= last
    assert order[:8].count("big") >= 1, "nobody has all turns"


async def test_whoever_is_first_weights_share_what_both_want(hands: Hands) -> None:
    await weigh(hands, "heavy", 3)
    await fill(hands, "light", 200)
    await fill(hands, "heavy", 200)

    order = await served(hands, 120)

    assert order.count("heavy") == pytest.approx(90, abs=2)


async def test_a_tenant_that_comes_late_has_nothing_to_catch_up(hands: Hands) -> None:
    await fill(hands, "old", 300)
    await served(hands, 200)
    await fill(hands, "new", 300)

    assert (await served(hands, 100)).count("new") == pytest.approx(50, abs=2)


async def test_one_tenant_is_served_in_the_order_of_its_coming(hands: Hands) -> None:
    for number in range(20):
        await hands.begin(f"j{number}", "t1:a", "t2:a", "t3:a")

    claims = await hands.claim("run:a", free=60)

    assert [claim.id for claim in claims] == [f"j{n}:t{i}:1" for n in range(20) for i in (1, 2, 3)]


async def test_a_step_of_priority_is_worth_a_hundred_places(hands: Hands) -> None:
    await fill(hands, "acme", 150, name="low")
    await hands.begin("high", "t1:a", tenant="acme", priority=1)

    order = await served(hands, 60)

    assert order.index("high") in (50, 51)


async def test_low_priorities_are_never_starved(hands: Hands) -> None:
    """Every turn a new one comes that may overtake."""
    await hands.begin("low", "t1:a", tenant="acme")
    for number in range(110):
        await hands.begin(f"high{number}", "t1:a", tenant="acme", priority=1)
        if (await served(hands, 1)) == ["low"]:
            break

    assert number == pytest.approx(100, abs=2)


async def test_a_returned_delivery_keeps_its_place(hands: Hands) -> None:
    await fill(hands, "acme", 3)
    claim: Claim = await hands.run("a")
    score = await hands.field(hands.keys.delivery(claim.id), "score")

    await hands.worker().hand_back([claim])
    again = await hands.run("a")
    await hands.expire_lease(again)
    once_more = await hands.run("a")

    assert claim.id == again.id == once_more.id
    assert await hands.field(hands.keys.delivery(claim.id), "score") == score


async def test_plans_have_turns_too(hands: Hands) -> None:
    for number in range(6):
        await hands.submit(f"big{number}", tenant="big")
    await hands.submit("small0", tenant="small")

    order = [(await hands.take("plan")).job for _ in range(3)]

    assert "small0" in order


async def test_tenants_that_were_served_are_forgotten(hands: Hands) -> None:
    for number in range(30):
        await hands.begin(f"j{number}", "t1:a", tenant=f"tenant{number}")
    await fill(hands, "big", 40)
    await served(hands, 70)

    assert await hands.call("ZCARD", hands.keys.queue("run:a", "turns")) <= 2


async def test_a_queue_that_is_empty_remembers_nobody(hands: Hands) -> None:
    """However many tenants came once: each of them begins where the queue is, so none would ever be passed."""
    for number in range(30):
        await hands.begin(f"j{number}", "t1:a", tenant=f"tenant{number}")
        await hands.run("a")

    assert await hands.call("ZRANGE", hands.keys.queue("run:a", "turns"), 0, -1) == [b""]


async def test_turns_never_go_back(hands: Hands) -> None:
    turns = hands.keys.queue("run:a", "turns")
    await fill(hands, "acme", 60)
    await served(hands, 60)
    before = float(await hands.call("ZSCORE", turns, ""))

    await hands.begin("urgent", "t1:a", tenant="other", priority=9)
    await hands.run("a")

    assert float(await hands.call("ZSCORE", turns, "")) == before


async def test_what_an_earlier_version_queued_is_served_first_and_in_its_order(hands: Hands) -> None:
    """It was queued at its time, and nothing said since when it waits."""
    await hands.begin("old", "t1:a", "t2:a")
    now = await hands.now()
    for place, subtask in enumerate(("t1", "t2")):
        delivery = f"old:{subtask}:1"
        await hands.call("HSET", hands.keys.delivery(delivery), "score", now - 10 + place)
        await hands.call("HDEL", hands.keys.delivery(delivery), "at")
        await hands.call("ZADD", hands.keys.queue("run:a", "ready"), now - 10 + place, delivery)
    await hands.call("DEL", hands.keys.queue("run:a", "turns"))
    await hands.begin("new", "t1:a", tenant="other")

    claims = await hands.claim("run:a", free=3)

    assert [claim.id for claim in claims] == ["old:t1:1", "old:t2:1", "new:t1:1"]


async def test_a_priority_is_a_bounded_head_start_over_other_tenants(hands: Hands) -> None:
    await fill(hands, "flood", 950, priority=9)
    await fill(hands, "calm", 20)

    claims = await hands.claim("run:a", hands.worker(lease=300), free=960)

    order = [claim.job.rstrip("0123456789") for claim in claims]
    assert order.index("calm") == pytest.approx(900, abs=2)
    assert order[900:940].count("calm") == pytest.approx(20, abs=2), "from then on by turns"
