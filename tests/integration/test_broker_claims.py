"""Who gets what: a delivery has one holder, and what nobody wants any more is dropped."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog
from swarm.broker.job_records import Decision, decode_state
from swarm.broker.keys import WAKE_TOKENS
from swarm.broker.queue import Queue, record
from swarm.engine.scheduler import Release
from swarm.settings import Settings
from tests.conftest import Hands, a_request

pytestmark = pytest.mark.usefixtures("held_clock")


async def release_two_attempts(hands: Hands) -> None:
    """A job whose subtask t1 has attempts 1 and 2 in the queue of `a` at once."""
    await hands.submit("j", "t1:a", "t2:b<-t1")
    claim = await hands.take("advance")
    now = decode_state(claim.extra)
    decided = hands.decision("j", now)
    second = (Release(subtask="t1", attempt=2, expert="a"), "run:a", record("run", "j", "t1"))
    both = Decision(decided.progress, decided.cursor, events=decided.events, releases=(*decided.releases, second))
    assert await hands.write(claim, now, both) == "done"


async def test_two_workers_never_get_the_same_delivery(hands: Hands, redis_url: str) -> None:
    for job in range(10):
        await hands.begin(f"j{job}", *(f"t{i}:a" for i in range(10)))
    async with Connection.open(redis_url, hands.keys.prefix) as other:
        workers = [Queue(connection, f"w{i}") for i, connection in enumerate([hands.connection, other] * 4)]
        rounds = await asyncio.gather(*(worker.claim(["run:a"], 3) for worker in workers for _ in range(6)))

    claimed = [claim.id for claims, _ in rounds for claim in claims]
    assert len(claimed) == len(set(claimed)) == 100
    assert (await hands.stands("run:a")).keys() == {"leases"}


async def test_work_is_claimed_in_the_order_it_was_queued_and_in_plan_order_within_a_job(hands: Hands) -> None:
    await hands.begin("j1", "t1:a", "t2:a")
    await hands.begin("j2", "t1:a")

    claims = await hands.claim("run:a", free=10)

    assert [claim.id for claim in claims] == ["j1:t1:1", "j1:t2:1", "j2:t1:1"]


async def test_a_claim_takes_no_more_than_there_are_slots_over_all_its_queues(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a", "t3:b", "t4:b")

    claims, _ = await hands.worker().claim(["run:b", "run:a"], 3)

    assert [claim.id for claim in claims] == ["j:t3:1", "j:t4:1", "j:t1:1"]
    assert (await hands.worker().claim(["run:b", "run:a"], 0))[0] == []
    assert (await hands.stands("run:a"))["ready"] == ["j:t2:1"]


async def test_claims_are_numbered_per_delivery(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a")

    first = await hands.run("a", hands.worker("w1"))
    await hands.expire_lease(first)
    again = await hands.run("a", hands.worker("w2"))
    other = await hands.run("a", hands.worker("w2"))

    assert [claim.owner.partition("~")[0] for claim in (first, again, other)] == ["w1:1", "w2:2", "w2:1"]
    assert (again.id, again.number, again.job, again.queue) == ("j:t1:1", 2, "j", "run:a")


async def test_a_worker_name_may_hold_a_colon_free_of_harm(hands: Hands) -> None:
    await hands.begin("j", "t1:a")

    claim = await hands.run("a", hands.worker("host-1.example_2"))

    assert (claim.owner.partition("~")[0], claim.number) == ("host-1.example_2:1", 1)


async def test_what_a_subtask_that_is_solved_has_left_in_the_queue_is_dropped(hands: Hands) -> None:
    await release_two_attempts(hands)
    first = await hands.run("a")
    assert await hands.solve(first)

    assert await hands.claim("run:a") == []

    assert await hands.stands("run:a") == {}
    assert await hands.call("HGET", hands.keys.job("j") + ":live", "j:t1:2") is None
    assert not await hands.call("EXISTS", hands.keys.delivery("j:t1:2"))


async def test_the_first_solution_wins_and_the_second_is_only_logged(hands: Hands) -> None:
    await release_two_attempts(hands)
    first, second = await hands.claim("run:a", free=2)

    assert await hands.solve(second, "from the second")
    assert await hands.solve(first, "from the first")
    await hands.settle("j")

    progress = await hands.log.progress("j")
    assert progress.solved == {"t1": "t1.2.1"}
    assert (await hands.log.solutions("j", progress.solved))["t1"].text == "from the second"
    assert await hands.field(hands.keys.job("j"), "s:t1") == "t1.2.1"
    assert (await hands.stands("run:b"))["ready"] == ["j:t2:1"], "released once"


async def test_a_body_is_never_overwritten(hands: Hands) -> None:
    await release_two_attempts(hands)
    for claim in await hands.claim("run:a", free=2):
        data = '{"subtask":"t1","attempt":1,"body":"same"}'
        await hands.worker().finish(claim, "outcome", data, body_key="same", body=claim.id)

    assert await hands.log.bodies("j", ["same"]) == {"same": "j:t1:1"}


async def test_deliveries_of_a_job_that_ended_or_is_gone_are_dropped(hands: Hands) -> None:
    for job in ("ended", "gone"):
        await hands.begin(job, "t1:a")
    # what end_job and the lifetime would have taken along, as if a failover had brought it back
    await hands.call("HSET", hands.keys.job("ended"), "ending", "cancelled")
    await hands.call("DEL", hands.keys.job("gone"))

    assert await hands.claim("run:a", free=5) == []

    assert await hands.stands("run:a") == {}
    assert await hands.history("ended") == ["accepted", "planned", "released t1:1"]
    assert not await hands.call("EXISTS", hands.keys.delivery("gone:t1:1"))


async def test_a_delivery_whose_record_is_gone_is_dropped(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.call("DEL", hands.keys.delivery("j:t1:1"))

    assert await hands.claim("run:a") == []
    assert await hands.stands("run:a") == {}


async def test_a_lease_whose_record_is_gone_leaves_no_trace(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    claim = await hands.run("a")
    await hands.expire_lease(claim)
    await hands.call("DEL", hands.keys.delivery("j:t1:1"))

    assert await hands.claim("run:a") == []
    assert await hands.stands("run:a") == {}
    assert not await hands.call("EXISTS", hands.keys.delivery("j:t1:1"))


async def test_a_claim_tells_when_the_next_falls_due(hands: Hands, queue: Callable[..., Queue]) -> None:
    await hands.submit("j", "t1:a", deadline=50)

    claims, due = await queue().claim(["advance"], 1)
    assert len(claims) == 1
    assert due == pytest.approx(50, abs=0.002)
    await hands.advance("j", claims[0])

    await queue().claim(["run:a"], 1)
    _, due = await queue("w2").claim(["run:a"], 1)
    assert due == pytest.approx(1.5, abs=0.002), "a lease that may run out"
    _, due = await queue("w2").claim(["run:b"], 1)
    assert due is None


async def wakes(hands: Hands, name: str) -> int:
    return int(await hands.call("LLEN", hands.keys.queue(name, "wake")))


async def test_wake_tokens_are_few_however_much_is_queued(hands: Hands) -> None:
    for job in range(10):
        await hands.submit(f"j{job}", "t1:a")

    assert await wakes(hands, "advance") == WAKE_TOKENS


async def test_a_claim_that_leaves_work_behind_passes_a_token_on(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a")
    await hands.call("DEL", hands.keys.queue("run:a", "wake"))

    await hands.run("a")
    assert await wakes(hands, "run:a") == 1

    await hands.call("DEL", hands.keys.queue("run:a", "wake"))
    await hands.run("a")
    assert await wakes(hands, "run:a") == 0


async def test_a_job_keeps_no_more_in_flight_than_its_window(
    hands: Hands, connection: Connection, settings: Settings
) -> None:
    log = JobLog(connection, settings.model_copy(update={"window": 2}))
    await log.submit("j", a_request("t1:a", "t2:a", "t3:a"))
    await hands.advance("j")
    assert (await hands.stands("run:a"))["ready"] == ["j:t1:1", "j:t2:1"]

    await hands.solve(await hands.run("a"))
    await hands.settle("j")

    assert (await hands.stands("run:a"))["ready"] == ["j:t2:1", "j:t3:1"]


# -- finishing together


async def test_of_what_finishes_together_each_has_its_own_verdict(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a", "t3:a", "t4:a")
    await hands.begin("k", "t1:b", "t2:c")
    worker = hands.worker("w1")
    claims = await hands.claim("run:a", worker, free=4)
    claims += await hands.claim("run:b", worker)
    await worker.hand_back(claims[1:2])
    assert await hands.solve(await hands.run("c")), "the script is there"
    before = await scripts_run(hands)

    twice = hands.solve(claims[2], worker=worker)
    verdicts = await asyncio.gather(*(hands.solve(claim, worker=worker) for claim in claims), twice)

    assert verdicts == [True, True, True, True, True, False], "good although it was handed back, and once only"
    assert await scripts_run(hands) - before == 2, "one call for each job"
    assert (await hands.log.progress("j")).settled == {"t1", "t2", "t3", "t4"}
    assert (await hands.log.progress("k")).settled == {"t1", "t2"}
    assert await hands.stands("run:a") == {}


async def test_what_one_call_does_not_hold_finishes_in_the_next(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.broker.queue.FINISHED_AT_ONCE", 3)
    await hands.begin("j", *(f"t{number}:a" for number in range(7)))
    worker = hands.worker("w1")

    verdicts = await asyncio.gather(
        *(hands.solve(c, worker=worker) for c in await hands.claim("run:a", worker, free=7))
    )

    assert verdicts == [True] * 7
    assert len((await hands.log.progress("j")).settled) == 7


async def test_who_stops_waiting_does_not_stop_what_finishes_together(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a")
    worker = hands.worker("w1")
    one, other = [
        asyncio.ensure_future(hands.solve(c, worker=worker)) for c in await hands.claim("run:a", worker, free=2)
    ]

    await asyncio.sleep(0)
    one.cancel()

    assert await other
    assert (await hands.log.progress("j")).settled == {"t1", "t2"}


async def scripts_run(hands: Hands) -> int:
    """How many calls of scripts this Redis has answered."""
    info = (await hands.call("INFO", "commandstats")).decode()
    return sum(int(calls) for calls in re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", info))


# -- which queues a claim looks into


async def noted(hands: Hands) -> set[str]:
    return {name.decode() for name in await hands.call("SMEMBERS", f"{hands.keys.prefix}:queues")}


async def commands_run(hands: Hands) -> int:
    return int(re.findall(r"total_commands_processed:(\d+)", (await hands.call("INFO", "stats")).decode())[0])


async def test_a_queue_is_noted_from_its_first_delivery_until_a_claim_finds_it_empty(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    assert "run:a" in await noted(hands)
    claim = await hands.run("a")
    assert "run:a" in await noted(hands), "its lease may run out"
    await hands.solve(claim)

    assert await hands.claim("run:a") == []
    assert "run:a" not in await noted(hands)


@pytest.mark.parametrize("also", ["*", "run:a"])
async def test_what_an_older_process_enqueued_without_a_note_is_found(hands: Hands, also: str) -> None:
    await hands.begin("j", "t1:a")
    await hands.call("DEL", f"{hands.keys.prefix}:queues")

    assert await hands.claim("run:a") == []
    claims, _ = await hands.worker().claim(["run:a", "run:b"], 1, also=also)

    assert [claim.id for claim in claims] == ["j:t1:1"]
    assert await noted(hands) == {"run:a"}


async def test_a_claim_costs_as_many_commands_with_thousands_of_idle_queues(hands: Hands) -> None:
    costs = []
    for job, queues in (("j", ["run:a"]), ("k", ["run:a", *(f"run:idle{i}" for i in range(5_000))])):
        await hands.begin(job, "t1:a")
        before = await commands_run(hands)
        claims, _ = await hands.worker().claim(queues, 5)
        costs.append(await commands_run(hands) - before)
        assert [claim.job for claim in claims] == [job]
        assert await hands.solve(claims[0])
        await hands.settle(job)
    assert abs(costs[1] - costs[0]) < 20


async def test_names_of_empty_queues_that_nobody_serves_go_with_the_next_catalog(hands: Hands) -> None:
    await hands.begin("kept", "t1:a")
    for number in range(20):
        name = f"e{number}"
        await hands.publish(name, version=f"v{name}")
        await hands.begin(f"j{number}", f"t1:{name}")
        await hands.log.cancel(f"j{number}")
        await hands.settle(f"j{number}")
        assert len(await noted(hands)) <= 3, "what is held, and the last one's"
    await hands.publish("another", version="another")

    assert await noted(hands) == {"advance", "run:a"}
    assert (await hands.run("a")).job == "kept", "what holds a delivery is noted still"
    left = await hands.call("KEYS", f"{hands.keys.prefix}:queue:run:e*")
    assert {key.decode().rpartition(":")[2] for key in left} == {"wake", "turns"}
    assert min([await hands.call("PTTL", key) for key in left]) > 0
