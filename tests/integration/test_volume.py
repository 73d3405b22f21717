"""What is refused for its size: tasks of a request, and data with a schema."""

from __future__ import annotations

import pytest

from swarm.errors import NoPlan
from swarm.planner.local import planner
from swarm.types.plan import MAX_SUBTASKS
from swarm.types.result import Failure, Solution
from tests.unit.experts.settling import ASKED, answering, settled
from tests.unit.planner.local.desk import DESK


def test_more_tasks_than_a_job_may_have_are_refused() -> None:
    assert len(planner.plan("Find the refund policy. " * MAX_SUBTASKS, DESK).subtasks) == MAX_SUBTASKS
    with pytest.raises(NoPlan, match="more than 1,000"):
        planner.plan("Find the refund policy. " * (MAX_SUBTASKS + 1), DESK)
    with pytest.raises(NoPlan, match="more than 20,000 parts"):
        planner.plan("refund; " * 20_001, DESK)


async def test_data_and_schema_may_not_both_be_large() -> None:
    asked = ASKED.model_copy(update={"output": {"items": {"allOf": [{"type": "string"}] * 1_000}}})

    outcome = await settled(answering(Solution(text="", data=[0] * 100_000)), asked)

    assert isinstance(outcome, Failure)
    assert outcome.reason == "bad_output"
    assert "too large to be checked" in outcome.message
