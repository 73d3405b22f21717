"""Limiters: what may run at once and per minute, whoever asks; waiting there takes no slot and burns no try."""

from __future__ import annotations

import pytest

from swarm.broker.ledger import Ledger
from swarm.broker.limiters import Limiters, model_limiters
from swarm.errors import BadInput, TooLarge
from swarm.settings import Settings
from swarm.types.card import Limits
from swarm.types.events import Started
from tests.clock import HeldClock
from tests.conftest import Hands
from tests.integration.limited_queue import MODEL, Line, line

pytestmark = pytest.mark.usefixtures("held_clock")


# -- concurrency -------------------------------------------------------------------------------------------------


async def test_no_more_run_at_once_than_the_limiter_has_places(hands: Hands) -> None:
    at = line(hands, concurrency=3)
    await at.fill(5)

    first, _ = await at.come()
    second, _ = await at.come(worker=hands.worker("w2"))
    await hands.solve(first[0])
    third, _ = await at.come()

    assert (len(first), len(second), len(third)) == (3, 0, 1)


async def test_a_place_that_is_free_wakes_who_waits_and_nobody_is_woken_before(hands: Hands) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await at.come()

    before = await at.woken()
    await at.come()
    still = await at.woken()
    await hands.solve(claim)

    assert (before, still, await at.woken()) == (False, False, True)


@pytest.mark.parametrize("ends", ["solved", "failed", "handed_back", "withdrawn", "ended"])
async def test_every_end_of_a_claim_frees_its_place(hands: Hands, ends: str) -> None:
    at = line(hands, concurrency=1)
    await at.fill(1)
    (claim,), _ = await at.come()
    match ends:
        case "solved":
            await hands.solve(claim)
        case "failed":
            await hands.fail(claim)
        case "handed_back":
            await hands.worker().hand_back([claim])
        case "withdrawn":
            await hands.call("HSET", hands.keys.job("j1"), "s:t0", "")
            await hands.worker().renew([claim])
        case "ended":
            await hands.log.cancel("j1")
            await hands.settle("j1")

    assert await hands.call("ZCARD", at.key("expert:a:running")) == 0


async def test_the_place_of_a_killed_worker_is_free_when_its_lease_ends_though_nobody_serves_its_queue(
    hands: Hands,
) -> None:
    words = model_limiters(MODEL)
    at = Line(hands, words)
    await at.limiters.set("openai", Limits(concurrency=1))
    await at.fill(1, "j1", "a")
    await at.fill(1, "j2", "b")
    (lost,), _ = await at.come(worker=hands.worker(lease=0.3))

    none, due = await at.come(expert="b")
    await hands.call("ZADD", at.key("endpoint:openai:running"), await hands.now() - 1, lost.id)
    found, _ = await at.come(expert="b")

    assert (none, len(found)) == ([], 1)
    assert due == pytest.approx(0.3, abs=0.002)


async def test_a_renewed_lease_keeps_its_place(hands: Hands) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await hands.call("ZADD", at.key("expert:a:running"), await hands.now() - 1, claim.id)

    await hands.worker().renew([claim])

    assert (await at.come())[0] == []


async def test_after_an_outage_places_count_as_held_like_leases(hands: Hands) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await hands.call("ZADD", at.key("expert:a:running"), await hands.now() - 1, claim.id)
    await hands.outage(5)

    assert (await at.come(worker=hands.worker("w2")))[0] == []


# -- requests ----------------------------------------------------------------------------------------------------


async def test_a_burst_begins_at_once_and_then_one_each_interval(hands: Hands) -> None:
    at = line(hands, requests_per_minute=60, burst=3)
    await at.fill(9)

    first, _ = await at.come()
    second, due = await at.come()
    await at.set_back("expert:a", tat=-1_000)
    third, _ = await at.come()
    await at.set_back("expert:a", tat=-60_000)
    rested, _ = await at.come()

    assert [len(claims) for claims in (first, second, third, rested)] == [3, 0, 1, 3]
    assert due == pytest.approx(1.0, abs=0.002)


async def test_waiting_at_a_limiter_burns_no_try_and_takes_no_slot(hands: Hands) -> None:
    at = line(hands, requests_per_minute=60, burst=1)
    await at.fill(2)
    await at.come()
    for _ in range(5):
        assert (await at.come())[0] == []

    await at.set_back("expert:a", tat=-2_000)
    (claim,), _ = await at.come()

    assert claim.number == 1
    assert await hands.field(hands.keys.delivery(claim.id), "lost") is None


async def test_a_queue_at_its_limiter_is_passed_over_for_the_next(hands: Hands) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2, "j1", "a")
    await at.fill(2, "j2", "b")

    claims, _ = await hands.worker().claim(["run:a", "run:b"], 10, {"run:a": at.words})

    assert [claim.queue for claim in claims] == ["run:a", "run:b", "run:b"]


async def test_experts_share_what_their_endpoint_can_take(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.limiters.set("openai", Limits(concurrency=3))
    await at.fill(2, "j1", "a")
    await at.fill(2, "j2", "b")
    limiters = {"run:a": model_limiters("openai/one"), "run:b": model_limiters("openai/two")}

    claims, _ = await hands.worker().claim(["run:a", "run:b"], 10, limiters)

    assert [claim.queue for claim in claims] == ["run:a", "run:a", "run:b"]


async def test_new_limits_hold_from_the_next_claim_on_and_wake_who_waited(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.limiters.set(MODEL, Limits(concurrency=1))
    await at.fill(3)
    await at.come()
    await at.come()
    await at.woken()

    await at.limiters.set(MODEL, Limits(concurrency=2))
    woken = await at.woken()
    found, _ = await at.come()
    await at.limiters.drop(MODEL)
    rest, _ = await at.come()

    assert (woken, len(found), len(rest)) == (True, 1, 1)


# -- tokens ------------------------------------------------------------------------------------------------------


async def test_a_claim_is_charged_a_thousand_tokens_until_the_truth_is_known(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.limiters.set(MODEL, Limits(tokens_per_minute=60_000))  # one each millisecond
    await at.fill(9)

    (one, two), due = await at.come()
    assert due == pytest.approx(1.0, abs=0.05)

    await at.report(one, tokens=10_000)
    await hands.solve(one)
    none, due = await at.come()

    assert none == []
    assert due == pytest.approx(10.0, abs=0.1), "paid 10,000 more, was given back 1,000 of the 2,000 less 1,000"
    await at.report(two, tokens=0)
    await hands.solve(two)
    assert (await at.come())[1] == pytest.approx(9.0, abs=0.1)


async def test_the_charge_follows_what_calls_used(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.limiters.set(MODEL, Limits(tokens_per_minute=60_000))
    await at.fill(40)
    for _ in range(30):
        (claim,), _ = await at.come(free=1)
        await at.report(claim, tokens=100)
        await hands.solve(claim)
        await at.set_back(f"model:{MODEL}", at=-10_000)

    claims, _ = await at.come()

    assert len(claims) == 10, "a second's worth, at a hundred each"


async def test_what_a_parked_claim_had_not_begun_may_begin_instead(hands: Hands) -> None:
    at = line(hands, requests_per_minute=60, burst=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await hands.call("HSET", hands.keys.money("j1"), "limit", 10, "open", 10, "tenant", "default", "day", 1)
    await hands.call("PEXPIRE", hands.keys.money("j1"), 60_000)

    assert await hands.worker().park(claim, "job:j1", 5) == "parked"
    assert len((await at.come())[0]) == 1


async def test_what_a_call_under_way_was_charged_stays_when_its_worker_is_lost(hands: Hands) -> None:
    """Nobody will say what it used, and its server counts it."""
    at = Line(hands, model_limiters(MODEL))
    await at.limiters.set(MODEL, Limits(tokens_per_minute=60_000, burst=1))
    await at.fill(3)
    (one, two), _ = await at.come()
    await Ledger(hands.connection, Settings()).reserve(one, 1, None)

    await hands.expire_lease(one)
    await hands.expire_lease(two)
    again, due = await at.come()

    assert len(again) == 1, "of what two were charged, one was given back"
    assert due == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("old", "wait", "new"),
    [
        (Limits(requests_per_minute=1), 60, Limits(requests_per_minute=600)),
        (Limits(tokens_per_minute=1), 600, Limits(tokens_per_minute=6_000_000)),  # 1,000 are owed, ten minutes at most
    ],
)
async def test_raised_limits_hold_at_once(hands: Hands, old: Limits, wait: float, new: Limits) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.limiters.set(MODEL, old)
    await at.fill(3)
    await at.come(worker=hands.worker(lease=1_000))

    _, before = await at.come()
    await at.limiters.set(MODEL, new)
    _, after = await at.come()

    assert before == pytest.approx(wait, abs=1)
    assert after <= 0.1


# -- what the log says ---------------------------------------------------------------------------------------------


async def test_the_log_says_how_long_a_subtask_waited_and_at_which_limiter(hands: Hands, held_clock: HeldClock) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await at.come()
    await held_clock.move_on(0.05)
    await at.come()
    await hands.solve(claim)
    await at.come()

    first, second = [e for e in await hands.log.events("j1") or () if isinstance(e, Started)]
    assert (first.limited_by, first.limited_ms) == ("", 0)
    assert second.limited_by == "expert:a"
    assert 50 <= second.limited_ms <= second.waited <= 52


# -- setting limits ------------------------------------------------------------------------------------------------


async def test_limits_are_kept_as_they_were_set(hands: Hands) -> None:
    limiters = Limiters(hands.connection)
    await limiters.set("openai", Limits(concurrency=8))
    await limiters.set(MODEL, Limits(requests_per_minute=300, tokens_per_minute=200_000, burst=4))

    assert await limiters.limits() == {
        "openai": Limits(concurrency=8),
        MODEL: Limits(requests_per_minute=300, tokens_per_minute=200_000, burst=4),
    }
    assert (await limiters.drop("openai"), await limiters.drop("openai")) == (True, False)


async def test_no_more_have_limits_than_there_may_be(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.broker.limiters.LIMITS_KEPT", 1)
    limiters = Limiters(hands.connection)
    await limiters.set("openai", Limits(concurrency=8))
    await limiters.set("openai", Limits(concurrency=9))

    with pytest.raises(TooLarge, match="2 models and endpoints, at most 1 are accepted; drop some: swarm limits drop"):
        await limiters.set("other", Limits(concurrency=8))


@pytest.mark.parametrize("name", ["", "local", "local/planner", "Open AI", "openai/", "openai/a b"])
async def test_what_is_no_model_has_no_limits(hands: Hands, name: str) -> None:
    with pytest.raises(BadInput, match="neither an endpoint nor a model"):
        await Limiters(hands.connection).set(name, Limits(concurrency=1))
