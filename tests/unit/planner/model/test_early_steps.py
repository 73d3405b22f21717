"""Steps of a plan begin while its model still writes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import pytest

from swarm.errors import (
    ModelUnavailable,
)
from swarm.llm.base import Message
from swarm.planner.local.planner import MAX_PLAN
from swarm.types.events import Planned
from tests.unit.planner.model.asking import GOOD, UNKNOWN, Published, experts, plan, plan_text, step, stream


async def test_subtasks_are_published_while_the_plan_is_written_and_stand_in_it() -> None:
    published = Published()
    seen: list[int] = []

    async def script(messages: Sequence[Message]) -> AsyncIterator[str]:
        for at in range(0, len(GOOD), 5):
            seen.append(len(published.subtasks))
            yield GOOD[at : at + 5]

    planned, _ = await plan(script, publish=published)

    assert [subtask.id for subtask in published.subtasks] == ["t1", "t2", "t3"]
    assert set(seen) == {0, 1, 2, 3}
    assert all(not event.closed and event.planner == "test/planner" for event in published.events)
    assert published.events[0].fallbacks == {"t1": ("reply",)}
    assert tuple(published.subtasks) == planned.subtasks
    assert any("3 began while it was written, 0 of them were discarded" in note for note in planned.notes)


async def test_a_step_waits_for_those_it_names_and_for_the_end_if_it_needs_mending() -> None:
    text = plan_text(
        step("t3", "reply", "with ${t1}", "t1"), step("t1", "triage"), step("t2", "moonlanding"), step("t4", "Policy")
    )
    published = Published()
    planned, _ = await plan(stream(text, GOOD), publish=published)

    assert [subtask.id for subtask in published.subtasks] == ["t1", "t3", "t4"]
    assert published.subtasks[2].expert == "policy"
    assert planned.failure is None


async def test_a_step_that_may_name_another_in_its_own_way_waits_for_the_end() -> None:
    text = plan_text(step("t1", "triage"), step("t2", "reply", "with <triage>"), step("t3", "reply", "with {{t1}}"))
    published = Published()
    planned, _ = await plan(stream(text), publish=published)

    assert [subtask.id for subtask in published.subtasks] == ["t1"]
    assert [subtask.depends_on for subtask in planned.subtasks] == [(), ("t1",), ("t1",)]


async def test_conditions_and_lists_begin_early_too() -> None:
    text = plan_text(
        step("t1", "triage"),
        step("t2", "reply", "to ${item}", "t1", for_each="t1"),
        step("t3", "policy", "x", when={"result": "t1", "equals": "refund"}),
    )
    published = Published()
    planned, _ = await plan(stream(text), publish=published)

    assert published.subtasks == list(planned.subtasks)
    assert [bool(s.for_each or s.when) for s in planned.subtasks] == [False, True, True]


async def test_an_id_is_published_once_however_often_it_comes() -> None:
    text = plan_text(step("t1", "triage", "one"), step("t1", "policy", "two"))
    published = Published()
    await plan(stream(text), publish=published)

    assert [(subtask.id, subtask.expert) for subtask in published.subtasks] == [("t1", "triage")]


async def test_a_stream_that_breaks_off_is_begun_anew_and_nothing_is_published_twice() -> None:
    published = Published()
    planned, model = await plan(stream(GOOD[:150], ModelUnavailable("it broke off"), GOOD), publish=published)

    assert planned.failure is None
    assert len(model.calls) == 2
    assert [subtask.id for subtask in published.subtasks] == ["t1", "t2", "t3"]


async def test_a_repair_turn_keeps_what_began_if_it_is_still_wanted() -> None:
    published = Published()
    planned, model = await plan(stream(UNKNOWN, GOOD), publish=published)

    assert [subtask.id for subtask in published.subtasks] == ["t1"]
    assert planned.subtasks[0] == published.subtasks[0]
    assert len(model.calls) == 2


async def test_a_model_that_does_not_stop_is_hung_up_on() -> None:
    closed: list[bool] = []

    async def script(messages: Sequence[Message]) -> AsyncIterator[str]:
        if "no plan that can run" in messages[-1].content:
            yield GOOD
            return
        try:
            yield '{"subtasks": ['
            for number in range(1_000_000):
                yield json.dumps(step(f"t{number}", "triage", f"Sort part {number}")) + ", "
        finally:
            closed.append(True)

    published = Published()
    planned, model = await plan(script, publish=published, settings={"max_subtasks": 10})

    assert experts(planned) == ["triage", "policy", "reply"]
    assert closed == [True]
    assert len(published.subtasks) <= 10
    assert len(model.calls) == planned.usage.calls == 2


async def test_what_publish_raises_goes_through() -> None:
    async def broken(planned: Planned) -> None:
        raise ConnectionError("no Redis")

    with pytest.raises(ConnectionError):
        await plan(stream(GOOD), publish=broken)


async def test_what_begins_early_is_no_longer_than_a_plan_may_be() -> None:
    text = "Sort this: " + "x" * 500_000
    many = plan_text(*(step(f"t{i}", "triage", f"Part {i} of {{{{request}}}}") for i in range(40)))
    published = Published()
    planned, model = await plan(stream(many, GOOD), text, publish=published)

    assert sum(len(subtask.instruction) for subtask in published.subtasks) <= MAX_PLAN
    assert len(published.subtasks) == (MAX_PLAN - 1_000) // len(text)
    assert "use {{request}} less" in model.calls[1][-1].content
    assert planned.failure is None
