"""Conditions and lists in a plan: which are accepted, of what they hold, and what they make a subtask wait for."""

import pytest

from swarm.errors import InvalidPlan
from swarm.types.plan import Condition, Plan


@pytest.mark.parametrize(
    ("comparison", "holds", "does_not"),
    [
        ({"equals": "refund"}, ["refund"], ["Refund", "", None, ["refund"]]),
        ({"equals": 1}, [1, 1.0], [True, "1", 2]),
        ({"equals": True}, [True], [1, "true"]),
        ({"equals": None}, [None], [0, "", False]),
        ({"not_equals": "refund"}, ["return", None, 1], ["refund"]),
        ({"not_equals": 0}, [False, 1], [0, 0.0]),
        ({"one_of": ["a", 1]}, ["a", 1], ["b", True, None]),
        ({"at_least": 3}, [3, 3.5], [2.9, "3", True, None]),
        ({"at_most": 3}, [3, -1], [3.1, "1", False, None]),
    ],
    ids=str,
)
def test_a_condition_holds_of_equal_json_and_of_numbers(
    comparison: dict[str, object], holds: list[object], does_not: list[object]
) -> None:
    condition = Condition.model_validate({"result": "t1.label"} | comparison)

    assert [value for value in (*holds, *does_not) if condition.holds(value)] == holds


@pytest.mark.parametrize("comparison", ["at_least", "at_most"])
def test_only_numbers_are_more_or_less(comparison: str) -> None:
    condition = Condition.model_validate({"result": "t1", comparison: 3})

    assert [value for value in (3, 2.5, "3", True, None, [3]) if condition.comparable(value)] == [3, 2.5]
    assert Condition(result="t1", equals=3).comparable("3")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"result": "t1"}, "give exactly one of equals, not_equals, one_of, at_least, at_most"),
        ({"result": "t1", "equals": 1, "at_most": 2}, "give exactly one of"),
        ({"result": "t1 > 2", "equals": 1}, "result: String should match pattern"),
        ({"result": "t1", "above": 1}, "above: unknown field"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(given: dict[str, object], said: str) -> None:
    steps = [
        {"id": "t1", "expert": "x", "instruction": "x"},
        {"id": "t2", "expert": "x", "instruction": "x", "when": given},
    ]
    with pytest.raises(InvalidPlan, match=r"subtasks\.1\.when") as caught:
        Plan.read(steps)

    assert said in str(caught.value)


def test_a_subtask_waits_for_what_its_condition_and_its_list_name() -> None:
    plan = Plan.read(
        [
            {"id": "a", "expert": "x", "instruction": "x"},
            {"id": "b", "expert": "x", "instruction": "x"},
            {
                "id": "c",
                "expert": "x",
                "instruction": "${item.name}",
                "when": {"result": "b.label", "equals": "yes"},
                "for_each": "a.items",
            },
        ]
    )

    assert plan.edges["c"] == ("b", "a")
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
