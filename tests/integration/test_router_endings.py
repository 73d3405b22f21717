"""How jobs end: retries and fallbacks first, then what is missing and why; deadlines, ages and cancels."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from swarm.broker.connection import Connection
from swarm.client.client import SwarmClient
from swarm.errors import ModelRefused, ModelUnavailable
from swarm.router.router import Router
from swarm.settings import Settings
from swarm.types.plan import Subtask
from swarm.types.result import Solution, Usage
from tests.clock import pass_time
from tests.integration.processes import ROUTER, claims, echo, expert, kinds, publish, serving, until


class Crew:
    """Experts that fail, hang and recover."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.inside: list[str] = []
        self.experts = (
            expert("echo", self.echo),
            expert("flaky", self.flaky),
            expert("down", self.down),
            expert("refuses", self.refuses),
            expert("guarded", self.refuses, fallback=("down", "echo")),
            expert("hopeless", self.refuses, fallback=("down",)),
            expert("hangs", self.hangs),
            expert("slow", self.hangs, timeout=0.1),
        )

    async def echo(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text=await echo(subtask, inputs), usage=Usage(calls=1))

    async def flaky(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        """Fails as often as the instruction says."""
        self.tries[subtask.id] += 1
        if self.tries[subtask.id] <= int(subtask.instruction):
            raise ModelUnavailable("not yet")
        return "at last"

    async def down(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        raise ModelUnavailable("nobody there", retry_after=0.01)

    async def refuses(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        raise ModelRefused("no key")

    async def hangs(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.inside.append(subtask.id)
        await asyncio.sleep(60)
        return "never"


@pytest.fixture
def crew() -> Crew:
    return Crew()


@pytest.fixture
async def client(settings: Settings, crew: Crew) -> AsyncIterator[SwarmClient]:
    await publish(settings, *crew.experts)
    async with SwarmClient(settings=settings) as client, serving(unhurried(settings), *crew.experts):
        yield client


def unhurried(settings: Settings) -> Settings:
    """A test may let minutes pass, and no claim is lost."""
    return settings.model_copy(update={"lease": 300.0})


def step(name: str, expert: str, instruction: str = "x", *depends_on: str) -> dict[str, Any]:
    return {"id": name, "expert": expert, "instruction": instruction, "depends_on": depends_on}


# -- trying again


async def test_a_failure_that_may_pass_is_tried_again_until_it_does(client: SwarmClient) -> None:
    job = await client.submit("2", expert="flaky")
    answer = await job.answer(40)
    events = await client.log.events(job.id) or []
    delays = [event.delay for event in events if event.type == "released"]

    assert (answer.text, answer.complete) == ("at last", True)
    assert claims(events, "t1") == [(1, 1), (2, 1), (3, 1)]
    assert delays[0] == 0
    assert 100 <= delays[1] <= 200 <= delays[2] <= 400


async def test_a_retry_is_not_started_before_its_delay(client: SwarmClient) -> None:
    job = await client.submit("1", expert="flaky")
    await job.answer(40)
    events = await client.log.events(job.id) or []
    released = [event for event in events if event.type == "released"][1]
    started = [event for event in events if event.type == "started"][1]

    assert started.at >= released.at + released.delay


async def test_attempts_are_counted_and_then_given_up(client: SwarmClient) -> None:
    job = await client.submit("9", expert="flaky", attempts=2)
    answer = await job.answer(40)
    events = await client.log.events(job.id) or []

    assert answer.ending == "failed"
    assert claims(events, "t1") == [(1, 1), (2, 1)]
    assert [(missing.subtask, missing.reason, missing.message) for missing in answer.missing] == [
        ("t1", "unavailable", "not yet")
    ]


async def test_what_will_not_pass_is_not_tried_again(client: SwarmClient) -> None:
    job = await client.submit("x", expert="refuses")
    answer = await job.answer(40)

    assert claims(await client.log.events(job.id) or [], "t1") == [(1, 1)]
    assert (answer.ending, answer.missing[0].reason) == ("failed", "refused")


async def test_fallbacks_are_tried_in_their_order(client: SwarmClient) -> None:
    job = await client.submit("hello", expert="guarded", attempts=2)
    answer = await job.answer(40)
    tried = [event.expert for event in await client.log.events(job.id) or [] if event.type == "released"]

    assert tried == ["guarded", "down", "down", "echo"]
    assert (answer.text, answer.complete) == ("hello", True)


async def test_when_the_last_fallback_fails_the_subtask_has(client: SwarmClient) -> None:
    answer = await client.ask("x", expert="hopeless", attempts=1, timeout=40)

    assert answer.ending == "failed"
    assert [(missing.expert, missing.reason) for missing in answer.missing] == [("down", "unavailable")]


async def test_an_expert_that_hangs_is_stopped_at_its_own_timeout(client: SwarmClient) -> None:
    answer = await client.ask("x", expert="slow", attempts=1, timeout=40)

    assert (answer.ending, answer.missing[0].reason) == ("failed", "timeout")


# -- partial and failed


async def test_a_lost_branch_leaves_the_others(client: SwarmClient) -> None:
    plan = [step("a", "echo", "kept"), step("b", "refuses"), step("c", "echo", "${b}"), step("d", "echo", "${c}")]
    answer = await client.ask("go", plan=plan, timeout=40)

    assert (answer.ending, answer.complete, answer.text) == ("partial", False, "kept")
    assert [(missing.subtask, missing.reason, missing.because) for missing in answer.missing] == [
        ("b", "refused", None),
        ("c", "dependency", "b"),
        ("d", "dependency", "b"),
    ]


async def test_without_any_result_the_job_has_failed(client: SwarmClient) -> None:
    answer = await client.ask("go", plan=[step("a", "refuses"), step("b", "echo", "${a}")], timeout=40)

    assert (answer.ending, answer.complete, answer.segments) == ("failed", False, ())
    assert answer.reason == "0 of 2 subtasks were solved"


# -- time


async def test_at_the_deadline_the_answer_is_made_of_what_is_there(
    client: SwarmClient, crew: Crew, connection: Connection
) -> None:
    plan = [step("a", "echo", "in time"), step("b", "hangs"), step("c", "echo", "${b}")]
    job = await client.submit("go", plan=plan, deadline=100)
    await until(lambda: _has(client, job.id, "outcome"), "the result that is there in time")
    await until(lambda: crew.inside, "a running subtask")
    await pass_time(connection, 99.5)
    answer = await job.answer(40)
    events = [event async for event in job.events()]

    assert (answer.ending, answer.complete, answer.text) == ("deadline", False, "in time")
    assert [(missing.subtask, missing.reason) for missing in answer.missing] == [
        ("b", "unfinished"),
        ("c", "not_started"),
    ]
    assert "deadline" in answer.reason
    assert events[-1].at - events[0].at >= 100_000, "no job ends before its deadline"


async def test_the_deadline_stops_what_runs(settings: Settings, crew: Crew, connection: Connection) -> None:
    await publish(settings, *crew.experts)
    async with SwarmClient(settings=settings) as client, serving(unhurried(settings), *crew.experts) as process:
        job = await client.submit("x", expert="hangs", deadline=100)
        await until(lambda: crew.inside, "a running subtask")
        await pass_time(connection, 100)
        await job.answer(40)
        await until(lambda: not process.worker.runner.tasks, "free slots")
        ended = (await client.log.events(job.id) or [])[-1]

    assert ended.type == "ended"
    assert ended.stopped == ("t1:1",)


async def test_a_deadline_that_is_kept_changes_nothing(client: SwarmClient) -> None:
    answer = await client.ask("hello", expert="echo", deadline=30, timeout=40)

    assert (answer.ending, answer.complete) == ("completed", True)


async def test_a_deadline_counts_while_no_expert_worker_is_there(settings: Settings, crew: Crew) -> None:
    await publish(settings, *crew.experts)
    async with SwarmClient(settings=settings) as client, serving(settings, roles=ROUTER):
        answer = await client.ask("hello", expert="echo", deadline=0.3, timeout=40)

    assert answer.ending == "deadline"


async def test_nothing_waits_longer_than_its_greatest_age(client: SwarmClient) -> None:
    answer = await client.ask("x", expert="hangs", max_age=0.5, timeout=40)

    assert (answer.ending, answer.reason) == ("deadline", "the job reached its maximum age")


async def test_a_retry_does_not_outlive_the_deadline(client: SwarmClient) -> None:
    job = await client.submit("99", expert="flaky", attempts=20, deadline=0.7)
    answer = await job.answer(40)
    events = await client.log.events(job.id) or []

    assert answer.ending == "deadline"
    assert kinds(events)[-1] == "ended"
    assert await client.log._connection.call("ZCARD", client.log._keys.queue("run:flaky@1", "later")) == 0


# -- cancel


async def test_the_receipt_says_what_a_cancel_did(settings: Settings, crew: Crew) -> None:
    one = settings.model_copy(update={"slots": 2})
    await publish(one, *crew.experts)
    plan = [
        step("a", "echo", "done before"),
        step("b", "hangs", "x", "a"),
        step("c", "hangs", "x", "a"),
        step("d", "hangs", "x", "a"),
        step("e", "echo", "${d}"),
    ]
    async with SwarmClient(settings=one) as client, serving(one, *crew.experts):
        job = await client.submit("go", plan=plan)
        await until(lambda: len(crew.inside) == 2, "two running subtasks")
        receipt = await job.cancel(timeout=40)
        answer = await job.answer(40)
        again = await job.cancel(timeout=40)
    running = {f"{name}:1" for name in crew.inside}

    assert receipt.job == job.id
    assert receipt.ending == "cancelled"
    assert set(receipt.stopped) == running
    assert set(receipt.withdrawn) == {"b:1", "c:1", "d:1"} - running
    assert receipt.finished == ("a",)
    assert receipt.usage == Usage(calls=1)
    assert again == receipt
    assert (answer.ending, answer.text) == ("cancelled", "done before")
    assert {missing.subtask for missing in answer.missing} == {"b", "c", "d", "e"}


async def test_a_job_that_has_ended_keeps_its_ending(client: SwarmClient) -> None:
    job = await client.submit("hello", expert="echo")
    await job.answer(40)
    before = await client.log.events(job.id)
    receipt = await job.cancel(timeout=40)

    assert (receipt.ending, receipt.stopped, receipt.withdrawn) == ("completed", (), ())
    assert receipt.finished == ("t1",)
    assert await client.log.events(job.id) == before


async def test_cancelled_ten_times_at_once_a_job_ends_once(client: SwarmClient, crew: Crew) -> None:
    job = await client.submit("x", expert="hangs")
    await until(lambda: crew.inside, "a running subtask")
    receipts = await asyncio.gather(*(job.cancel(timeout=40) for _ in range(10)))
    events = await client.log.events(job.id) or []

    assert len(set(receipts)) == 1
    assert kinds(events).count("cancel_asked") == 1
    assert kinds(events).count("ended") == 1


async def test_a_cancel_before_anything_ran_withdraws_it(settings: Settings, crew: Crew) -> None:
    await publish(settings, *crew.experts)
    async with SwarmClient(settings=settings) as client, serving(settings, roles=ROUTER):
        job = await client.submit("hello", expert="echo")
        await until(lambda: _has(client, job.id, "released"), "the release")
        receipt = await job.cancel(timeout=40)
        left = await client.log._connection.call("ZCARD", client.log._keys.queue("run:echo@1", "ready"))

    assert (receipt.stopped, receipt.withdrawn, receipt.finished) == ((), ("t1:1",), ())
    assert left == 0


async def test_a_cancel_while_the_planner_thinks_ends_the_job(
    settings: Settings, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, stopped = asyncio.Event(), asyncio.Event()

    async def thinks(self: Router, *given: object) -> None:
        inside.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    monkeypatch.setattr(Router, "plan", thinks)
    await publish(settings, *crew.experts)
    async with SwarmClient(settings=settings) as client, serving(settings, *crew.experts):
        job = await client.submit("the test's echo")
        await asyncio.wait_for(inside.wait(), 40)
        receipt = await job.cancel(timeout=40)
        await asyncio.wait_for(stopped.wait(), 40)

    assert receipt.ending == "cancelled"


async def _has(client: SwarmClient, job: str, kind: str) -> bool:
    return kind in kinds(await client.log.events(job) or [])
