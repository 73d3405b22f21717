"""Who waits in the queue for a model that is down, for how long, and who asks another model meanwhile."""

from __future__ import annotations

import pytest

from swarm.types.events import Started
from tests.conftest import Hands
from tests.integration.broken_model import MODEL, PASSES, Desk

pytestmark = pytest.mark.usefixtures("held_clock")


@pytest.fixture
def desk(hands: Hands) -> Desk:
    return Desk(hands)


async def test_without_fallbacks_a_queue_waits_and_no_try_and_no_slot_is_taken(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)

    none, due = await desk.look()
    await desk.pass_by()
    one = await desk.come()
    others = await desk.come(worker=desk.w2)

    assert (none, len(one), one[0].number, others) == ([], 1, 1, [])
    assert due == pytest.approx(5, abs=0.002)


async def test_with_fallbacks_a_queue_goes_on(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)

    assert len(await desk.come(words=PASSES)) == 3


async def test_the_one_that_was_let_in_tries_and_the_rest_follow_its_answer(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)
    await desk.pass_by()
    (one,) = await desk.come()
    await desk.come(worker=desk.w2)
    await desk.hands.call("DEL", desk.hands.keys.queue("run:a", "wake"))

    found = await desk.call(one, "up")
    woken = await desk.hands.call("LLEN", desk.hands.keys.queue("run:a", "wake"))

    assert (found.probe, woken, len(await desk.come(worker=desk.w2))) == (True, 1, 2)


@pytest.mark.parametrize("ends", ["solved", "handed_back", "lost"])
async def test_the_one_that_was_let_in_and_never_called_makes_way(desk: Desk, ends: str) -> None:
    await desk.opened()
    await desk.fill(2)
    await desk.pass_by()
    (one,) = await desk.come()
    if ends == "solved":
        await desk.hands.solve(one)
    elif ends == "handed_back":
        await desk.w1.hand_back([one])
    else:
        await desk.hands.expire_lease(one)

    again = await desk.come(worker=desk.w2)

    assert len(again) == 1
    assert (await desk.call(again[0], "up")).probe


async def test_the_log_says_how_long_a_subtask_waited_for_a_breaker(desk: Desk) -> None:
    await desk.opened("endpoint")
    await desk.fill(1)
    await desk.look()
    limiter = desk.hands.keys.limiter("endpoint:box")
    now = int(await desk.hands.now())
    await desk.hands.call("HSET", limiter, "w:run:a", f"{now - 800} {now}")
    await desk.hands.call("HINCRBY", desk.hands.keys.delivery("j1:t0:1"), "at", -900)
    await desk.pass_by("endpoint:box")
    await desk.come()

    (started,) = [event for event in await desk.hands.log.events("j1") or () if isinstance(event, Started)]
    assert started.limited_by == "endpoint:box"
    assert 800 <= started.limited_ms <= started.waited


# -- when it has been open for long ----------------------------------------------------------------------------------


async def long_since(desk: Desk, ms: int = 300_000) -> None:
    await desk.hands.call("HINCRBY", desk.hands.keys.limiter(f"model:{MODEL}"), "broken", -ms)


async def test_a_queue_waits_five_minutes_for_a_breaker_and_no_longer(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)
    await long_since(desk, 298_000)

    none, due = await desk.look()
    await long_since(desk, 2_000)
    found = await desk.come()
    refused = [await desk.call(claim, "up") for claim in found]

    assert none == []
    assert due == pytest.approx(2, abs=0.002), "it looks again then, though the pause lasts longer"
    assert [(each.verdict, each.scope, 0 < each.left <= 5_000) for each in refused] == [
        ("dead", f"model:{MODEL}", True)
    ] * 3
    assert await desk.hands.call("EXISTS", desk.hands.keys.job("j1") + ":money") == 1
    assert (await desk.hands.log.spent("j1")).open == 0


async def test_one_call_at_a_time_still_tries_it_and_an_answer_brings_all_back(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)
    await long_since(desk)
    await desk.pass_by()
    one, two, three = await desk.come()

    number, probe = await desk.reserve(one)
    meanwhile = await desk.call(two, "up")
    await desk.settle(one, number, "model")
    again = await desk.call(two, "up")
    await desk.pass_by()
    back = await desk.call(three, "up")

    assert (probe.probe, meanwhile.verdict, again.verdict) == (True, "dead", "dead")
    assert (back.probe, (await desk.call(two, "up")).verdict, await desk.field("broken")) == (True, "free", None)


# -- another model than the card's -----------------------------------------------------------------------------------


async def test_what_a_fallback_came_to_counts_at_its_own_limiters(desk: Desk) -> None:
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    number, _ = await desk.reserve(one, model="other/big")
    later, _ = await desk.reserve(two, model="other/big")
    await desk.ledger.settle(one, number, 0, model="other/big", limited=True, pause=9, health="up")
    keys = desk.hands.keys
    await desk.hands.call("HSET", keys.limiter("model:other/big"), "owed", 0, "at", 0, "pay", 1, "spare", 0)
    await desk.ledger.settle(two, later, 0, model="other/big", tokens=700, health="up")

    assert await desk.field("cut", "model:other/big") is not None
    assert float(str(await desk.field("pause", "model:other/big"))) > await desk.hands.now()
    assert await desk.field("owed", "model:other/big") == "700.000"
    assert await desk.hands.call("EXISTS", keys.limiter(f"model:{MODEL}")) == 0


async def test_a_fallback_whose_server_wants_no_calls_is_not_asked_meanwhile(desk: Desk) -> None:
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    for model in (MODEL, "other/big"):
        number, _ = await desk.reserve(one, model=model)
        await desk.ledger.settle(one, number, 0, model=model, limited=True, pause=9, health="up")

    fallback, own = await desk.call(two, "up", model="other/big"), await desk.call(two, "up")
    other = await desk.call(two, "up", model="other/small")
    await desk.hands.call("HINCRBY", desk.hands.keys.limiter("model:other/big"), "pause", -9_001)

    assert (fallback.verdict, fallback.scope) == ("paused", "model:other/big")
    assert fallback.left == pytest.approx(9_000, abs=2)
    assert own.verdict == "free", "it waited for that in its queue"
    assert other.verdict == "free"
    assert (await desk.call(two, "up", model="other/big")).verdict == "free"
