"""How long a planner's model is waited for, and what may begin on its server while it still writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from swarm.llm.base import Message
from swarm.planner.base import Publish
from swarm.planner.model.spare_capacity import SLOW, SpareCapacity
from swarm.planner.planner import Planner
from swarm.settings import Settings
from swarm.testing.scripted_model import ScriptedModels
from swarm.types.card import Card, Catalog
from swarm.types.events import Planned
from swarm.types.plan import Subtask
from swarm.types.request import Request

CARDS = {
    name: Card(name=name, kind="instruction", description=said, model=model)
    for name, said, model in (
        ("triage", "Sorts messages by topic", "box/small"),
        ("policy", "Says what the refund policy says", "elsewhere/big"),
        ("reply", "Writes replies to customers", "box/small"),
    )
}
CLEAR = "Sort this message by topic, then write a reply to the customer."
LOSSY = "Sort this message by topic and send it to Anna."
STEP = {"id": "t1", "expert": "policy", "instruction": "Say it.", "depends_on": []}
PLAN = json.dumps({"subtasks": [STEP, STEP | {"id": "t2", "expert": "triage"}], "aggregate": "join"})


def front(pieces: Callable[[Sequence[Message]], AsyncIterator[str]], **settings: Any) -> Planner:
    given = {"planner": "box/planner", "skip": False, "plan_timeout": 5.0, **settings}
    return Planner(Settings(**given), ScriptedModels(pieces))


async def planned(front: Planner, text: str, publish: Publish | None = None) -> Planned:
    return await front.plan(Request(text=text), Catalog(version="1", cards=CARDS), publish=publish)


async def silent(messages: Sequence[Message]) -> AsyncIterator[str]:
    await asyncio.sleep(60)
    yield PLAN


async def rambling(messages: Sequence[Message]) -> AsyncIterator[str]:
    while True:
        await asyncio.sleep(0.02)
        yield "Let me think about this. "


async def slow_but_sure(messages: Sequence[Message]) -> AsyncIterator[str]:
    half = PLAN.index("}") + 1
    for part in PLAN[:half], PLAN[half:-1]:
        yield part
        await asyncio.sleep(0.8)
    yield PLAN[-1]


async def endless(messages: Sequence[Message]) -> AsyncIterator[str]:
    yield PLAN[: PLAN.index("Say it.")]
    while True:
        await asyncio.sleep(0.02)
        yield "and again "


# -- the first step ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [silent, rambling, endless])
async def test_a_model_without_a_first_step_is_not_waited_for_where_a_plan_stands_ready(model: Any) -> None:
    found = await planned(front(model, plan_first_step=0.2), CLEAR)

    assert [subtask.expert for subtask in found.subtasks] == ["triage", "reply"]
    assert found.planner == "local/planner"
    assert any("no step within 0.2 s" in note for note in found.notes)
    assert found.usage.calls == 1


async def test_a_model_whose_steps_keep_coming_may_take_its_time() -> None:
    found = await planned(front(slow_but_sure, plan_first_step=1.5), CLEAR)

    assert (found.planner, [subtask.expert for subtask in found.subtasks]) == ("box/planner", ["policy", "triage"])


async def test_where_no_plan_stands_ready_the_model_has_all_its_time() -> None:
    found = await planned(front(rambling, plan_first_step=0.1, plan_timeout=0.5), "Bake a cake.")

    assert found.failure is not None
    assert "no plan within 0.5 s" in found.failure.message


async def test_where_the_plan_that_stands_ready_lacks_something_the_model_has_twice_the_time() -> None:
    found = await planned(front(rambling, plan_first_step=0.1), LOSSY)

    assert any("no step within 0.2 s" in note for note in found.notes), found.notes


async def test_a_model_that_gave_no_plan_in_that_time_is_not_asked_to_mend_it() -> None:
    calls = []

    async def wrong(messages: Sequence[Message]) -> AsyncIterator[str]:
        calls.append(messages)
        yield PLAN.replace("policy", "moonlanding")
        await asyncio.sleep(0.3)
        yield " triage("

    found = await planned(front(wrong, plan_first_step=0.2), CLEAR)

    assert found.planner == "local/planner"
    assert len(calls) == 1


# -- room on the server --------------------------------------------------------------------------------------------


def sub(name: str, expert: str, *after: str) -> Subtask:
    return Subtask(id=name, expert=expert, instruction="do it", depends_on=after)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def begun(slots: int | None, first: float, *ready: Subtask) -> list[str]:
    clock = Clock()
    room = SpareCapacity("box/planner", lambda endpoint: slots, clock)
    room.asks()
    clock.now = first
    room.hears()
    return [subtask.id for subtask in room.of(ready, CARDS)]


def test_an_only_slot_is_not_taken_before_the_plan_is_whole() -> None:
    here, also, elsewhere = sub("a", "triage"), sub("b", "reply"), sub("c", "policy")

    assert begun(1, 0.1, here, also, elsewhere) == ["c"]
    assert begun(2, 0.1, here, also, elsewhere) == ["c"]
    assert begun(3, 0.1, here, also, elsewhere) == ["a", "c"]
    assert begun(8, 0.1, here, also, elsewhere) == ["a", "b", "c"]


def test_a_server_of_unknown_size_has_room_if_it_began_at_once() -> None:
    assert begun(None, 0.1, sub("a", "triage"), sub("b", "reply")) == ["a", "b"]
    assert begun(None, 2 * SLOW, sub("a", "triage"), sub("c", "policy")) == ["c"]


def test_what_waits_for_a_subtask_that_may_not_begin_waits_too() -> None:
    assert begun(1, 0.1, sub("a", "triage"), sub("c", "policy", "a")) == []
