"""How planning rounds become one plan: pieces and the whole, planners that die, new plans around what failed."""

import pytest

from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.engine.scheduler import HEAVY, End, Release, Withdraw, advance
from swarm.types.answer import Ending
from swarm.types.events import AnyEvent
from swarm.types.result import Usage
from tests.builders import (
    a_plan,
    accepted,
    begun,
    cancel_asked,
    failed,
    go,
    not_planned,
    part,
    planned,
    released,
    releases,
    round_opened,
    solved,
    subtasks,
    tick,
    withdrawn,
)


def test_subtasks_are_released_while_the_plan_is_still_written() -> None:
    progress, actions = go(Progress(), accepted(), round_opened(1), part("a", round=1))
    assert releases(actions) == [("a", 1)]

    _, actions = go(progress, solved("a"), part("b<-a", round=1))
    assert releases(actions) == [("b", 1)]


def test_a_plan_that_is_whole_has_the_order_of_its_text_whatever_began_first() -> None:
    whole = part("a", "b", "c", round=1, closed=True)
    progress, _ = go(Progress(), accepted(), round_opened(1), part("c", round=1), whole)

    assert [subtask.id for subtask in progress.subtasks] == ["a", "b", "c"]


def test_nothing_ends_a_job_whose_round_is_open() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", "b", round=1))
    progress, actions = go(progress, solved("a"), failed("b"))
    assert actions == ()

    _, actions = go(progress, part("a", "b", round=1, closed=True))
    assert actions == (End(ending="partial"),)


@pytest.mark.parametrize(
    ("event", "expected"), [(cancel_asked(), "cancelled"), (tick(1_000_000), "deadline")], ids=["cancel", "deadline"]
)
def test_cancel_and_deadline_end_a_job_whose_round_is_open(event: AnyEvent, expected: Ending) -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", round=1))
    _, actions = go(progress, event)

    assert actions == (End(ending=expected),)


def test_a_new_round_withdraws_what_an_unfinished_one_had_started() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", "b", "c<-a", round=1))
    progress, actions = go(progress, solved("b"), round_opened(2))
    assert actions == (Withdraw(subtask="a", attempt=1), Withdraw(subtask="b", attempt=1))

    progress, actions = go(progress, part("d", round=2, closed=True), solved("a"))
    assert actions == (Release(subtask="d", attempt=1, expert="x"),), "a withdrawal is decided once"
    assert [subtask.id for subtask in progress.subtasks] == ["d"]

    _, actions = go(progress, solved("d"))
    assert End(ending="completed") in actions


def test_what_was_withdrawn_is_charged() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", round=1))
    progress, _ = go(progress, round_opened(2), solved("a", usage=Usage(calls=1, cost=4)))

    assert progress.usage == Usage(calls=1, cost=4)
    assert progress.solved == {}


def test_a_release_decided_while_its_round_was_withdrawn_is_taken_back() -> None:
    progress, actions = advance(Progress(), accepted(), round_opened(1), part("a", round=1))
    assert releases(actions) == [("a", 1)]

    _, actions = go(progress, round_opened(2), released("a"))

    assert actions == (Withdraw(subtask="a", attempt=1),)


def test_a_retry_decided_while_its_round_was_withdrawn_is_taken_back() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", round=1))
    progress, actions = advance(progress, failed("a", retryable=True))
    assert releases(actions) == [("a", 2)]

    _, actions = go(progress, round_opened(2), released("a", 2))
    assert actions == (Withdraw(subtask="a", attempt=2),)


def test_a_retry_that_a_late_solution_made_needless_is_withdrawn_with_its_round() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", round=1))
    progress, _ = advance(progress, failed("a", retryable=True))
    _, actions = go(progress, solved("a", 1), released("a", 2), round_opened(2))

    assert actions == (Withdraw(subtask="a", attempt=2),)


def test_a_planner_that_was_thought_dead_cannot_speak_for_the_new_round() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), round_opened(2))
    progress, actions = go(progress, part("a", round=1, closed=True), not_planned(round=1))

    assert actions == ()
    assert progress.open_round == 2
    assert progress.steps == {}


def test_a_round_that_opens_late_does_not_replace_a_newer_one() -> None:
    progress = fold(Progress(), [accepted(), round_opened(2), part("a", round=2), round_opened(1)])

    assert progress.open_round == 2
    assert progress.steps["a"].state == "waiting"


def test_a_planner_that_gives_up_rejects_the_job() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", round=1))
    progress, actions = go(progress, solved("a"), not_planned("nothing fits"))

    assert actions == (End(ending="rejected"),)
    assert progress.why == "nothing fits"


def test_a_later_round_adds_to_a_plan_that_was_complete() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", "b", round=1, closed=True))
    progress, actions = go(progress, round_opened(2), solved("a"), solved("b"))
    assert actions == ()

    progress, actions = go(progress, part("c<-a", round=2, closed=True))
    assert releases(actions) == [("c", 1)]
    assert progress.solved == {"a": "a.1", "b": "b.1"}


def test_a_later_round_that_fails_leaves_the_plan_that_was_complete() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", round=1, closed=True))
    progress, actions = go(progress, round_opened(2), part("b", round=2), solved("a"), not_planned(round=2))

    assert actions == (End(ending="completed"),)


def test_a_part_that_comes_twice_joins_once() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", round=1))
    progress, actions = go(progress, part("a", round=1))

    assert actions == ()
    assert [subtask.id for subtask in progress.subtasks] == ["a"]


def test_a_plan_of_the_caller_is_taken_once() -> None:
    progress, _ = go(begun("a"))
    again = fold(progress, [planned(a_plan("b"))])

    assert again == progress


def test_subtasks_that_join_after_their_dependency_failed_are_dropped() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", "z", round=1))
    progress, actions = go(progress, failed("a"), part("a", "z", "b<-a", "c<-b", round=1, closed=True))

    assert actions == ()
    assert progress.settled == {"a", "b", "c"}


def test_subtasks_that_join_after_their_dependency_was_dropped_are_dropped() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", "b<-a", "z", round=1))
    progress, _ = go(progress, failed("a"))
    progress, _ = go(progress, part("a", "b<-a", "z", "d<-c", "c<-b", round=1, closed=True))

    assert progress.settled == {"a", "b", "c", "d"}
    assert {step.because for name, step in progress.steps.items() if name in "bcd"} == {"a"}
    _, actions = go(progress, solved("z"))
    assert actions == (End(ending="partial"),)


def test_a_withdrawal_is_decided_until_it_is_on_record() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", round=1))
    progress, actions = advance(progress, round_opened(2))
    assert actions == (Withdraw(subtask="a", attempt=1),)

    progress, again = advance(progress)
    assert again == actions
    assert advance(progress, withdrawn("a"))[1] == ()


def test_heavy_results_that_were_withdrawn_do_not_count() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", "b", round=1))
    heavy = solved("a", size=HEAVY), solved("b", size=HEAVY)
    progress, _ = go(progress, *heavy, round_opened(2), part("c", round=2, closed=True))
    _, actions = go(progress, solved("c"))

    assert End(ending="completed") in actions


# -- pieces and the whole


def test_a_piece_waits_for_one_that_is_still_to_come() -> None:
    progress, actions = go(Progress(), accepted(), round_opened(1), part("b<-a", round=1))
    assert actions == ()
    assert [missing.subtask for missing in progress.missing()] == ["b"]

    progress, actions = go(progress, part("a", "b<-a", round=1, closed=True))
    assert releases(actions) == [("a", 1)]
    _, actions = go(progress, solved("a"))
    assert releases(actions) == [("b", 1)]


def test_what_the_whole_plan_does_not_have_is_withdrawn_and_charged() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", "b", "c<-b", round=1))
    spent = solved("b", usage=Usage(calls=1, cost=7))
    progress, actions = go(progress, spent, part("a", "d", round=1, closed=True))

    assert set(actions) == {
        Withdraw(subtask="b", attempt=1),
        Release(subtask="d", attempt=1, expert="x"),
    }
    assert [subtask.id for subtask in progress.subtasks] == ["a", "d"]
    assert progress.discarded == Usage(calls=1, cost=7)
    _, actions = go(progress, solved("a"), solved("d"))
    assert actions == (End(ending="completed"),)


@pytest.mark.parametrize(
    "change",
    [{"expert": "y"}, {"instruction": "do it well"}, {"output": {"type": "object"}}, {"depends_on": ("a",)}],
    ids=lambda change: str(*change),
)
def test_what_the_whole_plan_has_otherwise_is_withdrawn(change: dict[str, object]) -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", "b", round=1))
    a, b = subtasks("a", "b")
    whole = planned((a, b.model_copy(update=change)), round=1)
    progress, actions = go(progress, whole)

    assert actions == (Withdraw(subtask="b", attempt=1),)
    assert [subtask.id for subtask in progress.subtasks] == ["a"]


def test_what_the_whole_plan_gives_other_fallbacks_is_withdrawn() -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part("a", "b", round=1))
    _, actions = go(progress, planned(subtasks("a", "b"), round=1, fallbacks={"b": ("y",)}))

    assert actions == (Withdraw(subtask="b", attempt=1),)


@pytest.mark.parametrize("whole", [("a<-b", "b<-a", "c"), ("a<-q", "b<-a", "c")], ids=["circle", "dangling"])
def test_what_could_never_run_in_a_whole_plan_does_not_hold_the_job(whole: tuple[str, ...]) -> None:
    progress, _ = go(Progress(), accepted(), round_opened(1), part(*whole, round=1, closed=True))
    progress, actions = go(progress, solved("c"))

    assert actions == (End(ending="partial"),)
    assert [(missing.subtask, missing.reason) for missing in progress.missing()] == [
        ("a", "dependency"),
        ("b", "dependency"),
    ]


def test_only_the_whole_plan_says_how_its_results_become_one() -> None:
    piece = planned(subtasks("a"), round=1, closed=False, aggregate="vote")
    progress, _ = go(Progress(), accepted(), round_opened(1), piece)
    assert progress.graph.aggregate == "auto"

    progress, _ = go(progress, planned(subtasks("a"), round=1, aggregate="vote"))
    assert progress.graph.aggregate == "vote"


def test_what_planning_used_is_charged() -> None:
    used = Usage(calls=2, cost=30)
    progress, _ = go(Progress(), accepted(), round_opened(1), planned(subtasks("a"), round=1, usage=used))
    assert progress.usage == used

    progress, _ = go(Progress(), accepted(), round_opened(1), not_planned().model_copy(update={"usage": used}))
    assert progress.usage == used


# -- a plan that is only shown


def test_a_plan_that_is_only_asked_for_is_not_run() -> None:
    progress, actions = go(Progress(), accepted(plan_only=True), round_opened(1))
    assert actions == ()

    _, actions = go(progress, part("a", "b<-a", round=1, closed=True))
    assert actions == (End(ending="completed"),)


def test_a_plan_that_is_only_asked_for_and_cannot_be_made_is_rejected() -> None:
    _, actions = go(Progress(), accepted(plan_only=True), round_opened(1), not_planned())

    assert actions == (End(ending="rejected"),)
