"""What loses its worker again and again becomes a dead letter."""

from __future__ import annotations

import pytest

from swarm.broker.job_records import Decision, decode_state
from swarm.broker.queue import MAX_LOST, Claim
from tests.conftest import Hands

pytestmark = pytest.mark.usefixtures("held_clock")


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
