"""The breaker of a model and of its endpoint: what opens it, who tries it out, and who waits meanwhile."""

from __future__ import annotations

import pytest

from swarm.broker.ledger import Reserved
from tests.conftest import Hands
from tests.integration.broken_model import MODEL, PASSES, Desk

pytestmark = pytest.mark.usefixtures("held_clock")


@pytest.fixture
def desk(hands: Hands) -> Desk:
    return Desk(hands)


# -- opening -----------------------------------------------------------------------------------------------------


async def test_five_failures_in_a_row_open_it_for_five_seconds(desk: Desk) -> None:
    claim = await desk.opened()

    found = await desk.call(claim, "up")

    assert (found.verdict, found.scope, found.probe) == ("broken", f"model:{MODEL}", False)
    assert found.left == pytest.approx(5_000, abs=2)
    assert await desk.hands.call("PTTL", desk.hands.keys.limiter(f"model:{MODEL}")) > 80_000_000


async def test_an_answer_in_between_begins_the_count_anew(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for health in ("model",) * 4 + ("up",) + ("model",) * 4:
        await desk.call(claim, health)

    assert (await desk.call(claim, "model")).verdict == "free"
    assert (await desk.call(claim, "model")).verdict == "broken"


async def test_failures_of_more_than_a_minute_ago_do_not_count(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for _ in range(4):
        await desk.call(claim, "model")
    old = " ".join(str(int(at) - 60_000) for at in str(await desk.field("fails")).split())
    await desk.hands.call("HSET", desk.hands.keys.limiter(f"model:{MODEL}"), "fails", old)

    await desk.call(claim, "model")

    assert await desk.field("broken") is None
    assert len(str(await desk.field("fails")).split()) == 1


async def test_what_says_nothing_of_health_counts_for_nothing(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for health in ("model",) * 4 + ("",) * 9:
        await desk.call(claim, health)

    assert len(str(await desk.field("fails")).split()) == 4


async def test_what_was_not_reached_counts_at_the_endpoint_and_for_all_its_models(desk: Desk) -> None:
    claim = await desk.opened("endpoint")

    other = await desk.call(claim, "up", model="box/other")

    assert (other.verdict, other.scope) == ("broken", "endpoint:box")
    assert await desk.field("fails") is None
    assert (await desk.call(claim, "up", model="elsewhere/small")).verdict == "free"


async def test_a_model_that_fails_shows_that_its_endpoint_is_there(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for health in ("endpoint",) * 4 + ("model",) + ("endpoint",) * 4:
        await desk.call(claim, health)

    assert await desk.field("broken", "endpoint:box") is None
    assert (await desk.call(claim, "up", model="box/other")).verdict == "free"


async def test_a_settlement_that_is_said_twice_counts_once(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    number, _ = await desk.reserve(claim)
    for _ in range(9):
        await desk.settle(claim, number, "model")

    assert len(str(await desk.field("fails")).split()) == 1


@pytest.mark.parametrize("model", ["", "local/head", "none"])
async def test_what_has_no_server_has_no_breaker(desk: Desk, model: str) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for _ in range(9):
        assert (await desk.call(claim, "model", model=model)).verdict == "free"


# -- trying out ----------------------------------------------------------------------------------------------------


async def test_after_the_pause_one_call_tries_and_the_others_are_told_when_to_ask_again(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)
    one, two, three = await desk.come(words=PASSES, worker=desk.w2)
    await desk.pass_by()

    number, probe = await desk.reserve(one)
    _, again = await desk.reserve(one, number)
    others = [await desk.call(claim, "up") for claim in (two, three, one)]

    assert (probe, again) == (Reserved("free", probe=True), Reserved("free", probe=True)), "a lost reply"
    assert others == [Reserved("broken", f"model:{MODEL}", 5_000)] * 3


async def test_an_answer_closes_it(desk: Desk) -> None:
    claim = await desk.opened()
    await desk.pass_by()

    probe = await desk.call(claim, "up")
    after = [await desk.call(claim, "model") for _ in range(5)]

    assert (probe.probe, [found.verdict for found in after]) == (True, ["free"] * 5)
    assert [found.probe for found in after] == [False] * 5


async def test_a_failure_doubles_the_pause_to_a_minute_at_most(desk: Desk) -> None:
    claim = await desk.opened()
    spans = []
    for _ in range(6):
        await desk.pass_by()
        assert (await desk.call(claim, "model")).probe
        spans.append(round((await desk.call(claim, "up")).left, -3))

    assert spans == [10_000, 20_000, 40_000, 60_000, 60_000, 60_000]


async def test_failures_of_calls_that_began_before_it_opened_do_not_prolong_it(desk: Desk) -> None:
    await desk.fill(4)
    late = [(claim, (await desk.reserve(claim))[0]) for claim in await desk.come()]
    claim = await desk.opened()

    for other, number in late:
        await desk.settle(other, number, "model")
    await desk.pass_by()

    assert (await desk.field("span"), (await desk.call(claim, "up")).probe) == ("5000", True)


async def test_an_answer_to_a_call_that_began_before_it_opened_closes_it(desk: Desk) -> None:
    await desk.fill(1)
    (late,) = await desk.come()
    number, _ = await desk.reserve(late)
    claim = await desk.opened()

    await desk.settle(late, number, "up")

    assert (await desk.call(claim, "up")).verdict == "free"


async def test_a_try_that_came_to_nothing_leaves_it_to_the_next(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    await desk.pass_by()

    first, second = await desk.call(one, ""), await desk.call(two, "up")

    assert (first.probe, second.probe) == (True, True)


async def test_who_is_killed_while_it_tries_does_not_keep_others_from_it(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    await desk.pass_by()
    await desk.reserve(one)
    before = (await desk.reserve(two))[1].verdict

    # its lease has run out, though nobody has come to its queue yet
    await desk.hands.call("ZADD", desk.hands.keys.queue("run:a", "leases"), await desk.hands.now() - 1, one.id)

    assert (before, (await desk.reserve(two))[1].probe) == ("broken", True)
    await desk.settle(one, 6, "model")
    assert await desk.field("span") == "5000", "the one before has nothing to say any more"


async def test_a_try_lasts_no_longer_than_its_call_may(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    await desk.pass_by()
    await desk.reserve(one)
    *who, until = str(await desk.field("probe")).split()
    left = int(until) - await desk.hands.now()
    await desk.hands.call(
        "HSET", desk.hands.keys.limiter(f"model:{MODEL}"), "probe", " ".join((*who, str(int(until) - 33_000)))
    )

    assert 31_000 < left <= 32_000, "30 seconds and what telling of it takes"
    assert (await desk.reserve(two))[1].probe


async def test_after_an_outage_who_tries_it_out_is_waited_for(desk: Desk) -> None:
    """Its lease ran out because nobody could renew it."""
    await desk.opened()
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    await desk.pass_by()
    await desk.reserve(one)
    await desk.hands.call("ZADD", desk.hands.keys.queue("run:a", "leases"), await desk.hands.now() - 1, one.id)
    await desk.hands.gap(5, 0)

    assert (await desk.reserve(two))[1].verdict == "broken"


async def test_a_call_tries_both_out_where_both_are_half_open(desk: Desk) -> None:
    claim = await desk.opened("model")
    for _ in range(5):
        # as of another model, whose calls do not say that this one fails
        await desk.call(claim, "endpoint", model="box/other")
    await desk.pass_by()
    shut = await desk.call(claim, "up")
    await desk.pass_by("endpoint:box")

    number, probe = await desk.reserve(claim)
    other = await desk.call(claim, "up", model="box/other")
    await desk.settle(claim, number, "model")

    assert (shut.scope, probe.probe, other.verdict) == ("endpoint:box", True, "broken")
    assert (await desk.field("broken", "endpoint:box"), await desk.field("span")) == (None, "10000")


async def test_a_call_that_finds_no_room_does_not_try(desk: Desk) -> None:
    await desk.opened()
    await desk.hands.begin("poor", "t1:a", budget=0.01)
    (claim,) = await desk.come(words=PASSES)
    await desk.ledger.reserve(claim, 1, 9_000)
    await desk.pass_by()

    full = await desk.ledger.reserve(claim, 2, 5_000, model=MODEL, seconds=30)

    assert (full.verdict, await desk.field("probe")) == ("full", None)


async def test_a_clock_that_was_set_back_shuts_it_for_no_longer(desk: Desk) -> None:
    claim = await desk.opened()
    await desk.pass_by(ms=-3_600_000)

    assert (await desk.call(claim, "up")).probe
