"""What a model server says is heeded: after a refusal less is asked of it, and while it wants a pause, nothing."""

from __future__ import annotations

import pytest

from swarm.broker.limiters import model_limiters
from swarm.broker.queue import Claim
from swarm.types.card import Limits
from tests.conftest import Hands
from tests.integration.limited_queue import MODEL, Line

pytestmark = pytest.mark.usefixtures("held_clock")


async def refused(at: Line, *claims: Claim, pause: float = 0.0) -> None:
    for claim in claims:
        await at.report(claim, limited=True, pause=pause)


async def test_a_model_that_refused_is_asked_half_as_much(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(30)
    first, _ = await at.come(free=8)

    await refused(at, *first[:2])
    for claim in first:
        await hands.solve(claim)
    second, _ = await at.come()

    assert (len(first), len(second)) == (8, 4), "the second refusal within a second counts for nothing"


async def test_each_round_of_answers_gives_one_place_back_until_the_cap_is_gone(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(60)
    first, _ = await at.come(free=2)
    await refused(at, first[0])
    for claim in first:
        await hands.solve(claim)
    rounds = []
    for _ in range(5):
        claims, _ = await at.come(free=10)
        rounds.append(len(claims))
        for claim in claims:
            await at.report(claim, tokens=5)
            await hands.solve(claim)

    assert rounds == [1, 2, 2, 3, 10]
    assert await hands.field(at.key(f"model:{MODEL}"), "cap") is None


async def test_a_call_that_failed_in_another_way_gives_no_place_back(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(60)
    first, _ = await at.come(free=2)
    await refused(at, first[0])
    for claim in first:
        await hands.solve(claim)
    for _ in range(5):
        (claim,), _ = await at.come(free=10)
        await at.report(claim)
        await hands.solve(claim)

    assert await hands.field(at.key(f"model:{MODEL}"), "cap") == "1"


async def test_a_refusal_is_forgotten_after_ten_minutes(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(9)
    first, _ = await at.come(free=2)
    await refused(at, first[0])

    capped, _ = await at.come()
    await at.set_back(f"model:{MODEL}", cut=-600_000)
    free, _ = await at.come()

    assert (len(capped), len(free)) == (0, 7)


async def test_the_rate_is_halved_and_grows_again(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.limiters.set(MODEL, Limits(requests_per_minute=60, burst=1))
    await at.fill(5)
    await hands.call("HSET", at.key(f"model:{MODEL}"), "cap", 9, "peak", 9)
    (claim,), _ = await at.come()
    await refused(at, claim)

    rate = await hands.field(at.key(f"model:{MODEL}"), "rate")
    await hands.solve(claim)
    await at.set_back(f"model:{MODEL}", tat=-9_000, grown=-1_000)
    (again,), _ = await at.come()
    await at.report(again, tokens=1)
    await hands.solve(again)

    assert (await at.come())[1] == pytest.approx(1.82, abs=0.1)
    assert (rate, await hands.field(at.key(f"model:{MODEL}"), "rate")) == ("0.500", "0.550")


async def test_what_the_server_asks_to_wait_holds_for_all(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(5, "j1", "a")
    await at.fill(5, "j2", "b")
    (claim,), _ = await at.come(free=1)

    await refused(at, claim, pause=7.5)
    none, due = await at.come(expert="b", worker=hands.worker("w2"))

    assert none == []
    assert due == pytest.approx(7.5, abs=0.1)


async def test_no_server_can_shut_its_limiter_for_longer_than_ten_minutes(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(2)
    (claim,), _ = await at.come(free=1)
    await refused(at, claim, pause=999_999_999)
    await hands.solve(claim)

    assert (await at.come())[1] == pytest.approx(600, abs=1)


async def test_nobody_speaks_for_a_claim_that_is_over(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(2)
    (claim,), _ = await at.come(free=1)
    await hands.solve(claim)

    await refused(at, claim, pause=60)

    assert len((await at.come())[0]) == 1


async def test_a_clock_that_was_set_back_closes_no_limiter_for_longer_than_it_could_be(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.limiters.set(MODEL, Limits(requests_per_minute=60, tokens_per_minute=60_000, burst=1))
    await at.fill(4)
    (claim,), _ = await at.come()
    await refused(at, claim, pause=5)
    hour = 3_600_000
    await at.set_back(f"model:{MODEL}", tat=hour, at=hour, pause=hour, cut=hour, grown=hour)

    _, due = await at.come()

    assert due <= 1.0
