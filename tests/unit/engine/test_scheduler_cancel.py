"""One subtask is cancelled and the rest goes on; what a budget does not allow is given up and ends the job so."""

from __future__ import annotations

import pytest

from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.engine.scheduler import AskPlan, End, Release, Withdraw, advance
from swarm.types.events import AnyEvent
from swarm.types.result import Reason
from tests.builders import (
    accepted,
    begun,
    cancel_asked,
    failed,
    for_each,
    go,
    not_planned,
    part,
    planned,
    released,
    releases,
    round_opened,
    solved,
    started,
    subtasks,
    valued,
    withdrawn,
)


def lacks(progress: Progress) -> list[tuple[str, str, str | None]]:
    return [(missing.subtask, missing.reason, missing.because) for missing in progress.missing()]


# -- one subtask ---------------------------------------------------------------------------------------------------


def test_a_running_subtask_is_stopped_its_descendants_are_dropped_and_the_rest_goes_on() -> None:
    progress, _ = go(begun("a", "b", "c<-a", "d<-b"))
    progress, actions = go(progress, started("a"), cancel_asked("a"))

    assert actions == (Withdraw(subtask="a", attempt=1),)
    assert progress.settled == {"a", "c"}
    progress, actions = go(progress, solved("b"))
    assert releases(actions) == [("d", 1)]
    progress, actions = go(progress, solved("d"))
    assert actions == (End(ending="partial"),)
    assert progress.why == "2 of 4 subtasks were solved, 1 cancelled on request"
    assert lacks(progress) == [("a", "cancelled", None), ("c", "dependency", "a")]
    assert progress.missing()[0].message == "cancelled on request"


def test_a_result_that_comes_after_the_cancel_does_not_count_but_its_cost_does() -> None:
    progress, _ = go(begun("a", "b"))
    progress, _ = go(progress, cancel_asked("a"), solved("a"))

    assert "a" not in progress.solved
    assert progress.steps["a"].state == "failed"


def test_a_subtask_that_is_settled_keeps_its_result() -> None:
    progress, _ = go(begun("a", "b"))
    progress, _ = go(progress, solved("a"))

    assert go(progress, cancel_asked("a"), cancel_asked("a")) == (progress, ())


def test_a_subtask_that_waits_for_its_next_attempt_is_not_tried_again() -> None:
    progress, _ = go(begun("a", "b", fallbacks={"a": ("y",)}))
    waiting, _ = go(progress, failed("a", retryable=True, retry_after=600))
    _, actions = go(waiting, cancel_asked("a"))
    assert actions == (Withdraw(subtask="a", attempt=2),)

    progress, actions = go(progress, cancel_asked("a"), failed("a", retryable=True))
    assert releases(actions) == []
    assert progress.steps["a"].state == "failed"


def test_one_that_waits_for_others_never_runs() -> None:
    progress, _ = go(begun("a", "b<-a"))
    progress, actions = go(progress, cancel_asked("b"))
    assert actions == ()

    _, actions = go(progress, solved("a"))
    assert actions == (End(ending="partial"),)


def test_a_release_decided_before_the_cancel_was_known_is_taken_back() -> None:
    progress = begun("a", "b")
    progress, actions = go(progress, cancel_asked("a"), released("a"))

    assert actions[0] == Withdraw(subtask="a", attempt=1)
    assert decided_again(progress) == []


def decided_again(progress: Progress) -> list[object]:
    return [action for action in advance(progress)[1] if isinstance(action, Withdraw)]


def test_an_unknown_subtask_changes_nothing() -> None:
    progress, _ = go(begun("a"))

    assert go(progress, cancel_asked("zz"), cancel_asked("a#1")) == (progress, ())


def test_cancelling_the_last_open_subtask_ends_the_job() -> None:
    progress, _ = go(begun("a"))
    progress, actions = advance(progress, cancel_asked("a"))

    assert actions == (End(ending="failed"),)
    assert progress.why == "0 of 1 subtasks were solved, 1 cancelled on request"


# -- items -----------------------------------------------------------------------------------------------------------


def with_items() -> Progress:
    log: list[AnyEvent] = [
        accepted(),
        planned([*subtasks("a"), for_each("b", "a.items"), *subtasks("c<-b")]),
        solved("a"),
    ]
    progress, actions = go(fold(Progress(), [*log, valued(a__items_n=3)]))
    assert releases(actions) == [("b#1", 1), ("b#2", 1), ("b#3", 1)]
    return progress


def test_all_items_that_are_not_settled_go_with_their_subtask() -> None:
    progress, _ = go(with_items(), solved("b#1"))
    progress, actions = go(progress, cancel_asked("b"))

    assert actions == (End(ending="partial"),)
    assert set(progress.solved) == {"a", "b#1"}
    assert lacks(progress) == [("b#2", "cancelled", None), ("b#3", "cancelled", None), ("c", "dependency", "b")]


def test_one_item_can_be_cancelled() -> None:
    progress, actions = go(with_items(), cancel_asked("b#2"))
    assert actions == (Withdraw(subtask="b#2", attempt=1),)

    progress, actions = go(progress, solved("b#1"), solved("b#3"))
    assert releases(actions) == [("c", 1)]


def test_an_item_released_after_its_subtask_was_cancelled_is_taken_back() -> None:
    log: list[AnyEvent] = [
        accepted(),
        planned([*subtasks("a", "d"), for_each("b", "a.items")]),
        solved("a"),
        cancel_asked("b"),
    ]
    progress, actions = go(fold(Progress(), [*log, valued(a__items_n=2), released("b#1")]))

    assert Withdraw(subtask="b#1", attempt=1) in actions
    assert progress.steps["b"].items == 0


# -- no plan goes around it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["cancelled", "over_budget", "unpriced"])
def test_what_was_cancelled_or_cannot_be_paid_is_not_planned_around(what: str) -> None:
    log: list[AnyEvent] = [accepted(replans=2), round_opened(1), part("a", "b", round=1, closed=True, again=True)]
    progress, _ = go(fold(Progress(), log))
    lost = cancel_asked("a") if what == "cancelled" else failed("a", reason=_reason(what))
    progress, actions = go(progress, lost, failed("b"))

    assert not [action for action in actions if isinstance(action, AskPlan)]
    assert progress.cause == ("failed" if what == "cancelled" else "over_budget")
    assert not progress.may_plan_again


def _reason(name: str) -> Reason:
    return "unpriced" if name == "unpriced" else "over_budget"


def test_what_was_cancelled_in_a_draft_stays_so_in_the_plan_that_has_it() -> None:
    log: list[AnyEvent] = [accepted(), round_opened(1), part("a", "b", round=1), released("a"), cancel_asked("a")]
    progress, _ = go(fold(Progress(), log))
    progress, _ = go(progress, part("a", "b", "c", round=1, closed=True))

    assert progress.steps["a"].cancelled
    assert lacks(progress)[0] == ("a", "cancelled", None)


# -- money -------------------------------------------------------------------------------------------------------------


def test_a_subtask_over_budget_is_never_retried_but_its_fallback_is_tried() -> None:
    progress, _ = go(begun("a", "b", fallbacks={"a": ("cheap",)}))
    progress, actions = go(progress, failed("a", reason="over_budget", retryable=True))
    assert actions == (Release(subtask="a", attempt=2, expert="cheap"),)

    progress, _ = go(progress, solved("a", 2))
    assert progress.cause is None


def test_independent_subtasks_go_on_and_the_job_ends_over_budget() -> None:
    progress, _ = go(begun("a", "b", "c<-a", "d<-b"))
    progress, actions = go(progress, failed("a", reason="over_budget"))
    assert actions == ()
    progress, actions = go(progress, solved("b"))
    assert releases(actions) == [("d", 1)]

    progress, actions = go(progress, solved("d"))
    assert actions == (End(ending="over_budget"),)
    assert progress.why == "2 of 4 subtasks were solved, 1 given up because the budget does not allow more"
    assert lacks(progress) == [("a", "over_budget", None), ("c", "dependency", "a")]


def test_an_unpriced_model_ends_the_job_over_budget_and_says_so() -> None:
    progress, actions = advance(go(begun("a"))[0], failed("a", reason="unpriced"))

    assert actions == (End(ending="over_budget"),)
    assert progress.why.endswith("1 given up because a budget holds and the model has no price")


def test_what_fails_for_another_reason_after_its_fallback_is_no_matter_of_budget() -> None:
    progress, _ = go(begun("a", fallbacks={"a": ("cheap",)}))
    progress, _ = go(progress, failed("a", reason="over_budget"))
    progress, _ = go(progress, failed("a", 2, reason="refused"))

    assert progress.cause == "failed"


def test_a_planner_without_budget_ends_the_job_over_budget() -> None:
    no_money = not_planned().model_copy(update={"failure": failed("a", reason="over_budget").failure})
    progress, actions = advance(Progress(), accepted(), round_opened(1), no_money)

    assert actions == (End(ending="over_budget"),)
    assert progress.why == "a: over_budget"


def test_a_withdrawal_that_was_written_is_not_asked_for_again() -> None:
    progress, _ = go(begun("a", "b"))
    progress, _ = advance(progress, cancel_asked("a"))
    assert decided_again(progress) == [Withdraw(subtask="a", attempt=1)]

    progress, _ = advance(progress, withdrawn("a"))
    assert decided_again(progress) == []
