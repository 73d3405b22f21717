"""When a job's answer is made by the decision that ends it, and when in a delivery of its own."""

import pytest

from swarm.engine.scheduler import HEAVY, AskAnswer, End
from swarm.types.answer import Ending
from swarm.types.events import AnyEvent
from tests.builders import (
    answered,
    begun,
    cancel_asked,
    go,
    not_answered,
    solved,
    tick,
)


def heavy(subtask: str) -> AnyEvent:
    return solved(subtask, size=HEAVY)


def test_light_results_are_answered_at_once() -> None:
    progress, _ = go(begun("a"))
    _, actions = go(progress, heavy("a"))

    assert actions == (End(ending="completed"),)


def test_heavy_results_are_answered_in_a_delivery_of_its_own() -> None:
    progress, _ = go(begun("a", "b"))
    progress, actions = go(progress, heavy("a"), heavy("b"))
    assert actions == (AskAnswer(number=1),)

    progress, actions = go(progress, answered("body"))
    assert actions == (End(ending="completed"),)
    assert progress.answer == "body"


def test_an_answer_that_could_not_be_made_ends_the_job_all_the_same() -> None:
    progress, _ = go(begun("a", "b"))
    progress, _ = go(progress, heavy("a"), heavy("b"))
    progress, actions = go(progress, not_answered())

    assert actions == (End(ending="completed"),)
    assert progress.answer_failed


def test_asking_for_the_answer_is_repeated_until_it_is_there() -> None:
    progress, _ = go(begun("a", "b"))
    progress, _ = go(progress, heavy("a"), heavy("b"))

    assert go(progress, tick(5))[1] == (AskAnswer(),)


@pytest.mark.parametrize(
    ("event", "expected"), [(cancel_asked(), "cancelled"), (tick(1_000_000), "deadline")], ids=["cancel", "deadline"]
)
def test_cancel_and_deadline_outrank_completed_while_the_answer_is_pending(event: AnyEvent, expected: Ending) -> None:
    progress, _ = go(begun("a", "b"))
    progress, _ = go(progress, heavy("a"), heavy("b"))
    _, actions = go(progress, event)

    assert actions == (End(ending=expected),)
