"""What a planner's model is told, and which experts it is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.planner.base import DoneSubtask, PriorPlan
from swarm.planner.model.prompt import PlanningPrompt, asked
from swarm.planner.model.shortlist import MOST, shortlist
from tests.unit.planner.model.test_prompt import TWO, many


@given(st.text(max_size=300), st.text(max_size=100))
def test_nothing_in_a_request_or_a_result_closes_its_fence(text: str, result: str) -> None:
    tried = PriorPlan(done=(DoneSubtask("r1.t1", "triage", "Sort it", result),), lacking=result)
    _, user = asked(PlanningPrompt(text or "x", TWO, tried))
    opened = user.content.index("\n<<") + 3
    key = user.content[opened : opened + 16]

    assert key not in text
    assert user.content.count(f"{key}>>") == user.content.count(f"<<{key} ")
    assert user.content.endswith(f"{key}>>")


@given(st.text(max_size=200), st.integers(31, 60))
def test_a_shortlist_is_of_the_catalog_in_its_order_and_the_same_each_time(text: str, count: int) -> None:
    catalog = many(fill=count)
    shown, _ = shortlist(text, catalog)

    assert list(shown) == [name for name in catalog if name in shown]
    assert len(shown) == MOST
    assert shortlist(text, catalog)[0] == shown
