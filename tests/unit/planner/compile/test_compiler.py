"""Drafts as planners write them, and the plans or refusals that come of them."""

from collections.abc import Mapping
from typing import Any

import pytest

from swarm.errors import BadDraft
from swarm.planner.compile.compiler import CompileRules, compiled
from swarm.planner.parse.draft import Draft
from swarm.settings import Settings
from swarm.types.plan import Condition, Plan
from swarm.types.result import Mend
from tests.unit.planner.compile.drafts import DESK, MEND, STRICT, compile_, edges, problems, step, texts

# -- steps, ids, instructions -----------------------------------------------------------------------------------


def test_a_sound_draft_becomes_its_plan_and_nothing_is_mended() -> None:
    plan = compile_(
        step(id="a"),
        step("reply-writer", id="b", instruction="Answer ${a.label}", depends_on=("a",)),
        aggregate="pass",
        rules=STRICT,
    )

    assert edges(plan) == {"a": (), "b": ("a",)}
    assert texts(plan) == ["do it", "Answer ${a.label}"]
    assert (plan.aggregate, plan.mends) == ("pass", ())
    assert plan.why == {"a": "named by the plan", "b": "named by the plan"}


def test_all_that_is_wrong_is_told_at_once_with_its_place_and_the_remedy() -> None:
    found = problems(
        step("weather", id="a", place="steps.0"),
        step("reply-writer", id="b", depends_on=("b",)),
        step("refund-policy", id="c", depends_on=("z",)),
        step("reply-writer", id="d", instruction="Answer ${y}"),
    )

    assert found == [
        "steps.0.expert: no expert 'weather'; name one of those that were listed",
        "steps.2.depends_on: 'z' is no step of the plan; the steps are a, b, c, d",
        "steps.3.instruction: '${y}' is no step of the plan; the steps are a, b, c, d",
        "steps.1.depends_on: it waits for itself; name an earlier step, or none",
    ]


def test_the_problems_of_a_hopeless_text_are_capped() -> None:
    assert len(problems(*(step("nobody", id=f"s{i}") for i in range(100)))) == 50


def test_a_draft_without_steps_is_refused() -> None:
    assert problems() == ["steps: the plan has none; give at least one"]


def test_ids_are_made_where_there_are_none_and_made_valid_where_they_are_not() -> None:
    plan = compile_(
        step(), step(id="t1"), step(id="Find order #7"), step(id="item", depends_on=("Find order #7",)), step(id="ü")
    )

    assert list(edges(plan)) == ["t1-2", "t1", "Find-order-7", "item-2", "t5"]
    assert edges(plan)["item-2"] == ("Find-order-7",)
    assert Mend(place="steps.2.id", what="'Find order #7' is called Find-order-7") in plan.mends


def test_an_id_given_twice_is_mended_only_where_nobody_refers_to_it() -> None:
    plan = compile_(step(id="a"), step(id="a"))

    assert list(edges(plan)) == ["a", "a-2"]
    assert problems(step(id="a"), step(id="a"), step(id="b", depends_on=("a",))) == [
        "steps.2.depends_on: 'a' is the id of 2 steps; give each its own"
    ]
    assert edges(compile_(step(id="a"), step(id="a"), step(id="b", depends_on=("a",))))["b"] == ("a", "a-2")
    assert "steps.2.instruction: 'a' is the id of 2 steps; give each its own" in problems(
        step(id="a"), step(id="a"), step(id="b", instruction="use ${a}"), rules=MEND
    )


def test_arguments_become_lines_after_the_steps_own_words() -> None:
    arguments = {"city": "Paris", "day": "${t1}", "size": {"rooms": 2}, "0": "loose"}
    plan = compile_(step(), step(instruction="Find a hotel", arguments=arguments))

    assert texts(plan)[1] == 'Find a hotel\ncity: Paris\nday: ${t1}\nsize: {"rooms": 2}\nloose'
    assert edges(plan)["t2"] == ("t1",)


def test_a_step_without_words_is_asked_by_its_experts_name() -> None:
    assert texts(compile_(step(instruction=""))) == ["triage"]


def test_text_that_cannot_travel_is_a_problem_with_its_place() -> None:
    assert problems(step(instruction="ring\x07")) == [
        "steps.0: instruction: control character U+0007 at position 4; remove it"
    ]


@pytest.mark.parametrize(
    ("written", "kept", "mended"),
    [
        ("", "auto", 0),
        ("vote", "vote", 0),
        ("Majority", "vote", 1),
        ("summarize", "synthesis", 1),
        ("dance", "auto", 1),
    ],
)
def test_an_aggregate_is_ours_a_synonym_or_auto(written: str, kept: str, mended: int) -> None:
    plan = compile_(step(), aggregate=written)

    assert (plan.aggregate, len(plan.mends)) == (kept, mended)


# -- earlier rounds ---------------------------------------------------------------------------------------------


def test_results_of_earlier_rounds_may_be_used_but_not_planned_again() -> None:
    known = ("r1.t1", "r1.t2")
    plan = compile_(
        step(id="t3", instruction="${r1.t1.label} and ${t2}", depends_on=("r1.t2",)), rules=STRICT, known=known
    )

    assert edges(plan) == {"t3": ("r1.t2", "r1.t1")}
    assert texts(plan) == ["${r1.t1.label} and ${r1.t2}"]
    assert problems(step(id="r1.t1"), known=known) == [
        "steps.0.id: 'r1.t1' is solved already; refer to it, do not repeat it"
    ]


# -- when, for_each, schemas ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when",
    [
        {"result": "${a.label}", "equals": "refund"},
        {"result": "a.label", "operator": "==", "value": "refund"},
        {"field": "a.label", "eq": "refund"},
        {"condition": "${a.label} == 'refund'"},
        {"": "a.label is refund"},
        {"if": '{{ a.label }} = "refund"'},
    ],
)
def test_a_condition_is_read_in_many_forms(when: Mapping[str, Any]) -> None:
    plan = compile_(step(id="a"), step(id="b", when=when), rules=STRICT)

    condition = plan.subtasks[1].when
    assert condition is not None
    assert condition.model_dump(exclude_unset=True) == {"result": "a.label", "equals": "refund"}
    assert edges(plan)["b"] == ("a",)
    assert [mend.place for mend in plan.mends] == ["steps.1.when"]


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ({"result": "z.label", "equals": 1}, "'z.label' is no result of the plan; the steps are a, b"),
        ({"result": "a.colour", "equals": 1}, "${a.colour} is no field of that result; it has label, items"),
        ({"result": "a.label", "above": 3}, "'above' is no comparison; use equals, not_equals, one_of, at_least or"),
        ({"result": "a.label"}, "give exactly one of equals, not_equals, one_of, at_least, at_most"),
        ({"equals": 1, "not_equals": 2}, "no result is named; give `result`, such as t1.label"),
        ({"if": "it rains"}, "'it rains' is no condition"),
    ],
)
def test_a_condition_that_cannot_be_checked_is_a_problem(when: Mapping[str, Any], problem: str) -> None:
    (found,) = problems(step(id="a"), step(id="b", when=when), rules=MEND)

    assert found.startswith(f"steps.1.when: {problem}")


def test_a_condition_of_nothing_is_none_and_empty_comparisons_do_not_count() -> None:
    nothing = {"result": None, "equals": None, "at_least": None}
    plan = compile_(
        step(id="a"),
        step(when=nothing),
        step(when={"result": "a.label", "equals": None, "one_of": ["x"]}),
        rules=STRICT,
    )

    assert plan.subtasks[1].when is None
    assert plan.subtasks[2].when == Condition(result="a.label", one_of=("x",))


def test_for_each_takes_a_list_of_an_earlier_result_and_its_items_are_no_steps() -> None:
    plan = compile_(step(id="a"), step(id="b", for_each="${a.items}", instruction="See ${item.name}"), rules=STRICT)

    assert plan.subtasks[1].for_each == "a.items"
    assert (edges(plan)["b"], texts(plan)[1]) == (("a",), "See ${item.name}")
    assert problems(step(id="a"), step(id="b", for_each="a.label")) == [
        "steps.1.for_each: ${a.label} is no list but string; name a list"
    ]


def test_a_field_that_no_schema_promises_is_a_problem_with_those_there_are() -> None:
    own = {"type": "object", "properties": {"total": {"type": "number"}}}
    steps = (step(id="a"), step("reply-writer", id="b", output=own))

    assert problems(*steps, step(id="c", instruction="${a.lable} ${b.sum} ${b.total}")) == [
        "steps.2.instruction: ${a.lable} is no field of that result; it has label, items",
        "steps.2.instruction: ${b.sum} is no field of that result; it has total",
    ]


def test_fields_of_results_without_a_schema_are_trusted() -> None:
    plan = compile_(step("refund-policy", id="a"), step(id="b", instruction="${a.clause}"), rules=STRICT)

    assert texts(plan)[1] == "${a.clause}"


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ({"label": "string"}, 'no JSON schema; write {"type": "object", "properties": {...}}'),
        ({"type": "text"}, "'text' is no type; use one of array, boolean, integer, null, number, object, string"),
        ({"properties": {"a": "string"}}, "'string' stands where a JSON schema belongs"),
        ({"type": "object", "x": float("nan")}, "a number that is not finite; use plain JSON only"),
    ],
)
def test_an_output_that_is_no_schema_is_a_problem(output: dict[str, Any], problem: str) -> None:
    assert problems(step(output=output)) == [f"steps.0.output: {problem}"]


# -- caps -------------------------------------------------------------------------------------------------------


def test_number_depth_width_and_cost_of_a_plan_are_capped() -> None:
    chain = [step(id="s0"), *(step(id=f"s{i}", depends_on=(f"s{i - 1}",)) for i in range(1, 4))]

    assert problems(*chain, rules=CompileRules(max_subtasks=3)) == ["steps: 4, at most 3 are accepted; plan fewer"]
    assert problems(*chain, rules=CompileRules(max_depth=3)) == [
        "steps: the longest chain has 4 steps, at most 3 are allowed; plan flatter"
    ]
    assert problems(step(), step(), rules=CompileRules(max_width=1)) == [
        "steps: 2 would run at once, at most 1 are allowed; plan fewer"
    ]
    with pytest.raises(BadDraft, match=r"about \$0.0300, at most \$0.0200 is allowed"):
        compiled(Draft((step(), step())), DESK, CompileRules(max_cost=20_000), costs={"triage": 15_000})


def test_rules_come_from_the_settings() -> None:
    settings = Settings(mend_edges=True, max_subtasks=7, max_depth=5)

    assert CompileRules.of(settings) == CompileRules(mend_edges=True, max_subtasks=7, max_depth=5)


def test_what_is_compiled_is_a_plan() -> None:
    plan = compile_(step(id="a"), step(id="b", instruction="#E1 ${a}"))

    assert Plan(subtasks=plan.subtasks).united() == plan.subtasks
