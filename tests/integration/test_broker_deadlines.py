"""Time ends a job, and brings delayed deliveries back when they are due."""

from __future__ import annotations

import time
from itertools import count

import pytest

from swarm.broker.job_records import decode_state
from swarm.types.events import Accepted
from tests.clock import HeldClock
from tests.conftest import Hands


async def test_a_due_timer_ticks_once_and_asks_for_a_decision(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.fall_due("advance", "j:@timer:1")

    claims = await hands.claim("advance", free=5)

    assert [claim.id for claim in claims] == ["j:advance"]
    assert (await hands.history("j"))[-1] == "tick"
    assert await hands.claim("advance", free=5) == []
    assert (await hands.history("j")).count("tick") == 1
    assert await hands.stands("advance") == {"leases": ["j:advance"]}


async def test_a_timer_that_falls_due_while_a_decision_runs_is_decided_on_next(hands: Hands) -> None:
    await hands.submit("j", "t1:a")
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    await hands.fall_due("advance", "j:@timer:1")
    assert await hands.claim("advance") == []

    assert await hands.write(claim, now, hands.decision("j", now)) == "again"

    read = decode_state((await hands.take("advance")).extra).events
    assert [event.type for event in read] == ["tick", "planned", "released"]


async def test_a_timer_of_a_job_that_is_gone_goes_silently(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.fall_due("advance", "j:@timer:1")
    await hands.call("DEL", hands.keys.job("j"), hands.keys.log("j"))

    assert await hands.claim("advance") == []

    assert await hands.stands("advance") == {}
    assert not await hands.call("EXISTS", hands.keys.job("j"))
    assert not await hands.call("EXISTS", hands.keys.log("j"))


async def test_the_deadline_ends_the_job(hands: Hands, held_clock: HeldClock) -> None:
    await hands.begin("j", "t1:a", "t2:b<-t1", deadline=0.05)
    running = await hands.run("a")
    await held_clock.move_on(0.045)
    await hands.settle("j")
    assert (await hands.history("j"))[-1] == "started t1:1"

    await held_clock.move_on(0.01)
    await hands.settle("j")

    assert (await hands.history("j"))[-2:] == ["tick", "ended deadline"]
    assert not await hands.solve(running)


async def test_the_greatest_age_ends_a_job_that_waits_for_an_expert_that_never_comes(
    hands: Hands, held_clock: HeldClock
) -> None:
    await hands.begin("j", "t1:a", max_age=0.02)
    await held_clock.move_on(0.025)
    await hands.settle("j")

    assert (await hands.history("j"))[-1] == "ended deadline"
    assert await hands.stands("run:a") == {}


async def test_a_tick_is_never_earlier_than_the_deadline_it_stands_for(hands: Hands) -> None:
    for i in range(50):
        await hands.submit(f"j{i}", "t1:a", deadline=100)
        accepted = ((await hands.log.events(f"j{i}")) or [])[0]
        assert isinstance(accepted, Accepted)
        timer = await hands.score("advance", "later", f"j{i}:@timer:1")
        assert timer is not None
        # an event's time is cut to whole milliseconds
        assert int(timer) >= accepted.due


async def test_who_sleeps_as_long_as_the_claim_says_finds_it_due(hands: Hands) -> None:
    slept = 0
    for job in map("j{}".format, count()):
        await hands.begin(job, "t1:a", deadline=0.03)
        claims, due = await hands.worker().claim(["advance"], 1)
        if not claims and due is not None:
            time.sleep(due)  # as exactly as can be
            slept += 1
            claims = await hands.claim("advance")
            assert [claim.job for claim in claims] == [job]
        for claim in claims:  # none, if a busy machine let the deadline pass before
            await hands.advance(job, claim)
        assert (await hands.history(job))[-1] == "ended deadline"
        if slept == 10:
            return


async def test_a_delayed_attempt_comes_back_at_its_time_and_to_its_old_place(hands: Hands) -> None:
    await hands.begin("j1", "t1:a")
    await hands.fail(await hands.run("a"), after=60)
    await hands.settle("j1")
    released = await hands.field(hands.keys.delivery("j1:t1:2"), "score")
    assert released is not None
    due = await hands.score("run:a", "later", "j1:t1:2")
    assert due is not None
    assert due >= float(released) + 59_000
    assert await hands.claim("run:a") == [], "not before its time"
    await hands.begin("j2", "t1:a")

    await hands.fall_due("run:a", "j1:t1:2")
    await hands.claim("run:a", free=0)

    assert (await hands.stands("run:a"))["ready"] == ["j1:t1:2", "j2:t1:1"]
    assert await hands.score("run:a", "ready", "j1:t1:2") == pytest.approx(float(released), abs=0.01)


async def test_a_short_delay_wakes_a_worker_to_learn_of_it(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a")
    await hands.call("DEL", hands.keys.queue("run:a", "wake"))

    await hands.fail(claim, after=0.1)
    await hands.settle("j")

    assert (await hands.stands("run:a")).keys() == {"later"}
    assert await hands.call("LLEN", hands.keys.queue("run:a", "wake")) == 1
