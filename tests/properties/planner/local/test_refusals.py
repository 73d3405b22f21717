"""What fits no expert is refused, and what every plan without a model keeps to."""

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import NoPlan
from swarm.planner.local import planner
from swarm.types.events import Planned
from swarm.types.plan import Plan
from tests.unit.planner.local.desk import DESK

WORDS = st.sampled_from(
    [
        "classify this message", "find the refund policy", "what are the delivery times", "write a reply", "it",
        "my parcel broke", "'I want it back'", '"then write a reply"', "${t1}", "with the results", "thanks",
        "keep it short", "bake a cake", "I need help with my parcel", "please provide the name of the author",
        "the refund policy and the delivery times", "specifically, the glass", "classify", "also",
    ]
)  # fmt: skip
JOINTS = st.sampled_from(
    [
        ". ",
        "; ",
        ", then ",
        " and ",
        "\n",
        "\n\n",
        ". Finally, ",
        "\n1. ",
        ": ",
        ", and then ",
        "? ",
        ". First, ",
        ". Also, ",
    ]
)
REQUESTS = st.lists(st.tuples(WORDS, JOINTS), min_size=1, max_size=12).map(lambda two: "".join(a + b for a, b in two))


def planned_or_none(text: str) -> Planned | None:
    try:
        return planner.plan(text, DESK)
    except NoPlan:
        return None


@given(st.one_of(REQUESTS, st.text(st.characters(exclude_categories=["C"]), max_size=300)))
def test_a_plan_always_runs_and_covers_every_word(text: str) -> None:
    planned = planned_or_none(text)
    if planned is None:
        return

    plan = Plan.read([subtask.model_dump() for subtask in planned.subtasks])
    assert [s.depends_on for s in plan.united()] == [s.depends_on for s in planned.subtasks]
    told = " ".join(s.instruction for s in planned.subtasks).replace("$${", "${")
    said = [word.strip(".,;:?'\"") for word in text.split()]
    assert [word for word in said if word and word not in told and word.lower() not in CONNECTIVES] == []


CONNECTIVES = {"and", "then", "finally", "1", "also", "first"}


@given(REQUESTS)
def test_planning_is_deterministic(text: str) -> None:
    assert planned_or_none(text) == planned_or_none(text)
