"""New plans: when one is asked for, what it takes the place of, and what is kept."""

import pytest

from swarm.engine.progress import Progress
from swarm.engine.scheduler import HEAVY, Action, AskAnswer, AskPlan, End, Release, Withdraw
from swarm.types.answer import Ending
from swarm.types.events import AnyEvent
from tests.builders import (
    accepted,
    answered,
    cancel_asked,
    failed,
    go,
    not_planned,
    part,
    planned,
    releases,
    round_opened,
    solved,
    tick,
)


def a_first_plan(*words: str, replans: int = 1, again: bool = True) -> Progress:
    """A job whose first plan is whole and released, of a planner that can plan again."""
    whole = part(*words, round=1, closed=True, again=again)
    return go(Progress(), accepted(replans=replans, attempts=1), round_opened(1), whole)[0]


def test_a_failure_asks_for_another_plan_when_everything_is_settled() -> None:
    progress, actions = go(a_first_plan("a", "b"), failed("a"))
    assert actions == ()

    progress, actions = go(progress, solved("b"))
    assert actions == (AskPlan(number=2),)
    assert go(progress, tick(1))[1] == actions, "until somebody has begun to plan"
    assert go(progress, round_opened(2))[1] == ()


@pytest.mark.parametrize(
    "progress", [a_first_plan("a", "b", replans=0), a_first_plan("a", "b", again=False)], ids=["none left", "cannot"]
)
def test_without_another_plan_the_job_ends(progress: Progress) -> None:
    _, actions = go(progress, failed("a"), solved("b"))

    assert actions == (End(ending="partial"),)


def test_another_plan_takes_the_place_of_what_failed_and_keeps_what_is_done() -> None:
    progress, _ = go(a_first_plan("a", "b", "c<-a"), failed("a"), solved("b"))
    progress, actions = go(progress, round_opened(2), part("d<-b", "e", round=2, closed=True))
    assert releases(actions) == [("d", 1), ("e", 1)]
    assert [missing.subtask for missing in progress.missing()] == ["d", "e"]

    progress, actions = go(progress, solved("d"), solved("e"))
    assert End(ending="completed") in actions
    assert [subtask.id for subtask in progress.parts()] == ["b", "d", "e"]


def test_no_more_plans_are_made_than_are_allowed() -> None:
    progress, _ = go(a_first_plan("a", replans=2), failed("a"))
    progress, _ = go(progress, round_opened(2), part("b", round=2, closed=True, again=True))
    progress, actions = go(progress, failed("b"))
    assert [a for a in actions if not isinstance(a, Withdraw)] == [AskPlan(number=3)]

    progress, _ = go(progress, round_opened(3), part("c", round=3, closed=True, again=True))
    _, actions = go(progress, failed("c"))
    assert [a for a in actions if not isinstance(a, Withdraw)] == [End(ending="failed")]


@pytest.mark.parametrize("last", [not_planned(round=2), planned((), round=2)], ids=["refuses", "plans nothing"])
def test_when_no_other_plan_comes_about_the_job_ends_as_it_would_have(last: AnyEvent) -> None:
    progress, _ = go(a_first_plan("a", "b"), failed("a"), solved("b"))
    progress, actions = go(progress, round_opened(2), part("c", round=2))
    assert releases(actions) == [("c", 1)]

    progress, actions = go(progress, last)
    assert actions == (End(ending="partial"),)
    assert [missing.subtask for missing in progress.missing()] == ["a"]
    assert progress.why == "1 of 2 subtasks were solved"


def test_a_planner_killed_while_it_plans_again_is_followed_by_another_round() -> None:
    progress, _ = go(a_first_plan("a", "b"), failed("a"), solved("b"))
    progress, _ = go(progress, round_opened(2), part("c", round=2))
    progress, actions = go(progress, round_opened(3), part("d", round=3, closed=True))

    assert set(actions) == {Withdraw(subtask="c", attempt=1), Withdraw(subtask="a", attempt=1)} | set(released_now("d"))
    _, actions = go(progress, solved("d"))
    assert actions == (End(ending="completed"),)


def released_now(*names: str) -> list[Action]:
    return [Release(subtask=name, attempt=1, expert="x") for name in names]


@pytest.mark.parametrize(
    ("event", "expected"), [(cancel_asked(), "cancelled"), (tick(1_000_000), "deadline")], ids=["cancel", "deadline"]
)
def test_cancel_and_deadline_hold_while_another_plan_is_made(event: AnyEvent, expected: Ending) -> None:
    progress, _ = go(a_first_plan("a", "b"), failed("a"), solved("b"))

    assert go(progress, event)[1] == (End(ending=expected),)
    progress, _ = go(progress, round_opened(2))
    assert go(progress, event)[1] == (End(ending=expected),)


def lacking(what: str = "the price") -> AnyEvent:
    return answered("").model_copy(update={"lacking": what})


def test_an_answer_that_lacks_something_asks_for_another_plan() -> None:
    progress, _ = go(a_first_plan("a", "b"))
    progress, actions = go(progress, solved("a", size=HEAVY), solved("b", size=HEAVY))
    assert actions == (AskAnswer(number=1),)

    progress, actions = go(progress, lacking())
    assert actions == (AskPlan(number=2),)
    assert progress.lacking == "the price"
    progress, actions = go(progress, round_opened(2), part("c<-a", round=2, closed=True, again=True))
    assert releases(actions) == [("c", 1)]
    progress, actions = go(progress, solved("c"))
    assert actions == (AskAnswer(number=2),), "with what was added the answer is made anew"
    _, actions = go(progress, answered("answer.2"))
    assert actions == (End(ending="completed"),)


def test_an_answer_is_made_of_what_is_there_when_no_other_plan_comes_about() -> None:
    progress, _ = go(a_first_plan("a", "b"))
    progress, _ = go(progress, solved("a", size=HEAVY), solved("b", size=HEAVY))
    progress, _ = go(progress, lacking())
    progress, actions = go(progress, round_opened(2), not_planned(round=2))

    assert actions == (AskAnswer(number=2),)
    assert go(progress, lacking())[1] == (End(ending="completed"),), "another plan is not asked for again"


def test_why_planning_again_came_to_nothing_is_kept_until_a_plan_comes() -> None:
    progress, _ = go(a_first_plan("a", "b", replans=2), failed("a"), solved("b"))
    progress, _ = go(progress, round_opened(2), not_planned("box/small: HTTP 500: out of memory", round=2))
    assert progress.unplanned == "box/small: HTTP 500: out of memory"

    progress, _ = go(progress, round_opened(3), part("c<-b", round=3, closed=True))
    assert progress.unplanned == ""
