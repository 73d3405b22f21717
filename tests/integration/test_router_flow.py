"""From a request to its answer: a plan that is given, an expert that is named, a text that is planned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from experts.base import Allowance, allowance
from swarm.client.client import SwarmClient
from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.engine.scheduler import HEAVY
from swarm.errors import ModelRefused, ModelUnavailable
from swarm.settings import Settings
from swarm.types.plan import Plan, Subtask
from swarm.types.result import Citation, Solution, Usage
from tests.integration.processes import echo, expert, kinds, publish, serving, until


class Crew:
    """Experts that answer at once, and a record of what they were given."""

    def __init__(self) -> None:
        self.given: dict[str, dict[str, str]] = {}
        self.attempts: list[Allowance] = []
        self.experts = (
            expert("echo", self.echo),
            expert("upper", self.upper),
            expert("label", self.label),
            expert("cite", self.cite),
            expert("late", self.late, timeout=1),
            expert("cut", self.cut),
            expert("refund", self.echo, description="Answers questions about refunds and returned parcels."),
            expert("weather", self.echo, description="Tells the weather forecast for a city."),
        )

    def _note(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> None:
        self.given[subtask.id] = {name: solution.text for name, solution in inputs.items()}

    async def echo(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        self._note(subtask, inputs)
        return Solution(text=await echo(subtask, inputs), usage=Usage(calls=1, input_tokens=10))

    async def upper(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self._note(subtask, inputs)
        return (await echo(subtask, inputs)).upper()

    async def label(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text=subtask.instruction, data={"label": subtask.instruction})

    async def late(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        """Misses its time once; then says what its second attempt is told of the first."""
        self.attempts.append(allowance())
        if len(self.attempts) == 1:
            await asyncio.sleep(20)
        return f"{self.attempts[-1].attempt}, after {self.attempts[-1].after}"

    async def cut(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text="half a lett", caveats=("cut",))

    async def cite(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text="31 days", citations=(Citation(document="rules.md", quote="within 31 days"),))


@pytest.fixture
def crew() -> Crew:
    return Crew()


@pytest.fixture
async def client(settings: Settings, crew: Crew) -> AsyncIterator[SwarmClient]:
    await publish(settings, *crew.experts)
    async with SwarmClient(settings=settings) as client, serving(settings, *crew.experts):
        yield client


def step(name: str, expert: str, instruction: str, *depends_on: str) -> dict[str, Any]:
    return {"id": name, "expert": expert, "instruction": instruction, "depends_on": depends_on}


# -- three ways in


async def test_a_named_expert_answers(client: SwarmClient) -> None:
    answer = await client.ask("hello", expert="echo", timeout=40)

    assert (answer.text, answer.ending, answer.complete) == ("hello", "completed", True)
    assert [(segment.expert, segment.subtasks) for segment in answer.segments] == [("echo", ("t1",))]
    assert answer.usage == Usage(calls=1, input_tokens=10)


async def test_an_attempt_knows_why_the_one_before_failed(client: SwarmClient, crew: Crew) -> None:
    answer = await client.ask("hello", expert="late", timeout=40)

    assert answer.text == "2, after timeout"
    assert [seen.after for seen in crew.attempts] == ["", "timeout"]


async def test_words_that_were_cut_are_an_answer_whose_reason_says_so(client: SwarmClient) -> None:
    answer = await client.ask("hello", expert="cut", timeout=40)

    assert (answer.text, answer.complete) == ("half a lett", True)
    assert answer.segments[0].caveats == ("cut",)
    assert answer.reason == "ends too early, at a limit: t1 (cut)"


async def test_a_text_is_planned(client: SwarmClient) -> None:
    job = await client.submit("Tell the weather forecast for Oslo. Then answer questions about returned parcels.")
    answer = await job.answer(40)
    events = await client.log.events(job.id) or []
    planned = next(event for event in events if event.type == "planned")

    assert [(subtask.id, subtask.expert) for subtask in planned.subtasks] == [
        ("r1.t1", "weather"),
        ("r1.t2", "refund"),
    ]
    assert (planned.round, planned.closed, planned.planner) == (1, True, "local/planner")
    assert planned.notes
    assert answer.complete


async def test_a_wish_that_no_expert_claims_is_told_with_the_answer(client: SwarmClient) -> None:
    """The plan is by meaning, or by words where no encoder is installed or a busy machine takes long to load it."""
    job = await client.submit("Tell the weather forecast for Oslo and write a poem.")
    answer = await job.answer(120)
    planned = next(event for event in await client.log.events(job.id) or [] if event.type == "planned")

    (told,) = planned.left_out
    assert told.startswith("'write a poem")
    assert answer.reason == f"perhaps not done: {told}"


async def test_a_text_that_fits_no_expert_is_rejected_with_their_names(client: SwarmClient) -> None:
    answer = await client.ask("xyzzy plugh", timeout=40)

    assert (answer.ending, answer.complete, answer.segments) == ("rejected", False, ())
    assert "weather" in answer.reason


async def test_a_text_that_grows_past_its_cap_is_rejected(client: SwarmClient) -> None:
    """`${` in a text is written apart, so that it names no subtask; a text may be too large only then."""
    job = await client.submit("${a}" * 249_000, expert="echo")
    answer = await job.answer(40)

    assert answer.ending == "rejected"
    assert "1,245,000 bytes" in answer.reason
    assert kinds(await client.log.events(job.id) or []) == ["accepted", "planned", "ended"]


async def test_results_travel_along_the_edges(client: SwarmClient, crew: Crew) -> None:
    plan = [
        step("a", "echo", "one"),
        step("b", "upper", "two ${a}"),
        step("c", "echo", "${a} and ${b}"),
        step("d", "echo", "only after", "c"),
    ]
    answer = await client.ask("go", plan=plan, timeout=40)

    assert crew.given == {
        "a": {},
        "b": {"a": "one"},
        "c": {"a": "one", "b": "TWO ONE"},
        "d": {"c": "one and TWO ONE"},
    }
    assert answer.text == "only after"
    assert answer.segments[0].subtasks[0] == "d"
    assert set(answer.segments[0].subtasks) == {"a", "b", "c", "d"}


async def test_nothing_runs_before_what_it_waits_for(client: SwarmClient) -> None:
    plan = [step(f"t{i}", "echo", "x", *([f"t{i - 1}"] if i else [])) for i in range(6)]
    job = await client.submit("go", plan=plan)
    await job.answer(40)
    order = [
        (event.type, event.subtask)
        for event in await client.log.events(job.id) or []
        if event.type in ("started", "outcome")
    ]

    assert order == [(what, f"t{i}") for i in range(6) for what in ("started", "outcome")]


async def test_the_log_tells_the_whole_story_and_folds_to_the_same(client: SwarmClient) -> None:
    job = await client.submit("go", plan=[step("a", "echo", "x"), step("b", "echo", "${a}")])
    await job.answer(40)
    events = await client.log.events(job.id) or []

    assert kinds(events) == [
        "accepted", "planned",
        "released", "started", "outcome",
        "released", "started", "outcome",
        "ended",
    ]  # fmt: skip
    assert [event.seq for event in events] == list(range(1, 10))
    progress = fold(Progress(), events)
    for cut in range(len(events)):
        assert fold(fold(Progress(), events[:cut]), events[cut:]) == progress


async def test_subtasks_may_be_called_as_the_deliveries_of_ours_are(settings: Settings) -> None:
    """Each is tried twice, and is in the queue under its name for a while; the answer is a delivery of its own."""
    tried: set[str] = set()

    async def again(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        if subtask.id not in tried:
            tried.add(subtask.id)
            raise ModelUnavailable("not yet", retry_after=0.01)
        return subtask.instruction

    flaky = expert("flaky", again)
    names = ("timer", "advance", "plan", "answer")
    heavy = "x" * (HEAVY // 4 + 1_000)
    await publish(settings, flaky)
    async with SwarmClient(settings=settings) as client, serving(settings, flaky):
        job = await client.submit("go", plan=[step(name, "flaky", heavy) for name in names])
        answer = await job.answer(40)
        events = await client.log.events(job.id) or []

    assert answer.complete
    assert [segment.subtasks for segment in answer.segments] == [(name,) for name in names]
    assert {event.type for event in events} == {
        "accepted", "planned", "released", "started", "outcome", "answered", "ended",
    }  # fmt: skip


# -- one answer


async def test_after_a_fallback_the_expert_that_answered_is_named(settings: Settings) -> None:
    async def refuses(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        raise ModelRefused("not that")

    experts = expert("guarded", refuses, fallback=("spare",)), expert("spare", echo)
    await publish(settings, *experts)
    async with SwarmClient(settings=settings) as client, serving(settings, *experts):
        answer = await client.ask("go", plan=[step("a", "guarded", "one"), step("b", "spare", "two")], timeout=40)

    assert [segment.expert for segment in answer.segments] == ["spare", "spare"]
    assert answer.text == "## spare (a)\n\none\n\n## spare (b)\n\ntwo"
    assert answer.complete


async def test_several_sinks_are_joined_in_plan_order(client: SwarmClient) -> None:
    answer = await client.ask("go", plan=[step("b", "echo", "second"), step("a", "echo", "first")], timeout=40)

    assert answer.aggregate == "join"
    assert [segment.text for segment in answer.segments] == ["second", "first"]
    assert answer.text.index("second") < answer.text.index("first")


async def test_votes_are_counted(client: SwarmClient) -> None:
    votes = [step(f"v{i}", "label", word) for i, word in enumerate(("late", "lost", "late"))]
    answer = await client.ask("go", plan={"subtasks": votes, "aggregate": "vote"}, timeout=40)

    assert answer.aggregate == "vote"
    assert answer.data == {"label": "late", "counts": {"late": 2, "lost": 1}, "tied": []}


async def test_citations_reach_the_answer_through_those_who_used_them(client: SwarmClient) -> None:
    answer = await client.ask("go", plan=[step("a", "cite", "how long?"), step("b", "echo", "It is ${a}.")], timeout=40)

    assert answer.text == "It is 31 days."
    assert [citation.document for citation in answer.segments[0].citations] == ["rules.md"]


async def test_heavy_results_are_answered_in_a_delivery_of_their_own(client: SwarmClient) -> None:
    each = HEAVY // 2 + 1_000
    job = await client.submit("go", plan=[step("a", "echo", "x" * each), step("b", "echo", "y" * each)])
    answer = await job.answer(40)
    events = await client.log.events(job.id) or []

    assert kinds(events)[-2:] == ["answered", "ended"]
    assert answer.complete
    assert [len(segment.text) for segment in answer.segments] == [each, each]


async def test_light_results_need_no_such_delivery(client: SwarmClient) -> None:
    job = await client.submit("go", plan=[step("a", "echo", "x"), step("b", "echo", "y")])
    await job.answer(40)

    assert "answered" not in kinds(await client.log.events(job.id) or [])


async def test_an_answer_past_its_cap_says_what_it_left_out(settings: Settings, crew: Crew) -> None:
    small = settings.model_copy(update={"max_answer": 5_000})
    await publish(small, *crew.experts)
    async with SwarmClient(settings=small) as client, serving(small, *crew.experts):
        answer = await client.ask(
            "go", plan=[step("a", "echo", "x" * 4_000), step("b", "echo", "y" * 4_000)], timeout=40
        )

    assert (answer.ending, answer.complete) == ("partial", False)
    assert answer.reason == "1 parts do not fit the 5,000 bytes of an answer (SWARM_MAX_ANSWER of the routers): b"
    assert [segment.subtasks for segment in answer.segments] == [("a",)]
    assert [(missing.subtask, missing.reason) for missing in answer.missing] == [("b", "too_large")]


async def test_a_result_past_its_cap_is_a_failure(client: SwarmClient) -> None:
    """A megabyte of instruction is accepted; as a result with all around it, it is too much."""
    answer = await client.ask("x" * 999_999, expert="echo", timeout=40)

    assert answer.ending == "failed"
    assert answer.missing[0].reason == "too_large"


# -- the window


async def test_a_job_has_no_more_in_flight_than_its_window(settings: Settings) -> None:
    inside: set[str] = set()
    most = 0
    go_on = asyncio.Event()

    async def gated(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        nonlocal most
        inside.add(subtask.id)
        most = max(most, len(inside))
        await go_on.wait()
        inside.remove(subtask.id)
        return "through"

    held = expert("held", gated)
    await publish(settings, held)
    narrow = settings.model_copy(update={"window": 3})
    async with SwarmClient(settings=narrow) as client, serving(settings, held):
        job = await client.submit("go", plan=[step(f"t{i}", "held", "x") for i in range(10)])
        await until(lambda: len(inside) == 3, "a full window")
        released = kinds(await client.log.events(job.id) or []).count("released")
        go_on.set()
        answer = await job.answer(40)

    assert released == 3
    assert most == 3
    assert answer.complete


async def test_a_thousand_subtasks_are_one_job(client: SwarmClient) -> None:
    plan = Plan.read([step(f"t{i}", "echo", str(i)) for i in range(1_000)])
    answer = await client.ask("go", plan=plan, timeout=40)

    assert answer.complete
    assert [segment.text for segment in answer.segments] == [str(i) for i in range(1_000)]
