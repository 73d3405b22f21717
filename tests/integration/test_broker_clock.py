"""The clock of the host of Redis steps: the swarm's does not, and all that is stored stays true."""

from __future__ import annotations

from itertools import pairwise

import pytest

from swarm.broker.clock import MeasuredClock
from tests.conftest import Hands

pytestmark = pytest.mark.usefixtures("held_clock")

BACK = (-2, -20, -3_600, -86_400 * 400)


@pytest.mark.parametrize("step", BACK)
async def test_a_lost_lease_is_found_in_its_time_though_the_clock_steps_back(hands: Hands, step: int) -> None:
    await hands.begin("j", "t1:a")
    await hands.run("a", hands.worker("w1"))
    await hands.step_clock(step)

    claims, due = await hands.worker("w2").claim(["run:a"], 1)

    assert claims == []
    assert due == pytest.approx(1.5, abs=0.002)


@pytest.mark.parametrize("step", BACK)
async def test_a_deadline_comes_in_its_time_though_the_clock_steps_back(hands: Hands, step: int) -> None:
    await hands.claim("advance")
    await hands.submit("j", "t1:a", deadline=50)
    await hands.step_clock(step)
    (claim,), due = await hands.worker().claim(["advance"], 1)
    await hands.advance("j", claim)

    assert due == pytest.approx(50, abs=0.002)


async def test_the_times_of_a_log_go_back_no_further_than_to_the_last_look(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b<-t1")
    await hands.step_clock(-30)
    await hands.solve(await hands.run("a"))
    await hands.step_clock(-3_000)
    await hands.settle("j")
    await hands.solve(await hands.run("b"))
    await hands.settle("j")

    times = [event.at for event in await hands.log.history("j")]
    assert all(before <= after + 750 for before, after in pairwise(times))
    assert times[-1] - times[0] < 100


async def test_who_was_there_before_a_step_forward_knows_that_no_time_went_by(hands: Hands) -> None:
    worker = hands.worker("w1")
    await hands.submit("j", "t1:a", deadline=50)
    (claim,), _ = await worker.claim(["advance"], 1)
    await hands.advance("j", claim)
    (running,), _ = await worker.claim(["run:a"], 1)
    await hands.step_clock(3_600)

    assert await worker.renew([running]) == []

    other, due = await hands.worker("w2").claim(["advance", "run:a"], 2)
    assert other == [], "neither the lease has run out nor the deadline come"
    assert due == pytest.approx(1.5, abs=0.002)
    went_by = await hands.now() - (await hands.log.history("j"))[-1].at
    assert 0 <= went_by < 1_800_000, "what the worker measured, and not the hour"


async def test_a_step_forward_that_is_taken_back_leaves_nothing(hands: Hands) -> None:
    worker = hands.worker("w1")
    await worker.claim(["run:a"], 1)
    before = await hands.now()
    for step in (3_600, -3_600):
        await hands.step_clock(step)
        await worker.claim(["run:a"], 1)

    assert 0 <= await hands.now() - before < 1_800_000, "what the worker measured, and not the hour"
    assert abs(float(await hands.field(f"{hands.keys.prefix}:seen", "ahead") or 0)) < 1_800_000


async def test_after_an_outage_that_nobody_lived_through_redis_is_believed(hands: Hands) -> None:
    await hands.submit("j", "t1:a", deadline=50)
    await hands.settle("j")
    key = hands.keys.queue("advance", "later")
    await hands.call("ZINCRBY", key, -3_600_000, "j:@timer:1")
    await hands.outage(3_600)

    await hands.claim("advance")

    assert "tick" in await hands.history("j")


async def test_a_worker_that_slept_alone_does_not_hold_the_clock_of_the_others(hands: Hands) -> None:
    slow, other = hands.worker("w1"), hands.worker("w2")
    await slow.claim(["run:a"], 1)
    slow._measured._lead = slow._measured._former = slow._measured._lead - 60_000
    await other.claim(["run:a"], 1)
    before = await hands.now()

    await slow.claim(["run:a"], 1)

    assert await hands.now() == pytest.approx(before, abs=2)


def test_what_a_process_measures_goes_on_from_what_it_heard() -> None:
    measured = MeasuredClock()
    assert measured.now() == ""
    measured.heard(5_000.0)
    first = int(measured.now())
    measured.heard(4_000.0)

    assert 5_000 <= first <= int(measured.now()), "an answer that came late does not set it back"


async def test_keys_live_by_the_clock_of_redis(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.step_clock(-3_600)
    await hands.claim("run:a")
    await hands.submit("k", "t1:a")

    lives = [await hands.call("PTTL", hands.keys.job(job)) for job in ("j", "k")]
    assert lives[0] == pytest.approx(lives[1], abs=600_000), "an hour apart they would be else"
