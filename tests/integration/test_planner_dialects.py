"""Good and broken answers, served over HTTP in every dialect: each ends in a plan, or in a failure with its reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest

from swarm.llm.openai.models import OpenAIModels
from swarm.planner.model.planner import TURNS
from swarm.planner.planner import Planner
from swarm.settings import Settings
from swarm.testing.dialects import COMMON, DIALECTS, Dialect, FaultKind, InjectedFault
from swarm.testing.model_server import Answer, ModelServer, Received, Stream, chunk
from swarm.types.card import Card, Catalog
from swarm.types.events import Planned
from swarm.types.request import Request

pytest.importorskip("openai")  # loaded here, as it takes longer than these tests give a planner

CARDS = {
    name: Card(name=name, kind="instruction", description=text, model="local/template")
    for name, text in (
        ("triage", "Classifies messages by topic"),
        ("refund-policy", "Answers what the refund and return policy says"),
        ("delivery-times", "Answers how long deliveries take"),
        ("reply-writer", "Writes friendly replies to customers"),
    )
}
CATALOG = Catalog(version="v1", cards=CARDS)
REQUEST = "Classify this message, find the refund rules, then write a reply: 'My lamp came broken'"
LADDER = 3
"""Requests more that it may take to find out how a server wants to be asked for JSON."""
BEYOND = "Bake a cake"
"""A request that fits no expert, so that nothing can stand in for the model."""


def step(name: str, expert: str, instruction: str = "do it", *after: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "expert": expert, "instruction": instruction, "depends_on": list(after), **more}


STEPS = [
    step("t1", "triage", "Classify: 'My lamp came broken'"),
    step("t2", "refund-policy", "What about broken lamps?"),
    step("t3", "reply-writer", "Reply with ${t1} and ${t2}", "t1", "t2"),
]
WHOLE = {"subtasks": STEPS, "aggregate": "pass"}
GOOD = json.dumps(WHOLE)
PRETTY = json.dumps(WHOLE, indent=2)


def plan(*steps: dict[str, Any]) -> str:
    return json.dumps({"subtasks": steps, "aggregate": "pass"})


PLANS = {
    "as asked": GOOD,
    "pretty": PRETTY,
    "bare list": json.dumps(STEPS),
    "another wrapper": json.dumps({"plan": {"steps": STEPS}}),
    "other names of fields": json.dumps(
        [
            {"step_id": s["id"], "agent": s["expert"], "task": s["instruction"], "dependencies": s["depends_on"]}
            for s in STEPS
        ]
    ),
    "json lines": "\n".join(json.dumps(s) for s in STEPS),
    "code fence": f"```json\n{PRETTY}\n```",
    "fence without a language": f"```\n{GOOD}\n```",
    "prose around": f"Sure! Here is the plan you asked for:\n\n{GOOD}\n\nLet me know if you want it changed.",
    "thinking aloud": f"<think>First triage, then the policy {{maybe}}.</think>\n{GOOD}",
    "python literals": repr(WHOLE | {"note": None, "ok": True}),
    "trailing comma": GOOD.replace('"}], "aggregate"', '"},], "aggregate"').replace("]}]", "]},]"),
    "missing comma": PRETTY.replace('"expert": "triage",', '"expert": "triage"'),
    "comments": PRETTY.replace('"subtasks": [', '"subtasks": [ // three of them\n', 1),
    "calls": "[triage(message='My lamp came broken'), refund_policy(question='broken lamps?')]",
    "tool calls in tags": "\n".join(
        f"<tool_call>{json.dumps({'name': s['expert'], 'arguments': {'text': s['instruction']}})}</tool_call>"
        for s in STEPS[:2]
    ),
    "escaped names": GOOD.replace("refund-policy", "refund\\\\_policy").replace("reply-writer", "reply\\\\_writer"),
    "name in another spelling": GOOD.replace("refund-policy", "Refund Policy").replace("reply-writer", "ReplyWriter"),
    "with a byte order mark": "\ufeff" + GOOD,
    "with a condition and a list": plan(
        STEPS[0], step("t2", "reply-writer", "Apologise", "t1", when={"result": "t1", "equals": "refund"})
    ),
}
"""Answers that are a plan, however they are written."""

BROKEN = {
    "unknown expert, far": plan(STEPS[0], step("t2", "moon-lander")),
    "unknown expert, twice": plan(step("t1", "astronomer"), step("t2", "moon-lander")),
    "dangling edge": plan(STEPS[0], step("t2", "reply-writer", "Reply", "t9")),
    "dangling reference": plan(STEPS[0], step("t2", "reply-writer", "Reply with ${t9}")),
    "cycle": plan(step("t1", "triage", "x", "t2"), step("t2", "reply-writer", "y", "t1")),
    "self edge": plan(step("t1", "triage", "x", "t1")),
    "duplicate id": plan(
        step("t1", "triage", "x"), step("t1", "reply-writer", "y"), step("t2", "triage", "${t1}", "t1")
    ),
    "refusal": "I'm sorry, but I can't help with that request.",
    "refusal in json": json.dumps({"error": "I cannot comply with this request."}),
    "program": "```python\nimport triage\n\nfor message in inbox():\n    print(triage.run(message))\n```",
    "cut off": GOOD[:-90],
    "cut in a fence": f"```json\n{PRETTY[:200]}",
    "pretended results": "I ran the experts. Here are the results: it is about a refund, and the policy allows it.",
    "question": "Which of your messages do you want me to plan for?",
    "prose": "First one would classify the message, after which one might look at the policy.",
    "empty object": "{}",
    "no steps": json.dumps({"subtasks": []}),
    "null": "null",
    "a number": "42",
    "blank": "   \n ",
    "runaway repetition": '{"subtasks": [' + ", ".join([json.dumps(STEPS[0])] * 300),
    "nested without end": "[" * 1_000,
    "not of this world": "\x00\ud7ff\uffff}{][" * 50,
}
"""Answers of which no plan can be made, unless the compiler finds a sound way to mend them."""


# -- a planner at a server -----------------------------------------------------------------------------------------


class ScriptedPlanner:
    """The front of a process whose model is at a server, and what that server says."""

    def __init__(self, dialect: Dialect, server: ModelServer, models: OpenAIModels, *, streamed: bool) -> None:
        self.dialect, self.server, self.streamed = dialect, server, streamed
        self._front = Planner(Settings(planner="box/planner", plan_timeout=30, skip=False), models)
        self.begun: list[Planned] = []

    async def plan(self, *answers: str | InjectedFault, request: str = REQUEST) -> tuple[Planned, int]:
        """The plan of a request when the model answers so, the last for ever; and how many calls it took."""
        left = list(answers)
        before, self.begun = len(self.server.requests), []
        self.server.script = self.dialect.speaks(lambda _: left.pop(0) if len(left) > 1 else left[0])
        publish = self._publish if self.streamed else None
        async with asyncio.timeout(40):
            planned = await self._front.plan(Request(text=request), CATALOG, publish=publish)
        return planned, len(self.server.requests) - before

    async def _publish(self, piece: Planned) -> None:
        self.begun.append(piece)


@pytest.fixture(params=["streamed", "whole"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "streamed")


@pytest.fixture(params=DIALECTS, ids=str)
async def planner(request: pytest.FixtureRequest, streamed: bool) -> AsyncIterator[ScriptedPlanner]:
    dialect: Dialect = request.param
    server = ModelServer(lambda received: None)
    async with server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        yield ScriptedPlanner(dialect, server, models, streamed=streamed)


def experts(planned: Planned) -> list[str]:
    return [subtask.expert for subtask in planned.subtasks]


def by_model(planned: Planned) -> bool:
    return planned.planner == "box/planner" and planned.failure is None


async def test_every_way_of_writing_a_plan_is_read_at_the_first_turn(planner: ScriptedPlanner) -> None:
    for name, text in PLANS.items():
        planned, calls = await planner.plan(text)

        assert by_model(planned), f"{name}: {planned.notes}"
        assert experts(planned)[0] == "triage", name
        assert len(planned.subtasks) >= 2, name
        assert calls <= 1 + LADDER, name
        assert planned.usage.calls - planned.usage.unknown == 1, name
        assert {s.id for event in planner.begun for s in event.subtasks} <= {s.id for s in planned.subtasks}, name
    assert calls == 1, "how the server wants to be asked is remembered"


async def test_every_broken_answer_ends_in_a_plan_or_in_a_failure_with_its_reason(planner: ScriptedPlanner) -> None:
    for name, text in BROKEN.items():
        planned, calls = await planner.plan(text, request=BEYOND)

        assert calls <= TURNS + LADDER, name
        if not by_model(planned):
            assert planned.failure is not None, f"{name}: {planned}"
            assert planned.failure.reason == "bad_output", name
            assert "nothing fits 'Bake a cake'" in planned.failure.message, name
            assert planned.subtasks == (), name
            assert sum("turn" in note for note in planned.notes) >= 2, f"{name}: {planned.notes}"


async def test_where_words_fit_the_experts_the_local_planner_stands_in_with_the_reason(
    planner: ScriptedPlanner,
) -> None:
    for name in ("refusal", "cycle", "cut off"):
        planned, _ = await planner.plan(BROKEN[name])

        assert (planned.planner, planned.failure) == ("local/planner", None), name
        assert experts(planned) == ["triage", "refund-policy", "reply-writer"], name
        assert "turn 1" in planned.notes[0], name
        assert any(note.startswith("the planner's model gave no plan: ") for note in planned.notes), name


async def test_a_good_answer_after_a_broken_one_is_the_plan(planner: ScriptedPlanner) -> None:
    for name in ("unknown expert, far", "cycle", "refusal", "program", "cut off", "pretended results", "blank"):
        planned, calls = await planner.plan(BROKEN[name], GOOD)

        assert by_model(planned), f"{name}: {planned.notes}"
        assert calls <= 2 + LADDER, name


REASONS = {"wrong key": "wrong_key", "unknown model": "model_gone", "too long": "too_long"}


async def test_whatever_goes_wrong_at_the_server_falls_back_with_the_reason(planner: ScriptedPlanner) -> None:
    kinds: tuple[FaultKind, ...] = get_args(FaultKind)
    for kind in (kind for kind in kinds if kind in {**COMMON, **planner.dialect.faults}):
        planned, calls = await planner.plan(InjectedFault(kind, GOOD[:120]))
        lost, _ = await planner.plan(InjectedFault(kind, GOOD[:120]), request=BEYOND)

        assert planned.failure is None, kind
        assert planned.planner == "local/planner", kind
        assert experts(planned) == ["triage", "refund-policy", "reply-writer"], kind
        assert calls <= 2 + LADDER, kind
        assert lost.failure is not None, kind
        assert lost.failure.reason == REASONS.get(kind, "unavailable"), kind


async def test_a_server_that_fails_once_costs_one_more_try(planner: ScriptedPlanner) -> None:
    planned, calls = await planner.plan(InjectedFault("upstream", GOOD[:120]), GOOD)

    assert by_model(planned), planned.notes
    assert calls <= 2 + LADDER
    begun = [subtask.id for event in planner.begun for subtask in event.subtasks]
    assert len(begun) == len(set(begun)), "nothing is begun twice"


@pytest.mark.parametrize("where", ["before the first word", "in the middle"])
async def test_a_server_that_hangs_or_hangs_up_is_given_up_in_time(streamed: bool, where: str) -> None:
    async def forever() -> AsyncIterator[Any]:
        yield chunk(GOOD[:120])
        await asyncio.sleep(60)

    async def hang(request: Received) -> Answer:
        if where == "in the middle" and request.streamed:
            return Stream(forever())
        await asyncio.sleep(60)
        return None

    begun: list[Planned] = []

    async def publish(piece: Planned) -> None:
        begun.append(piece)

    for script in (lambda request: None, hang):  # the first call loads the client
        async with ModelServer(script) as server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
            front = Planner(Settings(planner="box/planner", plan_timeout=3, skip=False), models)
            async with asyncio.timeout(40):
                planned = await front.plan(Request(text=BEYOND), CATALOG, publish=publish if streamed else None)

        assert planned.failure is not None
        assert planned.failure.reason in ("timeout", "unavailable")
        assert server.open == 0
    assert bool(begun) == (streamed and where == "in the middle")
