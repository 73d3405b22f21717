"""What a plan of a model is, and how its references are told from words of the request."""

from __future__ import annotations

import json

import pytest

from swarm.planner.base import DoneSubtask, PriorPlan
from tests.unit.planner.model.asking import GOOD, Published, answers, experts, plan, plan_text, step, stream

# -- a good answer -----------------------------------------------------------------------------------------------


async def test_a_good_answer_is_the_plan_at_the_first_turn() -> None:
    planned, model = await plan(answers(GOOD))

    assert experts(planned) == ["triage", "policy", "reply"]
    assert planned.subtasks[2].depends_on == ("t1", "t2")
    assert (planned.closed, planned.again, planned.planner) == (True, True, "test/planner")
    assert (planned.aggregate, planned.mends, planned.failure) == ("pass", (), None)
    assert planned.fallbacks == {"t1": ("reply",)}
    assert len(model.calls) == 1
    assert planned.usage.calls == 1
    assert any("turn 1: 3 subtasks, read as json" in note for note in planned.notes)


async def test_the_form_that_the_model_is_asked_for_names_the_experts() -> None:
    _, model = await plan(answers(GOOD))

    assert model.requests[0].format is not None
    assert '"enum": ["triage", "policy", "reply"]' in json.dumps(model.requests[0].format.schema)


async def test_what_the_answer_mends_is_reported() -> None:
    planned, _ = await plan(answers(plan_text(step("t1", "Triage"))))

    assert experts(planned) == ["triage"]
    assert len(planned.mends) == 1


async def test_the_words_of_the_request_take_the_place_of_the_placeholder_and_make_no_edges() -> None:
    text = "Sort this: 'it costs ${t2} and \\1'"
    planned, _ = await plan(answers(plan_text(step("t1", "triage", "Sort this. {{request}}"))), text)

    assert planned.subtasks[0].instruction == "Sort this. Sort this: 'it costs $${t2} and \\1'"
    assert planned.subtasks[0].depends_on == ()


@pytest.mark.parametrize(
    "copied", ["it costs ${t1} today", "it costs $${t1} today", "what? ${t1} today", "it costs ${t1}"]
)
async def test_a_reference_that_the_model_copied_from_the_request_is_none(copied: str) -> None:
    text = "Find the price, then sort this: it costs ${t1} today"
    second = step("t2", "triage", f"Sort '{copied}' by ${{t1.label}}")
    planned, _ = await plan(answers(plan_text(step("t1", "policy"), second)), text)

    escaped = copied.replace("$${", "${").replace("${", "$${")
    assert planned.subtasks[1].instruction == f"Sort '{escaped}' by ${{t1.label}}"


async def test_words_of_the_request_never_pass_for_references_of_the_plan() -> None:
    text = "Sort this: '<node-7> and #E3 and {{t2}} and the output of step 1'"
    planned, _ = await plan(answers(plan_text(step("t1", "policy"), step("t2", "triage", "Sort: {{ request }}"))), text)

    assert planned.subtasks[1].instruction == f"Sort: {text}"
    assert planned.subtasks[1].depends_on == ()
    assert planned.mends == ()


@pytest.mark.parametrize("written", ["Answer: ${{request}}", "Answer: $${{ request }}", "Answer: $${request}"])
async def test_a_dollar_sign_before_the_placeholder_makes_no_reference_of_the_request(written: str) -> None:
    text = plan_text(step("t1", "triage", "Sort"), step("t2", "reply", written))

    planned, _ = await plan(answers(text), "{t1} hello")

    assert planned.subtasks[1].instruction == "Answer: {t1} hello"


async def test_a_dollar_sign_at_the_end_of_the_request_leaves_a_reference_behind_it_as_it_is() -> None:
    text = plan_text(step("t1", "triage", "Sort"), step("t2", "reply", "{{request}}${t1}", "t1"))

    planned, _ = await plan(answers(text), "it costs 5$")

    assert planned.subtasks[1].instruction.startswith("it costs 5$ ${")
    assert len(planned.subtasks[1].depends_on) == 1


async def test_a_step_that_is_called_request_is_a_step_and_not_the_placeholder() -> None:
    text = plan_text(step("request", "triage", "Sort {{request}}"), step("t2", "reply", "with ${request}", "request"))
    published = Published()
    planned, _ = await plan(stream(text), "Sort it", publish=published)

    assert [subtask.instruction for subtask in planned.subtasks] == ["Sort Sort it", "with ${request}"]
    assert published.subtasks == list(planned.subtasks)


# -- planning again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ['{"subtasks": [], "aggregate": "pass"}', "[]", 'All is done.\n```json\n{"subtasks": []}\n```']
)
async def test_who_plans_again_may_find_that_nothing_is_left_to_do(text: str) -> None:
    tried = PriorPlan(done=(DoneSubtask("r1.t1", "triage", "Sort it", "a lamp, broken"),), lacking="the policy")
    planned, model = await plan(answers(text, GOOD), tried=tried)
    first, asked_again = await plan(answers(text, GOOD))

    assert (planned.subtasks, planned.closed, planned.failure) == ((), True, None)
    assert "turn 1: nothing is left to do" in planned.notes[-1]
    assert (len(model.calls), planned.usage.calls) == (1, 1)
    assert "give no subtasks" in model.calls[0][1].content
    assert (len(first.subtasks), len(asked_again.calls)) == (3, 2)


async def test_a_plan_around_failures_refers_to_what_is_done() -> None:
    tried = PriorPlan(done=(DoneSubtask("r1.t1", "triage", "Sort it", "a lamp, broken"),), lacking="the policy")
    text = plan_text(step("t2", "policy", "What of ${r1.t1}?", "r1.t1"))
    published = Published()
    planned, model = await plan(stream(text), tried=tried, publish=published)

    assert planned.failure is None
    assert [subtask.depends_on for subtask in planned.subtasks] == [("r1.t1",)]
    assert published.subtasks == list(planned.subtasks)
    assert "a lamp, broken" in model.calls[0][1].content
