"""Edges of a plan: declared, used, and cut where they make a circle."""

import pytest

from swarm.planner.compile.compiler import CompileRules
from swarm.types.result import Mend
from tests.unit.planner.compile.drafts import MEND, STRICT, compile_, edges, problems, step, texts

# -- edges ------------------------------------------------------------------------------------------------------


def test_declared_edges_and_used_ones_are_united() -> None:
    plan = compile_(step(id="a"), step(id="b"), step(id="c", depends_on=("a",), instruction="${b}"))

    assert edges(plan)["c"] == ("a", "b")


def test_an_experts_name_means_all_its_steps_before() -> None:
    plan = compile_(step(), step(), step("reply-writer", depends_on=("Triage",)), step())

    assert edges(plan)["t3"] == ("t1", "t2")


def test_links_between_experts_follow_the_order_of_the_steps() -> None:
    steps = (step("triage"), step("refund-policy"), step("triage"))
    plan = compile_(*steps, links=(("triage", "refund-policy"), ("refund-policy", "triage")))

    assert edges(plan) == {"t1": (), "t2": ("t1",), "t3": ("t2",)}


@pytest.mark.parametrize("link", [("START", "a"), ("b", "END"), ("none", "a")])
def test_where_a_plan_begins_and_ends_is_no_edge(link: tuple[str, str]) -> None:
    plan = compile_(step(id="a"), step(id="b"), links=(link,), rules=STRICT)

    assert (edges(plan), plan.mends) == ({"a": (), "b": ()}, ())


def test_a_link_to_no_step_is_refused_or_dropped() -> None:
    assert problems(step(id="a"), links=(("a", "z"),)) == ["links.0: 'z' is no step of the plan; the steps are a"]
    assert edges(compile_(step(id="a"), links=(("a", "z"),))) == {"a": ()}


def test_a_material_stands_for_the_steps_that_make_it() -> None:
    plan = compile_(
        step(id="cut", arguments={"target": ["board", "dust"]}),
        step(id="glue", depends_on=("board",)),
        rules=CompileRules(),
    )

    assert edges(plan)["glue"] == ("cut",)
    assert plan.mends == (Mend(place="steps.1.depends_on", what="'board' read as cut, what makes it"),)


def test_an_edge_to_a_later_step_is_kept_where_it_makes_no_circle() -> None:
    assert edges(compile_(step(id="a", depends_on=("b",)), step(id="b"), rules=STRICT))["a"] == ("b",)


def test_an_edge_to_itself_is_refused_or_dropped() -> None:
    steps = (step(id="a"), step(id="b", instruction="again: ${b}", depends_on=("a",)))

    assert problems(*steps) == ["steps.1.depends_on: it waits for itself; name an earlier step, or none"]
    mended = compile_(*steps)
    assert (edges(mended)["b"], texts(mended)[1]) == (("a",), "again: $${b}")


def test_a_circle_is_refused_or_cut_where_it_waits_for_a_later_step() -> None:
    steps = (step(id="a", depends_on=("c",)), step(id="b", instruction="${a}"), step(id="c", instruction="${b}"))

    assert problems(*steps) == ["steps.0.depends_on: circular: a -> c -> b -> a; remove one of these edges"]
    assert edges(compile_(*steps)) == {"a": (), "b": ("a",), "c": ("b",)}


def test_of_two_backward_edges_the_one_without_data_goes() -> None:
    steps = (step(id="a", instruction="${b}"), step(id="b", depends_on=("c",)), step(id="c", instruction="${a}"))

    assert edges(compile_(*steps)) == {"a": ("b",), "b": (), "c": ("a",)}


def test_a_condition_is_never_dropped_from_a_circle() -> None:
    steps = (step(id="a", when={"result": "b", "equals": 1}), step(id="b", when={"result": "a", "equals": 1}))

    assert problems(*steps, rules=MEND)[0].startswith("steps.0.depends_on: circular: a -> b -> a")
