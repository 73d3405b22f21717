"""Events that come late, twice or out of order, and how a job ends."""

import pytest

from swarm.engine.progress import RANK, Progress
from swarm.engine.reducer import fold
from swarm.engine.scheduler import End, advance, decide
from swarm.types.answer import Ending
from swarm.types.events import AnyEvent
from swarm.types.result import Usage
from tests.builders import (
    a_plan,
    accepted,
    begun,
    cancel_asked,
    ended,
    failed,
    go,
    numbered,
    planned,
    released,
    releases,
    round_opened,
    solved,
    started,
    tick,
)


def ending(progress: Progress) -> Ending | None:
    """The ending that is decided now."""
    ends = [action.ending for action in decide(progress) if isinstance(action, End)]
    return ends[0] if ends else None


# -- late, repeated, out of order


def test_a_late_failure_of_an_old_attempt_changes_nothing() -> None:
    progress, _ = go(begun("a", attempts=2))
    progress, _ = go(progress, failed("a", 1, retryable=True))
    again, actions = go(progress, failed("a", 1, reason="poison"))

    assert actions == ()
    assert again == progress


def test_a_late_solution_wins_over_a_retry_that_was_released() -> None:
    progress, _ = go(begun("a", "b<-a"))
    progress, _ = go(progress, failed("a", 1, retryable=True))
    progress, actions = go(progress, solved("a", 1))

    assert releases(actions) == [("b", 1)]
    assert progress.solved == {"a": "a.1"}


def test_a_late_solution_spares_a_retry_that_was_not_released() -> None:
    progress, _ = go(begun("a", "b<-a"))
    progress, actions = go(progress, failed("a", 1, retryable=True), solved("a", 1))

    assert releases(actions) == [("b", 1)]


def test_a_retry_decided_while_a_solution_arrived_does_not_reopen_the_subtask() -> None:
    progress, _ = go(begun("a", "b<-a"))
    progress, actions = advance(progress, failed("a", 1, retryable=True))
    assert releases(actions) == [("a", 2)]

    progress, actions = go(progress, solved("a", 1), released("a", 2), failed("a", 2))
    assert releases(actions) == [("b", 1)]
    assert progress.solved == {"a": "a.1"}


def test_a_solution_after_giving_up_is_ignored_but_charged() -> None:
    progress, _ = go(begun("a", "b", "c<-a", attempts=1))
    progress, _ = go(progress, failed("a"))
    progress, actions = go(progress, solved("a", usage=Usage(calls=1, cost=5)))

    assert actions == ()
    assert progress.solved == {}
    assert progress.settled == {"a", "c"}
    assert progress.usage == Usage(calls=1, cost=5)


def test_the_first_of_two_solutions_counts() -> None:
    progress, _ = go(begun("a", "b"))
    progress, _ = go(progress, solved("a", body="first"), solved("a", body="second"))

    assert progress.solved == {"a": "first"}


def test_a_failure_after_a_solution_changes_nothing() -> None:
    progress, _ = go(begun("a", "b"))
    progress, actions = go(progress, solved("a"), failed("a"))

    assert actions == ()
    assert progress.solved == {"a": "a.1"}


def test_a_failure_recorded_twice_burns_one_attempt() -> None:
    progress, _ = go(begun("a", attempts=3))
    progress, actions = go(progress, failed("a", retryable=True), failed("a", retryable=True))

    assert releases(actions) == [("a", 2)]
    assert progress.steps["a"].tried == 1


def test_an_outcome_of_an_unknown_subtask_is_charged_and_otherwise_ignored() -> None:
    progress, _ = go(begun("a"))
    progress, actions = go(progress, solved("zz", usage=Usage(calls=1)))

    assert actions == ()
    assert progress.settled == set()
    assert progress.usage.calls == 1


def test_usage_is_summed_over_all_attempts() -> None:
    progress, _ = go(begun("a"))
    one = Usage(calls=1, input_tokens=10, output_tokens=2, cost=7)
    progress, _ = go(progress, failed("a", 1, retryable=True, usage=one))
    progress, _ = go(progress, failed("a", 1, retryable=True, usage=one), solved("a", 2, usage=one))

    assert progress.usage == Usage(calls=3, input_tokens=30, output_tokens=6, cost=21)


# -- endings


def test_a_job_whose_subtasks_are_all_solved_is_completed() -> None:
    progress, _ = go(begun("a", "b"))
    _, actions = go(progress, solved("a"), solved("b"))

    assert actions == (End(ending="completed"),)


def test_a_job_with_some_subtasks_solved_is_partial() -> None:
    progress, _ = go(begun("a", "b", "c<-b"))
    progress, actions = go(progress, solved("a"), failed("b"))

    assert actions == (End(ending="partial"),)
    assert progress.why == "1 of 3 subtasks were solved"


def test_a_job_with_no_subtask_solved_is_failed() -> None:
    progress, _ = go(begun("a", "b<-a"))
    _, actions = go(progress, failed("a"))

    assert actions == (End(ending="failed"),)


def test_an_empty_plan_is_rejected() -> None:
    progress, actions = go(Progress(), accepted(), planned(()))

    assert actions == (End(ending="rejected"),)
    assert progress.why == "the plan has no subtasks"


def test_the_deadline_is_a_tick_that_is_late_enough() -> None:
    progress, _ = go(begun("a", due=5_000, deadline=True))
    progress, actions = go(progress, tick(4_999))
    assert actions == ()

    progress, actions = go(progress, tick(5_000))
    assert actions == (End(ending="deadline"),)
    assert progress.why == "the deadline passed"
    assert [m.reason for m in progress.missing()] == ["unfinished"]


def test_no_event_but_a_tick_tells_the_time() -> None:
    progress = begun("a", "b", due=5_000)
    late = numbered(released("a"), solved("a"), started("b"), at=9_000)

    assert ending(fold(progress, late)) is None


def test_the_greatest_age_ends_a_job_whose_caller_set_no_deadline() -> None:
    progress, actions = go(begun("a", due=5_000), tick(6_000))

    assert actions == (End(ending="deadline"),)
    assert progress.why == "the job reached its maximum age"


def test_a_cancel_ends_the_job() -> None:
    _, actions = go(begun("a"), cancel_asked())

    assert actions == (End(ending="cancelled"),)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_of_several_causes_the_first_in_rank_counts_in_whatever_order_they_came(order: tuple[int, ...]) -> None:
    progress, _ = go(begun("a", due=5_000))
    causes: tuple[AnyEvent, ...] = (solved("a"), tick(5_000), cancel_asked())
    seen: list[Ending] = []
    for number in order:
        progress = fold(progress, [causes[number]])
        assert progress.cause is not None
        seen.append(progress.cause)

    assert seen[-1] == "cancelled"
    assert [RANK.index(cause) for cause in seen] == sorted((RANK.index(cause) for cause in seen), reverse=True)


def test_nothing_is_released_once_a_cause_is_on_record() -> None:
    progress, _ = go(begun("a", "b<-a"))
    _, actions = go(progress, solved("a"), cancel_asked())

    assert actions == (End(ending="cancelled"),)


def test_an_ended_job_stays_as_it_is() -> None:
    progress, _ = go(begun("a", "b"))
    progress = fold(progress, [ended("cancelled")])
    after, actions = go(progress, solved("a"), tick(9_000_000), cancel_asked(), round_opened(9), ended("completed"))

    assert actions == ()
    assert after == progress
    assert after.cause == "cancelled"


# -- the fold


def test_folding_piece_by_piece_gives_the_same_as_in_one_go() -> None:
    log = numbered(
        accepted(), planned(a_plan("a", "b<-a")), released("a"), failed("a", retryable=True), released("a", 2),
        solved("a", 2), released("b"), started("b"), solved("b"), ended("completed", complete=True),
    )  # fmt: skip
    whole = fold(Progress(), log)

    for cut in range(len(log)):
        assert fold(fold(Progress(), log[:cut]), log[cut:]) == whole


def test_a_fold_leaves_what_it_began_with_untouched() -> None:
    before = begun("a", "b<-a")
    copy = before.model_copy(deep=True)
    fold(before, [released("a"), solved("a"), planned(a_plan("c"))])

    assert before == copy


def test_a_plan_of_a_thousand_in_a_row_is_settled_without_recursion() -> None:
    words = ["t0", *(f"t{number}<-t{number - 1}" for number in range(1, 1_000))]
    progress, _ = go(begun(*words))
    progress, actions = go(progress, failed("t0"))

    assert actions == (End(ending="failed"),)
    assert len(progress.settled) == 1_000
