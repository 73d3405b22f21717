"""A job ends once; what it had queued is withdrawn, what runs is stopped, and nothing follows. Time ends it too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from swarm.broker.job_records import decode_state
from swarm.engine.scheduler import Withdraw
from swarm.errors import JobNotFound
from swarm.types.events import Ended
from tests.conftest import Hands


@asynccontextmanager
async def listening(hands: Hands, channel: str) -> AsyncIterator[list[str]]:
    """What is said on a channel meanwhile; complete when the block is left."""
    heard: list[str] = []
    pubsub: Any = hands.connection.client.pubsub()
    async with pubsub:
        await pubsub.subscribe(channel)
        assert (await pubsub.get_message(timeout=40))["type"] == "subscribe"
        yield heard
        await hands.call("PUBLISH", channel, "that is all")
        while (message := await pubsub.get_message(timeout=40))["data"] != b"that is all":
            heard.append(message["data"].decode())


async def cancelled(hands: Hands) -> Ended:
    await hands.log.cancel("j")
    await hands.settle("j")
    last = ((await hands.log.events("j")) or [])[-1]
    assert isinstance(last, Ended)
    assert last.ending == "cancelled"
    return last


# -- the ending ------------------------------------------------------------------------------------------------


async def test_the_ending_withdraws_what_waits_and_stops_what_runs(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a", "t3:b", "t4:c")
    await hands.run("a", hands.worker("w1"))
    await hands.fail(await hands.run("b"), after=30)
    await hands.solve(await hands.run("c"))
    await hands.settle("j")
    assert await hands.stands("run:b") == {"later": ["j:t3:2"]}

    async with listening(hands, hands.keys.stop("w1")) as stops:
        last = await cancelled(hands)

    assert (last.stopped, last.withdrawn) == (("t1:1",), ("t2:1", "t3:2"))
    assert [stop.partition("~")[0] for stop in stops] == ["j:t1:1 w1:1"] * 2, (
        "when the cancel is asked for, and at the end, should that be missed"
    )
    for queue in ("run:a", "run:b", "run:c", "advance", "plan", "answer"):
        assert await hands.stands(queue) == {}
    assert not await hands.call("KEYS", f"{hands.keys.prefix}:delivery:*")
    assert not await hands.call("EXISTS", hands.keys.job("j") + ":live")
    assert not await hands.call("EXISTS", hands.keys.open, hands.keys.open + ":default")
    assert await hands.call("ZRANGE", hands.keys.ended, 0, -1) == [b"j"]


async def test_nothing_is_appended_after_the_ending(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b")
    running = await hands.run("a")
    await cancelled(hands)
    before = await hands.history("j")

    assert not await hands.solve(running)
    assert not await hands.fail(running)
    assert await hands.worker().renew([running]) == [running.id]
    assert await hands.worker().hand_back([running]) == 0
    assert not await hands.log.cancel("j")
    assert not await hands.submit("j", "t1:a", "t2:b")
    for queue in ("advance", "plan", "answer", "run:a", "run:b"):
        assert await hands.claim(queue) == []

    assert await hands.history("j") == before
    assert await hands.log.bodies("j", ["t1.1.1"]) == {}


async def test_a_held_delivery_of_a_job_that_ended_behind_its_back_is_dropped_without_a_word(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    running = await hands.run("a")
    # what a failover may bring back: the ending is there, the delivery again too
    await hands.call("HSET", hands.keys.job("j"), "ending", "cancelled")
    before = await hands.history("j")

    await hands.solve(running)

    assert await hands.history("j") == before
    assert await hands.stands("run:a") == {}
    assert await hands.log.bodies("j", ["t1.1.1"]) == {}


async def test_a_decision_on_a_job_that_has_ended_writes_nothing(hands: Hands) -> None:
    await hands.submit("j", "t1:a")
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    await hands.call("HSET", hands.keys.job("j"), "ending", "cancelled")

    assert await hands.write(claim, now, hands.decision("j", now)) == "done"

    assert await hands.history("j") == ["accepted"]
    assert await hands.stands("run:a") == {}


async def test_who_follows_is_told_of_the_last_of_the_events_that_came_together(hands: Hands) -> None:
    await hands.submit("j", "t1:a")

    async with listening(hands, hands.keys.events("j")) as told:
        await hands.advance("j")

    events = await hands.log.events("j") or []
    assert [event.type for event in events] == ["accepted", "planned", "released"]
    assert told == [events[-1].id]


async def test_what_a_decision_withdraws_is_stopped_or_never_runs(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a", "t3:b", "t4:c")
    running = await hands.run("a", hands.worker("w1"))
    await hands.solve(await hands.run("c"))
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    decided = hands.decision("j", now)
    withdrawals = tuple(Withdraw(subtask=name, attempt=1) for name in ("t1", "t2"))
    decided = replace(decided, withdrawals=withdrawals)

    async with listening(hands, hands.keys.stop("w1")) as stops:
        assert await hands.write(claim, now, decided) == "done"

    assert [stop.partition("~")[0] for stop in stops] == ["j:t1:1 w1:1"]
    assert await hands.stands("run:a") == {}
    assert await hands.stands("run:b") == {"ready": ["j:t3:1"]}
    assert not await hands.solve(running)
    assert await hands.log.bodies("j", ["t1.1.1"]) == {}


# -- cancelling --------------------------------------------------------------------------------------------------


async def test_cancelling_twice_asks_once(hands: Hands) -> None:
    await hands.submit("j", "t1:a")
    assert await hands.log.cancel("j")
    assert await hands.log.cancel("j")

    assert await hands.history("j") == ["accepted", "cancel_asked"]


async def test_a_job_cancelled_before_its_first_decision_runs_nothing(hands: Hands) -> None:
    await hands.submit("j", "t1:a")

    await cancelled(hands)

    assert await hands.stands("run:a") == {}
    assert "released t1:1" not in await hands.history("j")


async def test_a_job_cancelled_while_it_is_planned_stops_its_planner(hands: Hands) -> None:
    await hands.submit("j")
    planning = await hands.take("plan", hands.worker("p1"))

    async with listening(hands, hands.keys.stop("p1")) as stops:
        last = await cancelled(hands)

    assert {stop.partition("~")[0] for stop in stops} == {"j:plan p1:1"}
    assert (last.stopped, last.withdrawn) == ((), ()), "attempts at subtasks only"
    assert not await hands.worker("p1").finish(planning, "planned", '{"round":1}')


async def test_what_runs_for_a_cancelled_job_is_stopped_before_the_decision_that_ends_it(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a", "t3:b")
    running = [await hands.run("a", hands.worker("w1")) for _ in range(2)]

    async with listening(hands, hands.keys.stop("w1")) as stops:
        await hands.log.cancel("j")
        await hands.log.cancel("j", "t1")

    assert sorted(stops) == [claim.key for claim in running]
    assert await hands.stands("run:b") == {"ready": ["j:t3:1"]}
    assert (await hands.history("j"))[-2:] == ["cancel_asked", "cancel_asked"]


async def test_what_was_stopped_for_a_cancelled_job_is_not_run_again_while_nobody_decides(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    running = await hands.run("a", hands.worker("w1"))
    await hands.log.cancel("j")
    await hands.expire_lease(running)

    assert await hands.claim("run:a", hands.worker("w2")) == []
    assert await hands.field(hands.keys.delivery("j:t1:1"), "lost") is None
    await hands.settle("j")

    last = ((await hands.log.events("j")) or [])[-1]
    assert isinstance(last, Ended)
    assert last.stopped == ("t1:1",)
    assert await hands.stands("run:a") == {}


async def test_nothing_of_a_job_is_claimed_once_its_cancel_was_asked(hands: Hands) -> None:
    await hands.begin("j", *(f"t{n}:a" for n in range(4)))
    await hands.begin("other", "t1:a")
    running, handed_back = await hands.claim("run:a", free=2)
    await hands.log.cancel("j")
    await hands.worker().hand_back([handed_back])

    assert [claim.id for claim in await hands.claim("run:a", free=10)] == ["other:t1:1"]
    assert await hands.stands("run:a") == {"leases": [running.id, "other:t1:1"]}
    await hands.settle("j")

    ended = ((await hands.log.events("j")) or [])[-1]
    assert isinstance(ended, Ended)
    assert (ended.stopped, ended.withdrawn) == (("t0:1",), ("t1:1", "t2:1", "t3:1"))
    assert await hands.stands("run:a") == {"leases": ["other:t1:1"]}
    assert not await hands.call("KEYS", hands.keys.delivery("j:*"))


async def test_a_plan_is_not_made_once_the_cancel_of_its_job_was_asked(hands: Hands) -> None:
    await hands.submit("j")
    await hands.log.cancel("j")

    assert await hands.claim("plan") == []
    await hands.settle("j")
    assert (await hands.history("j"))[-1] == "ended cancelled"


async def test_what_a_decision_releases_after_the_cancel_was_asked_never_starts(hands: Hands) -> None:
    await hands.submit("j", "t1:a")
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    await hands.log.cancel("j")
    await hands.write(claim, now, hands.decision("j", now))

    assert await hands.claim("run:a") == []
    await hands.settle("j")
    assert (await hands.log.receipt("j")).withdrawn == ("t1:1",)


async def test_a_subtask_whose_cancel_was_asked_is_not_claimed_and_its_siblings_are(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t10:a")
    await hands.log.cancel("j", "t1")

    assert [claim.id for claim in await hands.claim("run:a", free=5)] == ["j:t10:1"]
    await hands.settle("j")

    taken = [e for e in await hands.log.history("j") if e.type == "withdrawn"]
    assert [(event.subtask, event.stopped) for event in taken] == [("t1", False)]
    assert await hands.stands("run:a") == {"leases": ["j:t10:1"]}


async def test_what_still_runs_after_the_cancel_is_told_to_stop_by_its_renewal_too(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a")
    claims = await hands.claim("run:a", free=2)
    await hands.log.cancel("j", "t2")
    assert await hands.worker().renew(claims) == ["j:t2:1"]
    await hands.log.cancel("j")
    assert await hands.worker().renew(claims) == ["j:t1:1", "j:t2:1"]

    await hands.settle("j")
    assert (await hands.log.receipt("j")).stopped == ("t1:1", "t2:1"), "they were claimed until then"


async def test_a_decision_that_is_lost_is_taken_up_again_though_its_job_is_to_be_cancelled(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.log.cancel("j")
    await hands.expire_lease(await hands.take("advance", hands.worker("r1")))

    assert (await hands.take("advance", hands.worker("r2"))).id == "j:advance"


async def test_an_unknown_job_cannot_be_cancelled(hands: Hands) -> None:
    with pytest.raises(JobNotFound):
        await hands.log.cancel("nothing")
    assert not await hands.call("EXISTS", hands.keys.job("nothing"))
