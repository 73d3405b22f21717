"""Reading a job: from any event on, and knowing when that event is no more."""

from __future__ import annotations

import pytest

from swarm.broker import job_log
from swarm.engine.job_status import JobStatus
from swarm.errors import JobNotFound, TooLarge
from swarm.types.events import Released
from swarm.types.result import Solution
from tests.conftest import Hands


async def test_events_go_on_after_the_last_one_seen(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    events = await hands.log.events("j")
    assert events is not None
    assert [event.type for event in events] == ["accepted", "planned", "released"]

    assert await hands.log.events("j", events[0].id) == events[1:]
    assert await hands.log.events("j", events[-1].id) == []
    await hands.run("a")
    later = await hands.log.events("j", events[-1].id)
    assert later is not None
    assert [event.type for event in later] == ["started"]


async def test_an_event_tells_its_number_and_its_time(hands: Hands) -> None:
    before = await hands.now()
    await hands.begin("j", "t1:a")

    released = ((await hands.log.events("j")) or [])[2]

    assert isinstance(released, Released)
    assert (released.seq, released.subtask, released.attempt, released.expert) == (3, "t1", 1, "a")
    assert int(before) <= released.at <= await hands.now()


async def test_events_come_in_pages(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "EVENTS_AT_ONCE", 4)
    await hands.begin("j", *(f"t{i}:a" for i in range(10)))

    first = await hands.log.events("j")
    assert first is not None
    assert len(first) == 4
    second = await hands.log.events("j", first[-1].id)
    assert second is not None
    assert [event.seq for event in second] == [5, 6, 7]
    assert len((await hands.log.progress("j")).steps) == 10


async def test_a_log_that_was_rolled_back_is_told_to_who_had_read_further(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    events = await hands.log.events("j") or []
    last = events[-1]

    await hands.call("XDEL", hands.keys.log("j"), last.id)
    assert await hands.log.events("j", last.id) is None, "shorter than what was read"
    assert await hands.log.events("j", events[1].id) == []

    raw = hands.keys.log("j")
    await hands.call("DEL", raw)
    for event in events[:2]:
        await hands.call("XADD", raw, event.id, event.type, event.model_dump_json(exclude={"id", "type"}))
    await hands.call("XADD", raw, f"{last.seq}-{last.at + 5_000}", "cancel_asked", "{}")
    await hands.call("PEXPIRE", raw, 60_000)
    assert await hands.log.events("j", last.id) is None, "the same number, but another event"
    resumed = await hands.log.events("j", events[1].id)
    assert resumed is not None
    assert [event.type for event in resumed] == ["cancel_asked"]


async def test_a_log_that_is_gone_is_told_to_who_had_read_it(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    last = ((await hands.log.events("j")) or [])[-1]
    await hands.call("DEL", hands.keys.log("j"))

    assert await hands.log.events("j", last.id) is None
    assert await hands.log.events("j") == []


async def test_what_is_not_there_is_said_to_be_not_there(hands: Hands) -> None:
    assert await hands.log.bodies("nothing", []) == {}
    assert await hands.log.solutions("nothing", {"t1": "t1.1.1"}) == {}
    with pytest.raises(JobNotFound):
        await hands.log.answer("nothing")
    with pytest.raises(JobNotFound):
        await hands.log.ended("nothing")
    with pytest.raises(JobNotFound):
        await hands.log.progress("nothing")


async def test_the_answer_is_there_from_the_ending_on(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    assert await hands.log.answer("j") is None
    await hands.solve(await hands.run("a"))
    await hands.settle("j")

    answer = await hands.log.answer("j")

    assert answer is not None
    assert (answer.ending, answer.complete) == ("completed", True)


async def test_jobs_are_listed_open_ones_first_and_newest_first(hands: Hands) -> None:
    for job in ("j1", "j2", "j3", "j4"):
        await hands.begin(job, "t1:a")
    for _ in range(2):
        claim = await hands.run("a")
        await hands.solve(claim)
        await hands.settle(claim.job)
    await hands.submit("j5")
    await hands.submit("j6")
    assert (await hands.take("plan")).job == "j5"

    listed = await hands.log.jobs()

    assert [job.id for job in listed] == ["j6", "j5", "j4", "j3", "j2", "j1"]
    assert [job.state for job in listed] == ["queued", "planning", "running", "running", "completed", "completed"]
    assert [job.id for job in await hands.log.jobs(3)] == ["j6", "j5", "j4"]
    assert [job.id for job in await hands.log.jobs(ended=False)] == ["j6", "j5", "j4", "j3"]
    assert (listed[-1].text, listed[-1].tenant) == ("do it", "default")


async def test_a_job_that_ends_while_the_list_is_read_is_in_it_once(hands: Hands) -> None:
    await hands.begin("j1", "t1:a")
    await hands.call("ZADD", hands.keys.ended, await hands.now(), "j1")

    assert [job.id for job in await hands.log.jobs()] == ["j1"]


async def test_a_listed_job_counts_what_nobody_has_decided_on_yet(hands: Hands) -> None:
    await hands.begin("j1", "t1:a", "t2:a")
    await hands.solve(await hands.run("a"))
    await hands.fail(await hands.run("a"), retryable=False)
    (listed,) = await hands.log.jobs()
    status = JobStatus.of("j1", await hands.log.progress("j1"))

    assert (listed.settled, listed.subtasks, listed.state) == (2, 2, "running")
    assert (status.settled, status.subtasks, status.failed) == (2, 2, ("t2",))


async def test_results_of_items_are_read_no_further_than_an_instruction_could_hold(hands: Hands) -> None:
    """Their data counts like their words: many small texts may carry much."""
    bodies = {f"t1#{i}": f"t1#{i}.1.1" for i in range(1, 40)}
    body = Solution(text="short", data="x" * 100_000).model_dump_json()
    key = hands.keys.bodies("j1")
    await hands.call("HSET", key, *(part for name in bodies.values() for part in (name, body)))
    await hands.call("PEXPIRE", key, 10_000)

    with pytest.raises(TooLarge, match="the results of t1"):
        await hands.log.results("j1", {}, {"t1": bodies})
    few = await hands.log.results("j1", {}, {"t1": dict(list(bodies.items())[:3])})

    assert few["t1"].data == ["x" * 100_000] * 3
