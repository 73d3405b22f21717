"""A lease holds while its worker is heard of. What a lost worker held comes back, but not for ever."""

from __future__ import annotations

import pytest

from swarm.broker.job_records import decode_planning
from swarm.broker.queue import MAX_LOST
from tests.conftest import Hands

pytestmark = pytest.mark.usefixtures("held_clock")


# -- lost and found --------------------------------------------------------------------------------------------


async def test_a_lost_delivery_comes_back_before_newer_work_with_its_old_score(hands: Hands) -> None:
    await hands.begin("j1", "t1:a")
    score = await hands.score("run:a", "ready", "j1:t1:1")
    assert score is not None
    lost = await hands.run("a", hands.worker("w1"))
    await hands.begin("j2", "t1:a")
    await hands.expire_lease(lost)

    await hands.claim("run:a", hands.worker("w2"), free=0)

    assert (await hands.stands("run:a"))["ready"] == ["j1:t1:1", "j2:t1:1"]
    assert await hands.score("run:a", "ready", "j1:t1:1") == pytest.approx(score, abs=0.01)
    again = await hands.run("a", hands.worker("w2"))
    assert (again.id, again.owner.partition("~")[0]) == ("j1:t1:1", "w2:2")
    assert await hands.field(hands.keys.delivery("j1:t1:1"), "lost") == "1"


async def test_a_lost_delivery_comes_back_before_newer_work_of_a_higher_priority(hands: Hands) -> None:
    await hands.begin("j1", "t1:a")
    lost = await hands.run("a", hands.worker("w1"))
    await hands.begin("j2", "t1:a", priority=9)
    await hands.expire_lease(lost)

    assert (await hands.run("a", hands.worker("w2"))).id == "j1:t1:1"


async def test_a_lost_delivery_is_taken_by_the_very_claim_that_finds_it(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.expire_lease(await hands.run("a", hands.worker("w1")))

    assert (await hands.run("a", hands.worker("w2"))).owner.startswith("w2:2~")
    assert (await hands.history("j"))[-2:] == ["started t1:1", "started t1:1"]


async def test_a_lease_in_force_is_not_taken(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.run("a", hands.worker("w1"))
    await hands.no_grace()

    assert await hands.claim("run:a", hands.worker("w2")) == []


async def test_handing_back_burns_no_try_and_keeps_the_place(hands: Hands) -> None:
    await hands.begin("j1", "t1:a")
    await hands.begin("j2", "t1:a")
    for _ in range(2 * MAX_LOST):
        claim = await hands.run("a")
        assert claim.id == "j1:t1:1"
        await hands.call("DEL", hands.keys.queue("run:a", "wake"))
        assert await hands.worker().hand_back([claim]) == 1
        assert await hands.call("LLEN", hands.keys.queue("run:a", "wake")) == 1, "somebody is told"

    assert await hands.field(hands.keys.delivery("j1:t1:1"), "lost") is None
    assert (await hands.stands("run:a"))["ready"] == ["j1:t1:1", "j2:t1:1"]


async def test_handing_back_twice_or_what_is_not_held_does_nothing(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a", hands.worker("w1"))
    assert await hands.worker().hand_back([claim]) == 1
    again = await hands.run("a", hands.worker("w2"))

    assert await hands.worker().hand_back([claim]) == 0
    assert await hands.worker().hand_back([]) == 0

    assert await hands.stands("run:a") == {"leases": ["j:t1:1"]}
    assert await hands.solve(again)


async def test_what_is_handed_back_as_lost_waits_and_counts(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    for lost in range(1, MAX_LOST + 1):
        claim = await hands.run("a")
        assert await hands.worker().hand_back([claim], delay=60, lost=True) == 1
        assert await hands.claim("run:a") == [], "not before its time"
        assert not await hands.fail(claim), "the claim is over"
        assert await hands.worker().renew([claim]) == ["j:t1:1"]
        await hands.expire_lease(claim)
        if lost < MAX_LOST:
            await hands.claim("run:a", free=0)
            assert await hands.field(hands.keys.delivery("j:t1:1"), "lost") == str(lost)

    assert await hands.claim("run:a") == []
    assert (await hands.history("j"))[-1] == "poison t1:1"


# -- zombies -----------------------------------------------------------------------------------------------------


async def test_a_failure_of_a_worker_whose_lease_was_taken_over_is_not_written(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    zombie = await hands.run("a", hands.worker("w1"))
    await hands.expire_lease(zombie)
    holder = await hands.run("a", hands.worker("w2"))
    before = await hands.history("j")

    assert not await hands.fail(zombie)

    assert await hands.history("j") == before
    assert await hands.solve(holder, "from the living")
    assert await hands.log.solutions("j", {"t1": "t1.1.2"})


async def test_the_first_solution_counts_though_its_lease_was_taken_over_and_the_rerun_is_stopped(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    slow = await hands.run("a", hands.worker("w1"))
    await hands.expire_lease(slow)
    rerun = await hands.run("a", hands.worker("w2"))
    async with hands.connection.client.pubsub() as channel:
        await channel.subscribe(hands.keys.stop("w2"))
        await channel.get_message(timeout=40)

        assert await hands.solve(slow, "late and good")
        told = await channel.get_message(timeout=40)

    assert told is not None
    assert told["data"].decode() == rerun.key
    assert await hands.stands("run:a") == {}
    assert not await hands.solve(rerun, "again"), "the first counts"
    assert not await hands.solve(slow, "late and good"), "a repeated call finds that it is done"
    await hands.settle("j")
    assert [line for line in await hands.history("j") if line.startswith(("solved", "ended"))] == [
        "solved t1:1",
        "ended completed",
    ]


async def test_a_late_solution_of_a_job_whose_end_was_asked_for_is_not_written(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    slow = await hands.run("a", hands.worker("w1"))
    await hands.expire_lease(slow)
    await hands.run("a", hands.worker("w2"))
    await hands.log.cancel("j")

    assert not await hands.solve(slow)


async def test_a_worker_whose_lease_ran_out_but_was_not_taken_may_still_finish(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a")
    await hands.expire_lease(claim)

    assert await hands.solve(claim)
    assert await hands.stands("run:a") == {}


async def test_a_solution_that_comes_after_its_delivery_went_back_to_the_queue_counts(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a")
    await hands.expire_lease(claim)
    await hands.claim("run:a", free=0)

    assert await hands.solve(claim)
    assert await hands.stands("run:a") == {}


async def test_finishing_again_after_a_lost_reply_changes_nothing(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a")
    assert await hands.solve(claim, "first")
    before = await hands.history("j")

    assert not await hands.solve(claim, "second")

    assert await hands.history("j") == before
    assert (await hands.log.solutions("j", {"t1": "t1.1.1"}))["t1"].text == "first"
    await hands.settle("j")
    assert not await hands.solve(claim, "third")
    assert (await hands.history("j"))[-1] == "ended completed"


# -- renewing ----------------------------------------------------------------------------------------------------


async def test_renewing_extends_what_is_held_and_tells_what_is_gone(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a")
    held, lost = await hands.claim("run:a", hands.worker("w1"), free=2)
    await hands.expire_lease(lost)
    taken = await hands.run("a", hands.worker("w2"))
    before = [await hands.score("run:a", "leases", claim.id) for claim in (held, taken)]

    assert await hands.worker("w1", lease=60).renew([held, lost], about="{}") == [lost.id]

    after = [await hands.score("run:a", "leases", claim.id) for claim in (held, taken)]
    assert after[0] is not None
    assert before[0] is not None
    assert after[0] > before[0] + 50_000
    assert after[1] == before[1], "the other worker's lease is its own"
    assert await hands.call("PTTL", hands.keys.worker("w1")) > 0


async def test_a_lease_that_ran_out_and_was_not_taken_is_renewed(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a", hands.worker("w1"))
    await hands.expire_lease(claim)

    assert await hands.worker("w1").renew([claim]) == []
    assert await hands.claim("run:a", hands.worker("w2")) == []


async def test_renewing_never_brings_back_what_is_finished(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a")
    await hands.solve(claim)

    assert await hands.worker().renew([claim]) == [claim.id]
    assert await hands.stands("run:a") == {}


async def test_renewing_tells_that_the_job_has_ended(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a")
    await hands.log.cancel("j")
    await hands.settle("j")

    assert await hands.worker().renew([claim]) == [claim.id]
    assert not await hands.solve(claim)


async def test_renewing_tells_that_the_subtask_is_settled_and_drops_the_delivery(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b")
    claim = await hands.run("a")
    await hands.call("HSET", hands.keys.job("j"), "s:t1", "by another attempt")

    assert await hands.worker().renew([claim]) == [claim.id]

    assert await hands.stands("run:a") == {}
    assert await hands.call("HGET", hands.keys.job("j") + ":live", claim.id) is None
    assert not await hands.solve(claim)


# -- planning rounds ---------------------------------------------------------------------------------------------


async def test_a_planner_that_takes_over_opens_a_new_round(hands: Hands) -> None:
    await hands.submit("j")
    first = await hands.take("plan", hands.worker("w1"))
    assert decode_planning(first.extra)[0] == 1
    assert await hands.stands("advance") == {"later": ["j:@timer:1"]}
    await hands.expire_lease(first)

    second = await hands.take("plan", hands.worker("w2"))

    number, request, catalog = decode_planning(second.extra)
    assert (number, request.text, catalog) == (2, "do it", "v1")
    assert await hands.history("j") == ["accepted", "round 1", "round 2"]
    assert (await hands.stands("advance"))["ready"] == ["j:advance"], "to withdraw what the first round started"
    assert not await hands.worker("w1").finish(first, "planned", '{"round":1}'), "the first planner comes too late"
