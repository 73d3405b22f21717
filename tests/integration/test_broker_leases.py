"""A lease holds while its worker is heard of. What a lost worker held comes back, but not for ever."""

from __future__ import annotations

import pytest

from swarm.broker.job_records import Decision, decode_planning, decode_state
from swarm.broker.keys import SEEN_FIELDS
from swarm.broker.queue import MAX_LOST, Claim
from tests.conftest import Hands

pytestmark = pytest.mark.usefixtures("held_clock")


async def gaps(hands: Hands) -> int:
    """How many gaps are remembered in which nobody was there."""
    return len((await hands.field(f"{hands.keys.prefix}:seen", "gaps") or "").split())


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


# -- poison ------------------------------------------------------------------------------------------------------


async def lose(hands: Hands, queue: str) -> Claim:
    """Have every worker that takes it lost, until it is one too many; answers the last claim."""
    for _ in range(MAX_LOST):
        claim = await hands.take(queue)
        await hands.expire_lease(claim)
    assert claim.number == MAX_LOST
    assert await hands.claim(queue) == []
    return claim


async def assert_dead_letter(hands: Hands, claim: Claim) -> None:
    ((_, fields),) = await hands.call("XRANGE", hands.keys.dead, "-", "+")
    listed = dict(zip(fields[::2], fields[1::2], strict=True))
    assert (listed[b"delivery"].decode(), listed[b"queue"].decode()) == (claim.id, claim.queue)
    letter = f"{hands.keys.dead}:{claim.id}"
    assert await hands.call("PTTL", letter) > 0
    kept = [(await hands.field(letter, name) or "") for name in ("record", "queue", "lost", "job", "tenant")]
    assert kept == [claim.record.decode(), claim.queue, str(MAX_LOST), claim.job, "default"]
    losses = (await hands.field(letter, "losses") or "").splitlines()
    assert [line.partition("~")[0] for line in losses] == [f"w1:{n + 1}" for n in range(MAX_LOST)]
    assert claim.id not in str(await hands.stands(claim.queue))
    assert not await hands.call("EXISTS", hands.keys.delivery(claim.id))


async def test_a_subtask_that_loses_every_worker_fails_and_the_rest_goes_on(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b")

    claim = await lose(hands, "run:a")

    assert (await hands.history("j"))[-1] == "poison t1:1"
    await assert_dead_letter(hands, claim)
    await hands.settle("j")
    assert (await hands.log.progress("j")).steps["t1"].state == "failed"
    await hands.solve(await hands.run("b"))
    await hands.settle("j")
    assert (await hands.history("j"))[-1] == "ended partial"


async def test_a_plan_that_loses_every_planner_is_rejected(hands: Hands) -> None:
    await hands.submit("j")

    claim = await lose(hands, "plan")

    # the advance that the second round asked for is still in the queue, and sees it all
    assert (await hands.history("j"))[-1] == "planned poison"
    await assert_dead_letter(hands, claim)
    await hands.settle("j")
    assert (await hands.history("j"))[-1] == "ended rejected"


async def test_an_answer_that_loses_every_writer_is_made_without_one(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.solve(await hands.run("a"))
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    decided = hands.decision("j", now)
    assert await hands.write(claim, now, Decision(decided.progress, decided.cursor, ask_answer=True)) == "done"

    lost = await lose(hands, "answer")

    assert (await hands.history("j"))[-1] == "answered poison"
    await assert_dead_letter(hands, lost)
    await hands.settle("j")
    assert (await hands.history("j"))[-1] == "ended completed"


async def test_a_decision_that_loses_every_router_ends_the_job(hands: Hands) -> None:
    await hands.submit("j", "t1:a")

    claim = await lose(hands, "advance")

    await assert_dead_letter(hands, claim)
    assert await hands.history("j") == ["accepted", "ended failed"]
    answer = await hands.log.answer("j")
    assert answer is not None
    assert (answer.ending, answer.complete) == ("failed", False)
    assert "3 times" in answer.reason
    assert await hands.stands("advance") == {}
    assert [job.state for job in await hands.log.jobs()] == ["failed"]


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


# -- after an outage ---------------------------------------------------------------------------------------------


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
