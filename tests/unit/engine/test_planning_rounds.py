"""Ids that no two rounds share, and what becomes of pieces that the whole plan has otherwise."""

from collections.abc import Iterable
from typing import Any

import pytest

from swarm.engine.planning_rounds import MAX_ID, DispatchedSubtasks, as_plan, in_round, listing
from swarm.types.events import Planned
from swarm.types.plan import Condition, Plan, Subtask
from swarm.types.result import Mend, Usage
from tests.builders import for_each, only_if, planned, subtasks


def test_a_round_stands_before_every_id_wherever_it_is_named() -> None:
    plan = Planned(
        subtasks=(
            Subtask(id="a", expert="x", instruction="${HOME} of $5"),
            Subtask(
                id="b",
                expert="x",
                instruction="${item.name} of ${a} and ${a.b.c}",
                depends_on=("a",),
                when=Condition(result="a.label", equals="yes"),
                for_each="a.items",
            ),
        ),
        fallbacks={"b": ("y",)},
        why={"b": "the best"},
        mends=(Mend(place="b.expert", what="read as x"), Mend(place="steps.1", what="no id")),
    )
    moved = in_round(plan, 3)
    first, second = moved.subtasks

    assert moved.round == 3
    assert (first.id, first.instruction) == ("r3.a", "${HOME} of $5")
    assert second == Subtask(
        id="r3.b",
        expert="x",
        instruction="${item.name} of ${r3.a} and ${r3.a.b.c}",
        depends_on=("r3.a",),
        when=Condition(result="r3.a.label", equals="yes"),
        for_each="r3.a.items",
    )
    assert moved.fallbacks == {"r3.b": ("y",)}
    assert moved.why == {"r3.b": "the best"}
    assert [mend.place for mend in moved.mends] == ["r3.b.expert", "steps.1"]


def test_what_an_earlier_round_solved_keeps_its_name() -> None:
    again = Subtask(id="r1", expert="x", instruction="${r1.a.label} and ${b}", depends_on=("r1.a", "b"))
    moved = in_round(Planned(subtasks=(again, *subtasks("b"))), 2, earlier={"r1.a", "r1.b"})

    assert moved.subtasks[0].id == "r2.r1"
    assert moved.subtasks[0].depends_on == ("r1.a", "r2.b")
    assert moved.subtasks[0].instruction == "${r1.a.label} and ${r2.b}"


def test_a_piece_may_wait_for_what_is_still_to_come() -> None:
    moved = in_round(planned(subtasks("b<-a"), closed=False), 1)

    assert [(s.id, s.depends_on) for s in moved.subtasks] == [("r1.b", ("r1.a",))]


# -- pieces


def reconciled(begun: Iterable[Subtask], final: Planned) -> Planned:
    pieces = DispatchedSubtasks()
    for subtask in begun:
        pieces.take(planned((subtask,), closed=False))
    return pieces.reconciled(final)


def shape(plan: Planned) -> dict[str, tuple[str, ...]]:
    return {subtask.id: subtask.depends_on for subtask in plan.subtasks}


def test_a_piece_begins_once_and_costs_nothing_yet() -> None:
    pieces = DispatchedSubtasks()
    first = planned(subtasks("a", "b"), closed=False, usage=Usage(calls=1), fallbacks={"a": ("y",), "b": ("z",)})

    assert pieces.take(first).usage == Usage()
    again = pieces.take(planned(subtasks("b:other", "c"), fallbacks={"a": ("y",), "c": ("z",)}))
    assert shape(again) == {"c": ()}
    assert (again.closed, again.fallbacks) == (False, {"c": ("z",)})


def test_a_piece_that_names_what_it_does_not_wait_for_is_left_for_the_whole_plan() -> None:
    (loose,) = (s.model_copy(update={"instruction": "see ${a.label}"}) for s in subtasks("b"))
    waits = loose.model_copy(update={"depends_on": ("a",)})

    assert shape(DispatchedSubtasks().take(planned((loose,)))) == {}
    assert shape(DispatchedSubtasks().take(planned((waits,)))) == {"b": ("a",)}


def test_a_plan_that_is_as_it_was_begun_stays_as_it_is() -> None:
    final = planned(subtasks("a", "b<-a", "c<-b"))

    assert reconciled(subtasks("a", "b<-a"), final) is final


def test_what_was_begun_otherwise_gets_an_id_of_its_own_and_so_does_what_waits_for_it() -> None:
    final = planned(
        (*subtasks("a:other", "b<-a"), only_if("c<-b", "a.x", equals=1), *subtasks("d", "e<-d")),
        fallbacks={"a": ("y",), "d": ("z",)},
    )
    found = reconciled(subtasks("a", "b<-a", "e<-d"), final)

    assert shape(found) == {"a-b": (), "b-b": ("a-b",), "c": ("b-b", "a-b"), "d": (), "e": ("d",)}
    assert found.subtasks[2].when == Condition(result="a-b.x", equals=1)
    assert found.fallbacks == {"a-b": ("y",), "d": ("z",)}


@pytest.mark.parametrize(
    ("first", "then"), [({"equals": None}, {"not_equals": None}), ({"equals": 1}, {"equals": True})]
)
def test_conditions_that_only_python_takes_for_equal_are_a_change(first: dict[str, Any], then: dict[str, Any]) -> None:
    begun = (*subtasks("a"), only_if("b", "a.x", **first))
    final = planned((*subtasks("a"), only_if("b", "a.x", **then)))

    assert shape(reconciled(begun, final)) == {"a": (), "b-b": ("a",)}


def test_a_new_id_is_one_that_nobody_has() -> None:
    long = "x" * MAX_ID
    found = reconciled(subtasks("a", long, "a-c"), planned(subtasks("a:other", f"{long}:other", "a-b")))

    assert shape(found).keys() == {"a-d", "x" * (MAX_ID - 2) + "-b", "a-b"}


@pytest.mark.parametrize(
    "final",
    [
        planned(subtasks("a", "b"), fallbacks={"b": ("y",)}),
        planned((*subtasks("a"), for_each("b", "a"))),
        planned(subtasks("a", "b<-a")),
    ],
    ids=["fallbacks", "for_each", "edges"],
)
def test_everything_that_a_subtask_is_made_of_counts(final: Planned) -> None:
    assert shape(reconciled(subtasks("a", "b"), final)).keys() == {"a", "b-b"}


# -- a plan that is only shown


def test_a_plan_is_shown_as_its_planner_named_it() -> None:
    plan = planned((*subtasks("a", "b<-a"), for_each("c", "a.items")))
    shown = as_plan(in_round(plan, 2).subtasks, "join")

    assert shown == Plan(subtasks=plan.subtasks, aggregate="join")
    assert listing(shown) == "a  x: do a\nb  x after a: do b\nc  x after a for each of a.items: do c"


def test_a_plan_of_the_caller_is_shown_as_it_was_given() -> None:
    given = subtasks("a", "r1.b<-a")

    assert as_plan(given, "auto").subtasks == given
