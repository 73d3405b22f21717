"""A model plans over HTTP, in a whole swarm: work begins while the plan is written, and is taken back with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from swarm.client.client import SwarmClient
from swarm.errors import ModelRefused
from swarm.settings import Settings
from swarm.testing.model_server import DONE, USAGE, Answer, ModelServer, Received, Reply, Stream, chunk
from swarm.types.events import Planned, RoundOpened, Started
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.processes import echo, expert, publish, serving, until

WITHIN = 8.0


def step(name: str, expert: str, instruction: str, *after: str) -> dict[str, Any]:
    return {"id": name, "expert": expert, "instruction": instruction, "depends_on": list(after)}


def plan_text(*steps: Mapping[str, Any], aggregate: str = "join") -> str:
    return json.dumps({"subtasks": steps, "aggregate": aggregate})


FIRST = step("t1", "quick", "one")
SECOND = step("t2", "quick", "two")


async def spoken(text: str, *, cut_at: str = "", wait: asyncio.Event | None = None) -> AsyncIterator[Any]:
    """The events of a streamed answer; at `cut_at` it waits until the test lets it go on."""
    before, mark, after = text.partition(cut_at) if cut_at else (text, "", "")
    for at in range(0, len(before), 20):
        yield chunk(before[at : at + 20])
    if wait is not None:
        await wait.wait()
    if mark:
        yield chunk(mark + after)
    yield chunk(finish_reason="stop")
    yield chunk(choices=[], usage=USAGE)
    yield DONE


class Crew:
    """Experts that note who began and who was stopped."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.stopped: list[str] = []
        self.experts = (
            expert("quick", self.quick, description="Echoes at once."),
            expert("slow", self.slow, description="Thinks for a minute."),
            expert("broken", self.broken, description="Never works."),
        )

    async def quick(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.begun.append(subtask.instruction)
        return await echo(subtask, inputs)

    async def slow(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.begun.append(subtask.instruction)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.stopped.append(subtask.instruction)
            raise
        return "too late"

    async def broken(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        raise ModelRefused("it never works")


@pytest.fixture
def crew() -> Crew:
    return Crew()


Ask = Callable[..., Any]


@pytest.fixture
async def swarm(settings: Settings, crew: Crew) -> AsyncIterator[tuple[SwarmClient, ModelServer]]:
    """A client and workers whose planner's model is at a server; the test sets what that server says."""
    async with ModelServer(lambda request: None) as server:
        planned_by = settings.model_copy(update={"planner": "box/planner", "skip": False, "plan_timeout": 5.0})
        await publish(planned_by, *crew.experts)
        environ = {"SWARM_ENDPOINT_BOX_URL": server.url}
        serves = serving(planned_by, *crew.experts, environ=environ)
        async with serves, SwarmClient(settings=planned_by) as client:
            yield client, server


async def test_a_subtask_begins_before_the_plan_is_written(swarm: tuple[SwarmClient, ModelServer], crew: Crew) -> None:
    client, server = swarm
    go_on = asyncio.Event()
    text = plan_text(FIRST, SECOND)
    server.script = lambda request: Stream(spoken(text, cut_at='{"id": "t2"', wait=go_on))

    job = await client.submit("Do one and two")
    await until(lambda: crew.begun, "the first subtask while the server holds the second back")
    assert crew.begun == ["one"]
    assert server.open == 1, "the model is still writing"
    go_on.set()
    answer = await job.answer(timeout=WITHIN)

    assert (answer.ending, answer.complete) == ("completed", True)
    assert [segment.text for segment in answer.segments] == ["one", "two"]
    assert crew.begun == ["one", "two"]
    assert answer.usage.input_tokens == USAGE["prompt_tokens"]
    history = [event async for event in job.events()]
    kinds = [event.type for event in history if isinstance(event, (RoundOpened, Planned, Started))]
    assert kinds.index("started") < len(kinds) - 1 - kinds[::-1].index("planned")


async def test_what_the_finished_plan_rejects_is_stopped_and_leaves_no_trace_in_the_answer(
    swarm: tuple[SwarmClient, ModelServer], crew: Crew
) -> None:
    client, server = swarm
    go_on = asyncio.Event()
    wrong = plan_text(step("t1", "slow", "think"), step("t2", "nobody-at-all", "two"))
    right = plan_text(FIRST, SECOND)

    def script(request: Received) -> Answer:
        return Stream(spoken(wrong, cut_at='{"id": "t2"', wait=go_on)) if len(server.requests) == 1 else right

    server.script = script
    job = await client.submit("Do one and two")
    await until(lambda: crew.begun == ["think"], "the first subtask")
    go_on.set()
    answer = await job.answer(timeout=WITHIN)

    assert answer.ending == "completed"
    assert [segment.text for segment in answer.segments] == ["one", "two"]
    await until(lambda: crew.stopped == ["think"], "the end of what was rejected")
    assert len(server.requests) == 2


async def test_a_model_without_a_plan_leaves_the_job_to_the_local_planner_and_says_so(
    swarm: tuple[SwarmClient, ModelServer], crew: Crew
) -> None:
    client, server = swarm
    server.script = lambda request: "I'm sorry, but I can't help with that."

    job = await client.submit("Echo this at once: 'hello'")
    answer = await job.answer(timeout=WITHIN)
    planned = [event async for event in job.events() if isinstance(event, Planned)][-1]

    assert answer.ending == "completed"
    assert planned.planner == "local/planner"
    assert "turn 1: refusal" in planned.notes[1]
    assert any(note.startswith("the planner's model gave no plan: ") for note in planned.notes)
    assert answer.usage.calls == 2


async def test_a_failure_is_planned_around_with_what_is_done(
    swarm: tuple[SwarmClient, ModelServer], crew: Crew
) -> None:
    client, server = swarm
    first = plan_text(FIRST, step("t2", "broken", "two"))
    second = plan_text(step("t3", "quick", "two after ${r1.t1}", "r1.t1"), aggregate="pass")

    def script(request: Received) -> Answer:
        again = "A first plan was carried out" in request.last
        if again:
            assert '"id": "r1.t1"' in request.last
            assert "it never works" in request.last
        return second if again else first

    server.script = script
    job = await client.submit("Do one and two", replans=1)
    answer = await job.answer(timeout=WITHIN)

    assert answer.ending == "completed"
    assert "two after one" in answer.text
    assert crew.begun.count("one") == 1, "what was done is not done again"
    assert len(server.requests) == 2


async def test_a_planner_that_finds_nothing_left_to_do_ends_the_job_with_what_is_there(
    swarm: tuple[SwarmClient, ModelServer], crew: Crew
) -> None:
    client, server = swarm
    first = plan_text(FIRST, step("t2", "broken", "two"))
    server.script = lambda request: plan_text() if "A first plan was carried out" in request.last else first

    job = await client.submit("Do one and two", replans=2)
    answer = await job.answer(timeout=WITHIN)
    notes = [event.notes for event in [e async for e in job.events()] if isinstance(event, Planned)][-1]

    assert (answer.ending, answer.segments[0].text) == ("partial", "one")
    assert any("nothing is left to do" in note for note in notes)
    assert len(server.requests) == 2


async def test_why_a_planner_could_not_plan_again_is_told_in_the_answer(
    swarm: tuple[SwarmClient, ModelServer], crew: Crew
) -> None:
    client, server = swarm
    first = plan_text(FIRST, step("t2", "broken", "two"))
    away = Reply({"error": {"message": "CUDA out of memory"}}, 500, {"retry-after": "0.05"})
    server.script = lambda request: away if "A first plan was carried out" in request.last else first

    answer = await (await client.submit("Do one and two", replans=1)).answer(timeout=WITHIN)

    assert (answer.ending, answer.segments[0].text) == ("partial", "one")
    assert "planning again failed: box/" in answer.reason
    assert ": HTTP 500: CUDA out of memory; check the log of the server" in answer.reason


async def test_a_plan_that_is_only_shown_starts_nothing(swarm: tuple[SwarmClient, ModelServer], crew: Crew) -> None:
    client, server = swarm
    server.script = lambda request: plan_text(FIRST, SECOND)

    report = await client.plan("Do one and two", timeout=WITHIN)

    assert [subtask.expert for subtask in report.plan.subtasks] == ["quick", "quick"]
    assert crew.begun == []


async def test_a_request_that_was_planned_before_is_not_planned_again(
    swarm: tuple[SwarmClient, ModelServer], crew: Crew
) -> None:
    client, server = swarm
    server.script = lambda request: plan_text(
        step("t1", "quick", "look for parcel 17"), step("t2", "quick", "say when parcel 17 comes, by ${t1}", "t1")
    )
    first = await (await client.submit("Look for parcel 17 and say when it comes")).answer(timeout=WITHIN)
    job = await client.submit("Look for parcel 42 and say when it comes")
    second = await job.answer(timeout=WITHIN)
    planned = [event async for event in job.events() if isinstance(event, Planned)][-1]

    assert len(server.requests) == 1
    assert "parcel 17" in first.text
    assert "parcel 42" in second.text
    assert "17" not in second.text
    assert second.usage.calls == 0
    assert any(note.startswith("plan cache: hit, similarity") for note in planned.notes)
