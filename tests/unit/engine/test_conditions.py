"""Subtasks that run only on a condition."""

from typing import Any

import pytest

from swarm.engine.branching import needed
from swarm.engine.progress import Progress
from swarm.engine.scheduler import AskPlan, End
from swarm.types.events import AnyEvent
from tests.builders import (
    accepted,
    failed,
    go,
    only_if,
    planned,
    releases,
    round_opened,
    solved,
    subtasks,
    valued,
)
from tests.unit.engine.branching import begun_with

# -- when


def test_a_condition_is_looked_up_when_all_else_is_there() -> None:
    progress = begun_with("a", "b", only_if("c<-b", "a.label", equals="yes"))
    assert needed(progress) == ()

    progress, actions = go(progress, solved("a"))
    assert (needed(progress), actions) == ((), ())

    progress, actions = go(progress, solved("b"))
    assert (needed(progress), actions) == (("a.label",), ())
    progress, actions = go(progress, valued(a__label="yes"))
    assert (needed(progress), releases(actions)) == ((), [("c", 1)])


def test_a_subtask_whose_condition_does_not_hold_is_skipped_and_not_missing() -> None:
    progress, _ = go(begun_with("a", only_if("b", "a.label", equals="yes"), "c<-a"), solved("a"))
    progress, actions = go(progress, valued(a__label="no"), solved("c"))

    assert actions == (End(ending="completed"),)
    assert progress.steps["b"].state == "skipped"
    assert progress.steps["b"].message == "its condition on a.label does not hold"
    assert progress.missing() == ()


@pytest.mark.parametrize(
    ("comparison", "known", "said"),
    [
        ({"not_equals": "yes"}, valued(missing={"a.n": "it has no fields"}), "a.n: it has no fields"),
        ({"at_least": 3}, valued(a__n="many"), 'a.n is "many", not a number: at_least cannot be judged'),
        ({"at_most": 3}, valued(a__n=None), "a.n is null, not a number: at_most cannot be judged"),
    ],
    ids=["not there", "a text", "null"],
)
def test_a_condition_that_cannot_be_judged_fails_and_says_why(
    comparison: dict[str, Any], known: AnyEvent, said: str
) -> None:
    progress, _ = go(begun_with("a", only_if("b", "a.n", **comparison), "c<-b"), solved("a"))
    progress, actions = go(progress, known)

    assert actions == (End(ending="partial"),)
    assert [(m.subtask, m.reason, m.message, m.because) for m in progress.missing()] == [
        ("b", "bad_input", said, None),
        ("c", "dependency", "", "b"),
    ]
    assert needed(progress) == ()


def test_null_that_stands_there_is_compared_as_null() -> None:
    none, some = only_if("b", "a.n", equals=None), only_if("c", "a.n", not_equals=None)
    progress, _ = go(begun_with("a", none, some), solved("a"))
    progress, actions = go(progress, valued(a__n=None))

    assert releases(actions) == [("b", 1)]
    assert progress.steps["c"].state == "skipped"


def test_a_condition_on_a_skipped_result_skips_without_a_look() -> None:
    first, second = only_if("b", "a.x", equals=1), only_if("c<-a", "b.y", not_equals=1)
    progress, _ = go(begun_with("a", first, second), solved("a"))
    progress, actions = go(progress, valued(a__x=2))

    assert actions == (End(ending="completed"),)
    assert (progress.steps["c"].state, progress.steps["c"].message) == ("skipped", "b.y: b was skipped")


def test_a_condition_that_cannot_be_judged_may_be_mended_by_another_plan() -> None:
    plan = planned([*subtasks("a"), only_if("b", "a.lable", equals="x")], round=1, again=True)
    progress, _ = go(Progress(), accepted(replans=1, attempts=1), round_opened(1), plan)
    progress, actions = go(progress, solved("a"), valued(missing={"a.lable": "it has label"}))
    assert actions == (AskPlan(number=2),)

    mended = only_if("c", "a.label", equals="x")
    progress, _ = go(progress, round_opened(2), planned([mended], round=2))
    progress, actions = go(progress, valued(a__label="x"), solved("c"))
    assert actions == (End(ending="completed"),)


def test_one_look_serves_all_that_ask_for_the_same() -> None:
    first, other = only_if("b", "a.label", equals="x"), only_if("c", "a.label", equals="y")
    progress, _ = go(begun_with("a", first, other, only_if("d<-c", "a.label", equals="x")), solved("a"))
    assert needed(progress) == ("a.label",)

    progress, actions = go(progress, valued(a__label="y"))
    assert releases(actions) == [("c", 1)]
    progress, actions = go(progress, solved("c"))
    assert (needed(progress), actions) == ((), (End(ending="completed"),))


def test_what_waits_only_for_skipped_subtasks_is_skipped_too() -> None:
    progress, _ = go(begun_with("a", only_if("b", "a.x", equals=1), "c<-b", "d<-c"), solved("a"))
    progress, actions = go(progress, valued(a__x=2))

    assert actions == (End(ending="completed"),)
    assert {name for name, step in progress.steps.items() if step.state == "skipped"} == {"b", "c", "d"}


def test_what_waits_for_something_solved_besides_runs() -> None:
    progress, _ = go(begun_with("a", "z", only_if("b", "a.x", equals=1), "c<-b,z"), solved("a"), solved("z"))
    progress, actions = go(progress, valued(a__x=2))

    assert releases(actions) == [("c", 1)]
    assert progress.sources(["b", "z"]) == ({"b": "", "z": "z.1"}, {})


def test_a_failure_before_a_condition_is_a_failure() -> None:
    progress, actions = go(begun_with("a", "z", only_if("b", "a.x", equals=1)), failed("a"), solved("z"))

    assert actions == (End(ending="partial"),)
    assert {missing.subtask: missing.reason for missing in progress.missing()} == {"a": "timeout", "b": "dependency"}


def test_a_condition_that_joins_late_is_decided_on_what_is_known() -> None:
    one, two = only_if("b", "a.x", equals=1), only_if("c", "a.x", equals=2)
    progress, _ = go(Progress(), accepted(), round_opened(1), planned([*subtasks("a"), one], round=1, closed=False))
    progress, actions = go(progress, solved("a"), valued(a__x=1), planned([*subtasks("a"), one, two], round=1))

    assert releases(actions) == [("b", 1)]
    assert progress.steps["c"].state == "skipped"


def test_the_place_of_a_skipped_subtask_is_taken_by_what_it_waited_for() -> None:
    first, other = only_if("b", "a.x", equals=1), only_if("c", "a.x", equals=2)
    progress, _ = go(begun_with("a", first, other, "d<-c,z", "z"), solved("a"), solved("z"), valued(a__x=1))

    assert [(part.id, part.depends_on) for part in progress.parts()] == [
        ("a", ()),
        ("b", ("a",)),
        ("d", ("a", "z")),
        ("z", ()),
    ]
