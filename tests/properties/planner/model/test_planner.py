"""What a plan of a model is, and how its references are told from words of the request."""

from __future__ import annotations

from tests.unit.planner.model.asking import answers, plan, plan_text, step


async def test_a_plan_that_would_copy_a_long_request_too_often_is_asked_for_again() -> None:
    text = "Sort this: " + "x" * 600_000
    copied = plan_text(step("t1", "triage", "{{request}} {{request}}"))
    once = plan_text(step("t1", "triage", "{{request}}"))
    planned, model = await plan(answers(copied, once), text)

    assert planned.subtasks[0].instruction == text
    assert len(model.calls) == 2
    assert "use {{request}} less" in model.calls[1][-1].content
    assert all(len(message.content) < 60_000 for call in model.calls for message in call)
