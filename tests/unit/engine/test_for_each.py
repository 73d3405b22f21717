"""Subtasks that run once for each item of a list."""

from typing import Any

import pytest

from swarm.engine.branching import needed
from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.engine.scheduler import Action, End, Release, Withdraw, advance
from swarm.types.events import AnyEvent
from swarm.types.plan import MAX_SUBTASKS, Subtask
from swarm.types.result import Usage
from tests.builders import (
    accepted,
    failed,
    for_each,
    go,
    only_if,
    planned,
    released,
    releases,
    round_opened,
    solved,
    subtasks,
    valued,
)
from tests.unit.engine.branching import begun_with

# -- for_each


def expanded(count: int, *more: Subtask | str, **settings: Any) -> tuple[Progress, tuple[Action, ...]]:
    """A job whose `b` runs for each of so many items of `a.items`."""
    progress, _ = go(begun_with("a", for_each("b", "a.items"), *more, **settings), solved("a"))
    assert needed(progress) == ("a.items[]",)
    return go(progress, valued(a__items_n=count))


def test_a_subtask_runs_once_for_each_item() -> None:
    progress, actions = expanded(3, "c<-b")
    assert releases(actions) == [("b#1", 1), ("b#2", 1), ("b#3", 1)]

    progress, actions = go(progress, solved("b#2"), solved("b#1"))
    assert actions == ()
    progress, actions = go(progress, solved("b#3"))
    assert releases(actions) == [("c", 1)]
    assert progress.sources(["b"]) == ({}, {"b": {"b#1": "b#1.1", "b#2": "b#2.1", "b#3": "b#3.1"}})
    _, actions = go(progress, solved("c"))
    assert actions == (End(ending="completed"),)


def test_items_keep_to_the_window() -> None:
    progress, actions = expanded(5, window=2)
    assert releases(actions) == [("b#1", 1), ("b#2", 1)]

    _, actions = go(progress, solved("b#1"))
    assert releases(actions) == [("b#3", 1)]


def test_each_item_has_attempts_and_fallbacks_of_its_own() -> None:
    plan = planned([*subtasks("a"), for_each("b", "a")], fallbacks={"b": ("y",)})
    progress, _ = go(Progress(), accepted(attempts=2), plan)
    progress, _ = go(progress, solved("a"), valued(a_n=2))
    progress, actions = go(progress, failed("b#1", retryable=True), solved("b#2"))
    assert releases(actions) == [("b#1", 2)]

    progress, actions = go(progress, failed("b#1", 2, retryable=True))
    assert actions == (Release(subtask="b#1", attempt=3, expert="y"),)
    progress, actions = go(progress, failed("b#1", 3))
    assert actions == (End(ending="partial"),)
    assert [(missing.subtask, missing.expert) for missing in progress.missing()] == [("b#1", "y")]


def test_one_solved_item_is_enough_for_what_follows() -> None:
    progress, _ = expanded(2, "c<-b")
    progress, actions = go(progress, failed("b#1"), solved("b#2"))
    assert releases(actions) == [("c", 1)]
    assert progress.sources(["b"]) == ({}, {"b": {"b#2": "b#2.1"}})

    progress, actions = go(progress, solved("c"))
    assert actions == (End(ending="partial"),)
    assert progress.why == "3 of 4 subtasks were solved"


def test_without_a_solved_item_the_whole_has_failed() -> None:
    progress, _ = expanded(2, "c<-b")
    progress, actions = go(progress, failed("b#1"), failed("b#2"))

    assert actions == (End(ending="partial"),)
    assert progress.steps["b"].state == "failed"
    assert [(m.subtask, m.reason, m.because) for m in progress.missing()] == [
        ("b#1", "timeout", None),
        ("b#2", "timeout", None),
        ("c", "dependency", "b"),
    ]


def test_an_empty_list_is_gone_through_at_once_and_what_waits_for_it_runs() -> None:
    progress, actions = expanded(0, "c<-b")

    assert [action.subtask for action in actions if isinstance(action, Release)] == ["c"]
    assert (progress.steps["b"].state, progress.steps["b"].empty) == ("solved", True)
    assert progress.sources(["b"]) == ({}, {"b": {}})
    assert "b" not in progress.solved


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (valued(a__items_n=11), "a.items is a list of 11, at most 10 are accepted"),
        (
            valued(missing={"a.items[]": "a.items is a text, not a list"}),
            "for_each needs a list in a.items: a.items is a text, not a list",
        ),
    ],
    ids=["too long", "no list"],
)
def test_what_cannot_be_gone_through_fails_and_says_why(known: AnyEvent, said: str) -> None:
    progress, _ = go(begun_with("a", for_each("b", "a.items"), "c<-b", max_items=10), solved("a"))
    progress, actions = go(progress, known)

    assert actions == (End(ending="partial"),)
    assert [(m.subtask, m.reason, m.message) for m in progress.missing()] == [
        ("b", "bad_input", said),
        ("c", "dependency", ""),
    ]


def test_a_job_has_no_more_subtasks_than_a_plan_may_have() -> None:
    progress, _ = go(begun_with("a", for_each("b", "a"), for_each("c", "a"), max_items=1_000), solved("a"))
    progress, actions = go(progress, valued(a_n=900))

    assert len(progress.steps) <= MAX_SUBTASKS
    assert [(m.subtask, m.reason) for m in progress.missing() if "#" not in m.subtask] == [("c", "too_large")]
    assert len(releases(actions)) == 64


def test_a_condition_is_asked_once_before_the_items() -> None:
    both = for_each("b", "a.items", when=only_if("b", "a.x", equals=1).when)
    progress, _ = go(begun_with("a", both), solved("a"))
    assert needed(progress) == ("a.x", "a.items[]")
    assert releases(go(progress, valued(a__x=1, a__items_n=2))[1]) == [("b#1", 1), ("b#2", 1)]

    progress, actions = go(progress, valued(a__x=2, a__items_n=2))
    assert actions == (End(ending="completed"),)
    assert progress.steps.keys() == {"a", "b"}


def test_items_are_withdrawn_with_their_round() -> None:
    plan = planned([*subtasks("a"), for_each("b", "a")], round=1, closed=False)
    progress, _ = go(Progress(), accepted(), round_opened(1), plan)
    progress, _ = go(progress, solved("a"))
    progress, _ = go(progress, valued(a_n=2))
    progress, actions = go(progress, solved("b#1", usage=Usage(calls=1)), round_opened(2))

    assert set(actions) == {Withdraw(subtask=name, attempt=1) for name in ("a", "b#1", "b#2")}
    assert progress.solved == {}
    assert progress.discarded == Usage(calls=1)
    _, actions = go(progress, planned(subtasks("c"), round=2), solved("c"))
    assert actions == (End(ending="completed"),)


def test_items_released_while_their_round_was_withdrawn_are_taken_back() -> None:
    plan = planned([*subtasks("a"), for_each("b", "a")], round=1, closed=False)
    progress, _ = go(Progress(), accepted(), round_opened(1), plan)
    progress, _ = go(progress, solved("a"))
    _, actions = advance(progress, valued(a_n=1))
    assert releases(actions) == [("b#1", 1)]

    _, actions = go(progress, round_opened(2), valued(a_n=1), released("b#1"))
    assert Withdraw(subtask="b#1", attempt=1) in actions


def test_items_that_failed_are_replaced_by_another_plan_and_the_others_stay() -> None:
    plan = planned([*subtasks("a"), for_each("b", "a")], round=1, again=True)
    progress, _ = go(Progress(), accepted(replans=1, attempts=1), round_opened(1), plan)
    progress, _ = go(progress, solved("a"))
    progress, _ = go(progress, valued(a_n=2))
    progress, _ = go(progress, failed("b#1"), solved("b#2"))
    progress, _ = go(progress, round_opened(2), planned(subtasks("c<-b"), round=2))
    progress, actions = go(progress, solved("c"))

    assert actions == (End(ending="completed"),)
    assert [(part.id, part.depends_on) for part in progress.parts()] == [
        ("a", ()),
        ("b#2", ("a",)),
        ("c", ("b#2",)),
    ]


def test_the_results_of_items_can_be_gone_through_too() -> None:
    progress, _ = expanded(2, for_each("c", "b"))
    progress, _ = go(progress, solved("b#1"), solved("b#2"))
    assert needed(progress) == ("b[]",)

    progress, actions = go(progress, valued(b_n=2))
    assert releases(actions) == [("c#1", 1), ("c#2", 1)]


def test_folding_piece_by_piece_gives_the_same_with_conditions_and_lists() -> None:
    plan = [*subtasks("a"), for_each("b", "a.items"), only_if("c<-b", "a.x", equals=1), *subtasks("d<-c")]
    log: list[AnyEvent] = [
        accepted(attempts=1), round_opened(1), planned(plan[:2], round=1, closed=False), released("a"), solved("a"),
        valued(a__items_n=2), released("b#1"), released("b#2"), solved("b#2"), planned(plan, round=1), failed("b#1"),
        valued(a__x=2),
    ]  # fmt: skip
    whole = fold(Progress(), log)

    assert whole.cause == "partial"
    for cut in range(len(log)):
        assert fold(fold(Progress(), log[:cut]), log[cut:]) == whole
