"""What the scripts promise to planning: pieces under a held claim only, numbers asked for once, withdrawals told."""

from __future__ import annotations

import pytest

from swarm.broker.job_records import Decision, decode_planning, decode_state
from swarm.broker.queue import MAX_LOST
from swarm.settings import Settings
from swarm.types.events import Accepted, Planned
from swarm.types.request import Request
from tests.builders import planned, subtasks
from tests.conftest import Hands

pytestmark = pytest.mark.usefixtures("held_clock")

PIECE = Planned(round=1, subtasks=subtasks("r1.t1:a"), closed=False)


async def test_a_piece_is_appended_while_the_claim_is_held(hands: Hands) -> None:
    await hands.submit("j")
    claim = await hands.take("plan")

    assert await hands.log.append(claim, PIECE)
    assert await hands.log.append(claim, PIECE), "a call that is repeated means the same"
    assert await hands.history("j") == ["accepted", "round 1", "planned", "planned"]
    assert await hands.advance("j") == "done"
    assert await hands.stands("run:a") == {"ready": ["j:r1.t1:1"]}
    assert await hands.stands("plan") == {"leases": ["j:plan"]}, "the planner goes on"


async def test_a_planner_whose_claim_is_lost_appends_nothing(hands: Hands) -> None:
    await hands.submit("j")
    dead = await hands.take("plan", hands.worker("r1"))
    await hands.expire_lease(dead)
    claim = await hands.take("plan", hands.worker("r2"))

    assert not await hands.log.append(dead, PIECE)
    assert await hands.log.append(claim, PIECE.model_copy(update={"round": 2}))
    assert (await hands.history("j"))[-3:] == ["round 1", "round 2", "planned"]


async def test_a_planner_whose_job_has_ended_appends_nothing(hands: Hands) -> None:
    await hands.submit("j")
    claim = await hands.take("plan")
    await hands.log.cancel("j")
    await hands.settle("j")
    before = await hands.history("j")

    assert not await hands.log.append(claim, PIECE)
    assert await hands.history("j") == before


async def test_another_plan_is_asked_for_once_however_often_it_is_decided(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b", "t3:c")
    for expert, again in (("a", 2), ("b", 2), ("c", 3)):
        await hands.solve(await hands.run(expert))
        claim = await hands.take("advance")
        now = decode_state(claim.extra)
        decided = hands.decision("j", now)
        assert await hands.write(claim, now, Decision(decided.progress, decided.cursor, ask_plan=again)) == "done"
        if expert == "a":
            assert await hands.stands("plan") == {"ready": ["j:plan:2"]}
            plan = await hands.take("plan")
            number, request, version = decode_planning(plan.extra)
            assert (number, request.text, version) == (1, "do it", "v1")
            assert await hands.worker().finish(plan, "planned", '{"round":1,"failure":{"reason":"bug","message":"x"}}')
        if expert == "b":
            assert await hands.stands("plan") == {}, "it was made, and is not made again"

    assert await hands.stands("plan") == {"ready": ["j:plan:3"]}


async def test_an_answer_is_asked_for_once_however_often_it_is_decided(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b")
    for expert in ("a", "b"):
        await hands.solve(await hands.run(expert))
        claim = await hands.take("advance")
        now = decode_state(claim.extra)
        decided = hands.decision("j", now)
        assert await hands.write(claim, now, Decision(decided.progress, decided.cursor, ask_answer=1)) == "done"
        if expert == "a":
            answering = await hands.take("answer")
            assert answering.id == "j:answer"
            assert await hands.worker().finish(answering, "answered", '{"lacking":"the price"}')

    assert await hands.stands("answer") == {}


async def test_a_withdrawal_is_on_record_and_decided_no_more(hands: Hands) -> None:
    await hands.submit("j")
    first = await hands.take("plan", hands.worker("r1"))
    await hands.log.append(first, PIECE)
    await hands.advance("j")
    await hands.expire_lease(first)
    second = await hands.take("plan", hands.worker("r2"))
    await hands.settle("j")

    assert (await hands.history("j"))[-2:] == ["round 2", "withdrawn"]
    assert await hands.stands("run:a") == {}
    whole = planned(subtasks("r2.t1:b"), round=2)
    data = whole.model_dump_json(exclude={"id", "type"}, exclude_defaults=True)
    assert await hands.worker("r2").finish(second, "planned", data)
    await hands.settle("j")
    assert (await hands.history("j")).count("withdrawn") == 1


async def test_a_planner_that_dies_of_planning_again_closes_its_round_as_failed(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b")
    await hands.solve(await hands.run("a"))
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    decided = hands.decision("j", now)
    await hands.write(claim, now, Decision(decided.progress, decided.cursor, ask_plan=2))
    for number in range(MAX_LOST):
        await hands.expire_lease(await hands.take("plan", hands.worker(f"r{number}")))
    assert await hands.claim("plan") == []

    assert (await hands.history("j"))[-1] == "planned poison"
    assert (await hands.log.progress("j")).cause is None, "what else the job does goes on"


async def test_what_a_request_says_of_plans_is_accepted_with_it(hands: Hands, settings: Settings) -> None:
    await hands.log.submit("j1", Request(text="go"))
    await hands.log.submit("j2", Request(text="go", replans=3, plan_only=True))
    (first,) = await hands.log.events("j1") or []
    (second,) = await hands.log.events("j2") or []

    assert isinstance(first, Accepted)
    assert (first.replans, first.plan_only, first.max_items) == (settings.replans, False, settings.max_items)
    assert isinstance(second, Accepted)
    assert (second.replans, second.plan_only) == (3, True)


async def test_a_list_of_jobs_knows_a_given_plan_at_once(hands: Hands) -> None:
    await hands.submit("j", "t1:a", "t2:b<-t1")
    assert [(job.settled, job.subtasks) for job in await hands.log.jobs()] == [(0, 2)]

    await hands.advance("j")
    assert [(job.settled, job.subtasks) for job in await hands.log.jobs()] == [(0, 2)]
    await hands.solve(await hands.run("a"))
    await hands.settle("j")
    assert [(job.settled, job.subtasks) for job in await hands.log.jobs()] == [(1, 2)]
