"""References of a draft: to which step, however it is counted."""

import pytest

from swarm.types.result import Mend
from tests.unit.planner.compile.drafts import STRICT, compile_, edges, problems, step, texts

# -- references -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("<node-0>", "${t1}"),
        ("<GENERATED>-0", "${t1}"),
        ("<node-0>.text", "${t1}"),
        ("<resource-0>", "${t1}"),
        ("<task 1>", "${t1}"),
        ("#E1", "${t1}"),
        ("${step 1}", "${t1}"),
        ("${t1.output}", "${t1}"),
        ("${t1['label']}", "${t1.label}"),
        ("<node-0>.label", "${t1.label}"),
        ("${triage}", "${t1}"),
        ("{{triage}}", "${t1}"),
    ],
)
def test_every_way_to_refer_to_a_step_becomes_ours_and_is_told(written: str, ours: str) -> None:
    plan = compile_(step(), step("reply-writer", instruction=f"Answer {written} now"))

    assert texts(plan)[1] == f"Answer {ours} now"
    assert edges(plan)["t2"] == ("t1",)
    assert Mend(place="steps.1.instruction", what=f"{written!r} read as {ours}") in plan.mends


@pytest.mark.parametrize("written", ["{{find}}", "$find", "${find }", "<find>", "${Find}", "{{ find.output }}"])
def test_an_id_is_found_in_any_brackets(written: str) -> None:
    plan = compile_(step(id="find"), step(id="b", instruction=f"Answer {written}"))

    assert texts(plan)[1] == "Answer ${find}"


def test_numbers_for_ids_may_be_meant_by_a_dollar() -> None:
    plan = compile_(step(id="1"), step(id="2", arguments={"text": "$1"}), step(id="3", depends_on=("Step 2",)))

    assert edges(plan) == {"1": (), "2": ("1",), "3": ("2",)}


@pytest.mark.parametrize("text", ["It costs $5, not $1", "a {{name}} and <b>bold</b>", "<name> of task 1", "$HOME #1"])
def test_what_names_no_step_stays_as_it_is(text: str) -> None:
    plan = compile_(step(), step(), step(instruction=text), rules=STRICT)

    assert texts(plan)[2] == text
    assert (edges(plan)["t3"], plan.mends) == ((), ())


@pytest.mark.parametrize("value", ["node-0", "Step_1", "the output of step 1", "result of Step 1"])
def test_a_value_that_only_names_an_earlier_step_is_a_reference(value: str) -> None:
    arguments = {"text": value, "more": [{"from": value}]}
    plan = compile_(step(), step(instruction="", arguments=arguments), rules=STRICT)

    assert texts(plan)[1] == 'text: ${t1}\nmore: [{"from": "${t1}"}]'


@pytest.mark.parametrize("value", ["Task 1", "N1", "step", "room 1 of 2", "node-7", "chapter of accidents"])
def test_a_value_that_may_mean_something_else_is_none(value: str) -> None:
    plan = compile_(step(), step(instruction="", arguments={"text": value}), rules=STRICT)

    assert texts(plan)[1] == f"text: {value}"


@pytest.mark.parametrize(("written", "safe"), [("${HOME}", "$${HOME}"), ("<node-7>", "<node-7>"), ("#E9", "#E9")])
def test_a_reference_to_no_step_is_refused_or_made_plain_text(written: str, safe: str) -> None:
    steps = (step(), step(instruction=f"Read {written}"))

    assert problems(*steps) == [f"steps.1.instruction: {written!r} is no step of the plan; the steps are t1, t2"]
    assert texts(compile_(*steps)) == ["do it", f"Read {safe}"]


# -- numbering --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "base"), [("0", "1", 0), ("1", "2", 1), ("node-0", "node-1", 0), ("Step 1", "Step 2", 1)]
)
def test_numbers_count_from_where_all_of_them_mean_an_earlier_step(first: str, second: str, base: int) -> None:
    plan = compile_(step(), step(depends_on=(first,)), step(depends_on=(second,)))

    assert edges(plan) == {"t1": (), "t2": ("t1",), "t3": ("t2",)}


def test_placeholders_that_fit_only_from_one_are_read_so_and_it_is_told() -> None:
    plan = compile_(step(), step(instruction="<node-1>"), step(instruction="<node-2>"))

    assert edges(plan)["t3"] == ("t2",)
    assert Mend(place="steps", what="numbers of 'node' read as counted from 1") in plan.mends


def test_one_reference_counted_otherwise_is_believed_where_an_edge_says_so() -> None:
    steps = (step(), step("refund-policy", instruction="<node-0>"), step("reply-writer", instruction="<node-2>"))
    links = (("triage", "refund-policy"), ("refund-policy", "reply-writer"))

    plan = compile_(*steps, links=links, rules=STRICT)

    assert texts(plan)[1:] == ["${t1}", "${t2}"]
    assert "it waits for itself" in problems(*steps)[0]


def test_a_sentence_that_speaks_of_steps_refers_to_earlier_ones_only() -> None:
    plan = compile_(step(), step(instruction="From the answer from Step 1 make the result of Step 2"), rules=STRICT)

    assert texts(plan)[1] == "From the ${t1} make the result of Step 2"


def test_links_decide_between_two_ways_to_count() -> None:
    steps = (step("triage"), step("refund-policy"), step("reply-writer", instruction="Answer <node-1>"))

    from_zero = compile_(*steps)
    from_one = compile_(*steps, links=(("triage", "reply-writer"),))

    assert (edges(from_zero)["t3"], edges(from_one)["t3"]) == (("t2",), ("t1",))


def test_a_bare_number_that_fits_both_ways_waits_for_both() -> None:
    plan = compile_(step(), step(), step(depends_on=("1",)))

    assert edges(plan)["t3"] == ("t1", "t2")
    assert plan.mends[-1].what == "1 can count from 0 or from 1; it waits for both"
