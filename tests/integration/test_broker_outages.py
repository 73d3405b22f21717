"""A lease outlasts an outage: time in which no worker reached Redis does not count against it."""

from __future__ import annotations

import pytest

from swarm.broker.keys import SEEN_FIELDS
from swarm.broker.queue import Claim
from tests.conftest import Hands

pytestmark = pytest.mark.usefixtures("held_clock")


async def gaps(hands: Hands) -> int:
    """How many gaps are remembered in which nobody was there."""
    return len((await hands.field(f"{hands.keys.prefix}:seen", "gaps") or "").split())


async def test_a_lease_that_ran_out_in_an_outage_is_held_while_new_work_is_claimed(hands: Hands) -> None:
    await hands.begin("j1", "t1:a")
    running = await hands.run("a", hands.worker("w1"))
    await hands.begin("j2", "t1:a")
    await hands.let_lease_end(running, 9)
    await hands.outage(10)

    claims, due = await hands.worker("w2").claim(["run:a"], 5)

    assert [claim.id for claim in claims] == ["j2:t1:1"]
    assert due == pytest.approx(0.5, abs=0.1), "what is left of the lease is what the next look waits for"
    assert await hands.claim("run:a", hands.worker("w2")) == [], "neither does the second claim take it"
    assert await hands.worker("w1").renew([running]) == []
    assert await hands.solve(running)


async def test_a_lease_that_ran_out_before_an_outage_is_lost_at_once(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.let_lease_end(await hands.run("a", hands.worker("w1")), 10.1)
    await hands.outage(10)

    assert (await hands.run("a", hands.worker("w2"))).number == 2


@pytest.mark.parametrize(("left", "held"), [(0.8, False), (1.4, True)])
async def test_after_an_outage_a_lease_has_as_long_as_it_had_before(hands: Hands, left: float, held: bool) -> None:
    await hands.begin("j", "t1:a")
    running = await hands.run("a", hands.worker("w1"))
    await hands.gap(11, 1)
    await hands.let_lease_end(running, 11 - left)

    assert (await hands.claim("run:a", hands.worker("w2")) == []) is held


@pytest.mark.parametrize(("left", "held"), [(1.2, False), (1.45, True)])
async def test_of_several_outages_each_counts_for_a_lease_that_was_given_before(
    hands: Hands, left: float, held: bool
) -> None:
    """Between the two somebody was there for 0.7 s, and since the last for 0.6 s."""
    await hands.begin("j", "t1:a")
    running = await hands.run("a", hands.worker("w1"))
    await hands.gap(1.6, 0.6)
    await hands.gap(5.3, 2.3)
    await hands.let_lease_end(running, 5.3 - left)

    assert (await hands.claim("run:a", hands.worker("w2")) == []) is held


async def test_a_lost_worker_is_found_although_there_is_an_outage_before_every_look(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    lost = await hands.run("a", hands.worker("w1"))
    looks = 0
    while not await hands.claim("run:a", hands.worker("w2")):
        looks += 1
        assert looks < 9
        await goes_by(hands, lost, 2)
        assert await gaps(hands) < 8, "those before are forgotten"


async def goes_by(hands: Hands, claim: Claim, seconds: float) -> None:
    """Let time go by while nobody is there: all that is stored is so much older."""
    seen, ms = f"{hands.keys.prefix}:seen", int(seconds * 1000)
    kept = (await hands.field(seen, "gaps") or "").split()
    older = [":".join(str(int(time) - ms) for time in gap.split(":")) + " " for gap in kept]
    await hands.call("HSET", seen, "gaps", "".join(older))
    await hands.call("HINCRBYFLOAT", seen, "clock", -ms)
    await hands.call("ZINCRBY", hands.keys.queue(claim.queue, "leases"), -ms, claim.id)


async def test_a_renewal_that_comes_first_notes_the_outage_too(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a")
    mine, theirs = await hands.claim("run:a", hands.worker("w1"), free=2)
    for claim in (mine, theirs):
        await hands.let_lease_end(claim, 9)
    await hands.outage(10)

    assert await hands.worker("w1").renew([mine]) == []

    assert await gaps(hands) == 1
    assert await hands.claim("run:a", hands.worker("w2"), free=2) == []
    assert await hands.worker("w1").renew([theirs]) == []


async def test_a_look_at_its_usual_time_is_no_outage(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a")
    await hands.no_grace()
    for _ in range(5):
        await hands.outage(0.55)
        assert await hands.worker().renew([claim]) == []
        assert await gaps(hands) == 0
    await hands.outage(0.7)
    await hands.claim("run:a", hands.worker("w2"))
    assert await gaps(hands) == 0


async def test_a_gap_of_more_than_half_a_lease_is_an_outage(hands: Hands) -> None:
    await hands.claim("run:a")
    await hands.outage(0.76)

    await hands.claim("run:a")

    assert await gaps(hands) == 1


@pytest.mark.parametrize(("left", "held"), [(0.45, False), (1.0, True)])
async def test_the_first_third_of_a_gap_counts_and_a_worker_that_renewed_in_time_keeps_its_lease(
    hands: Hands, left: float, held: bool
) -> None:
    """`left`: what a lease had to go when the gap of 0.9 s began; of one that was renewed in time it is a second."""
    await hands.begin("j", "t1:a")
    running = await hands.run("a", hands.worker("w1"))
    await hands.let_lease_end(running, 0.9 - left)
    await hands.outage(0.9)

    assert (await hands.claim("run:a", hands.worker("w2")) == []) is held


async def test_what_a_worker_of_the_version_before_notes_spares_no_lease_and_hides_no_gap(hands: Hands) -> None:
    """It writes `at` and `grace` of its own beside ours, and leases by the clock of Redis."""
    await hands.begin("j", "t1:a", "t2:a")
    lost, spared = await hands.claim("run:a", hands.worker("w1"), free=2)
    seen = f"{hands.keys.prefix}:seen"
    await hands.call("HSET", seen, "at", int(await hands.now()), "grace", int(await hands.now()) + 60_000)
    await hands.let_lease_end(lost, 10.1)
    await hands.let_lease_end(spared, 9)
    await hands.outage(10)

    assert [claim.id for claim in await hands.claim("run:a", hands.worker("w2"), free=2)] == [lost.id]
    assert await hands.call("HLEN", seen) <= SEEN_FIELDS


async def test_gaps_that_a_shorter_lease_noted_take_no_lease_before_its_end(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.let_lease_end(await hands.run("a", hands.worker("w1", lease=300)), -100)
    for _ in range(8):
        await hands.outage(1)
        await hands.claim("run:b", hands.worker("w2"))

    assert await hands.claim("run:a", hands.worker("w3", lease=300)) == []
    assert await gaps(hands) <= 8
