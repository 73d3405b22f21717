"""Deciding: one at a time for a job, on all that was read, and nothing twice."""

from __future__ import annotations

import asyncio

import pytest

from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog, new_token
from swarm.broker.job_records import decode_state
from swarm.broker.queue import Claim, Queue
from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.settings import Settings
from swarm.types.answer import Answer
from tests.conftest import Hands, a_request

pytestmark = pytest.mark.usefixtures("held_clock")


async def flag(hands: Hands) -> str | None:
    return await hands.field(hands.keys.job("j"), "advance")


async def wide(hands: Hands, settings: Settings, count: int = 100) -> list[Claim]:
    """A job with `count` subtasks, all of them running."""
    log = JobLog(hands.connection, settings.model_copy(update={"window": count}))
    await log.submit("j", a_request(*(f"t{i}:a" for i in range(count))))
    await hands.advance("j")
    return await hands.claim("run:a", free=count)


async def test_a_hundred_outcomes_while_one_decision_runs_cost_one_more(hands: Hands, settings: Settings) -> None:
    claims = await wide(hands, settings)
    await hands.solve(claims[0])
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    assert await flag(hands) == "running"

    await asyncio.gather(*(hands.solve(other) for other in claims[1:]))

    assert await flag(hands) == "again"
    assert await hands.stands("advance") == {"leases": ["j:advance"], "later": ["j:@timer:1"]}
    assert await hands.write(claim, now, hands.decision("j", now)) == "again"
    assert (await hands.stands("advance"))["ready"] == ["j:advance"]
    assert await hands.advance("j") == "done"
    assert (await hands.history("j"))[-1] == "ended completed"
    assert await hands.claim("advance") == []


async def test_outcomes_while_a_decision_waits_in_the_queue_cost_none_more(hands: Hands, settings: Settings) -> None:
    claims = await wide(hands, settings, 10)
    for claim in claims[:9]:
        await hands.solve(claim)
    assert await flag(hands) == "queued"
    assert (await hands.stands("advance"))["ready"] == ["j:advance"]

    assert await hands.advance("j") == "done"

    assert await flag(hands) is None
    assert await hands.claim("advance") == []
    assert len((await hands.log.progress("j")).settled) == 9


async def test_what_comes_after_the_claim_is_decided_on_next_and_not_lost(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b", "t3:c<-t1,t2")
    await hands.solve(await hands.run("a"))
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    await hands.solve(await hands.run("b"))
    decided = hands.decision("j", now)
    assert decided.releases == ()
    assert decided.cursor < len(await hands.history("j"))

    assert await hands.write(claim, now, decided) == "again"

    again = await hands.take("advance")
    assert [event.type for event in decode_state(again.extra).events] == ["started", "outcome"]
    assert await hands.advance("j", again) == "done"
    assert await hands.stands("run:c") == {"ready": ["j:t3:1"]}


async def test_a_flag_set_before_the_claim_is_answered_by_that_claim(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b", "t3:c")
    await hands.solve(await hands.run("a"))
    dying = await hands.take("advance", hands.worker("r1"))
    await hands.solve(await hands.run("b"))
    assert await flag(hands) == "again"
    await hands.expire_lease(dying)

    claim = await hands.take("advance", hands.worker("r2"))

    assert await flag(hands) == "running", "cleared by the claim, because the claim reads what set it"
    assert await hands.advance("j", claim) == "done"
    assert len((await hands.log.progress("j")).settled) == 2


async def test_a_router_that_dies_after_its_claim_is_followed_by_one_that_decides_the_same(hands: Hands) -> None:
    await hands.submit("j", "t1:a", "t2:b<-t1")
    dead = await hands.take("advance", hands.worker("r1"))
    first = hands.decision("j", decode_state(dead.extra))
    await hands.expire_lease(dead)

    claim = await hands.take("advance", hands.worker("r2"))
    second = hands.decision("j", decode_state(claim.extra))

    assert second.progress == first.progress
    assert (second.cursor, second.events) == (first.cursor, first.events)
    assert [each[0] for each in second.releases] == [each[0] for each in first.releases]
    assert await hands.write(dead, decode_state(dead.extra), first) == "gone"
    assert await hands.history("j") == ["accepted"]
    assert await hands.write(claim, decode_state(claim.extra), second) == "done"
    assert await hands.history("j") == ["accepted", "planned", "released t1:1"]


async def test_writing_again_after_a_lost_reply_doubles_nothing(hands: Hands) -> None:
    await hands.submit("j", "t1:a", "t2:b")
    claim = await hands.take("advance")
    now, token = decode_state(claim.extra), new_token()
    decided = hands.decision("j", now)

    assert await hands.write(claim, now, decided, token) == "done"
    before = await hands.history("j")
    assert await hands.write(claim, now, decided, token) == "done"

    assert await hands.history("j") == before
    assert await hands.stands("run:a") == {"ready": ["j:t1:1"]}


async def test_writing_again_after_another_decision_writes_nothing(hands: Hands) -> None:
    await hands.submit("j", "t1:a", "t2:b<-t1")
    claim = await hands.take("advance")
    now, token = decode_state(claim.extra), new_token()
    decided = hands.decision("j", now)
    assert await hands.write(claim, now, decided, token) == "done"
    await hands.solve(await hands.run("a"))
    assert await hands.advance("j") == "done"
    before = await hands.history("j")

    assert await hands.write(claim, now, decided, token) == "gone"

    assert await hands.history("j") == before


async def test_a_decision_on_what_has_been_decided_since_is_a_conflict(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b")
    await hands.solve(await hands.run("a"))
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    await hands.call("HSET", hands.keys.job("j"), "token", "somebody else's")
    before = await hands.history("j")

    assert await hands.write(claim, now, hands.decision("j", now)) == "conflict"

    assert await hands.history("j") == before
    assert await hands.worker().hand_back([claim]) == 1
    assert await hands.advance("j") == "done", "read again, it goes through"


async def test_handing_a_decision_back_loses_no_request_for_it(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b")
    await hands.solve(await hands.run("a"))
    claim = await hands.take("advance")
    await hands.solve(await hands.run("b"))
    await hands.worker().hand_back([claim])

    await hands.settle("j")

    assert (await hands.history("j"))[-1] == "ended completed"


async def test_progress_is_the_fold_of_the_log_up_to_the_cursor(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b<-t1", "t3:c<-t2")
    for expert in ("a", "b"):
        claim = await hands.run(expert)
        if expert == "b":
            await hands.fail(claim, after=0.001)
            await hands.settle("j")
            await hands.fall_due("run:b", "j:t2:2")
            claim = await hands.run("b")
        await hands.solve(claim)
        await hands.settle("j")
        decision = await hands.run("c") if expert == "b" else None
        if decision is not None:
            await hands.solve(decision)

    now = decode_state((await hands.take("advance")).extra)
    events = await hands.log.events("j") or []
    assert now.progress == fold(Progress(), events[: now.cursor])
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert now.events == tuple(events[now.cursor :])
    assert await hands.log.progress("j") == fold(now.progress, now.events)


async def test_the_request_is_handed_over_only_before_the_first_decision(hands: Hands) -> None:
    await hands.submit("j", "t1:a")
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    assert now.request == a_request("t1:a")
    assert (now.catalog, now.cursor, now.token, now.ended) == ("v1", 0, "", False)
    await hands.advance("j", claim)

    await hands.solve(await hands.run("a"))

    now = decode_state((await hands.take("advance")).extra)
    assert now.request is None
    assert now.token


async def test_releasing_what_is_in_the_queue_already_adds_nothing(hands: Hands) -> None:
    await hands.submit("j", "t1:a", "t2:b")
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    decided = hands.decision("j", now)
    await hands.write(claim, now, decided)
    running = await hands.run("a")
    await hands.log.cancel("j")
    again = await hands.take("advance")
    reread = decode_state(again.extra)

    assert await hands.write(again, reread, decided) == "done"

    assert await hands.stands("run:a") == {"leases": [running.id]}
    assert await hands.stands("run:b") == {"ready": ["j:t2:1"]}


async def test_two_routers_at_once_share_the_jobs_and_no_decision(hands: Hands, redis_url: str) -> None:
    for i in range(20):
        await hands.submit(f"j{i}", "t1:a", "t2:b<-t1")
    async with Connection.open(redis_url, hands.keys.prefix) as other:
        routers = [Queue(hands.connection, "r1"), Queue(other, "r2")]

        async def route(router: Queue) -> int:
            done = 0
            while claims := await hands.claim("advance", router, free=3):
                answers = await asyncio.gather(*(hands.advance(claim.job, claim) for claim in claims))
                assert set(answers) == {"done"}
                done += len(claims)
            return done

        assert sum(await asyncio.gather(*map(route, routers))) == 20

    assert len((await hands.stands("run:a"))["ready"]) == 20


async def test_an_answer_written_by_a_delivery_reaches_the_next_decision(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.solve(await hands.run("a"))
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    decided = hands.decision("j", now)
    asked = type(decided)(decided.progress, decided.cursor, ask_answer=True)
    assert await hands.write(claim, now, asked) == "done"
    answering = await hands.take("answer")
    body = Answer(job="j", ending="completed", complete=True, text="all of it").model_dump_json()

    assert await hands.worker().finish(answering, "answered", '{"body":"answer"}', body_key="answer", body=body)

    progress = await hands.log.progress("j")
    assert progress.answer == "answer"
    assert await hands.log.bodies("j", ["answer", "nothing"]) == {"answer": body}
    await hands.settle("j")
    assert (await hands.history("j"))[-2:] == ["answered", "ended completed"]
