"""Which expert is asked if the first finds nothing."""

import pytest

from swarm.planner.base import runner_ups
from swarm.text.expert_ranking import NAMED, Match
from swarm.types.card import Card, Kind
from swarm.types.plan import Condition, Subtask


def card(name: str, kind: Kind = "rag", fallback: tuple[str, ...] = ()) -> Card:
    return Card(name=name, kind=kind, description=name, model="local/extract", fallback=fallback)


CARDS = {
    each.name: each for each in (card("a", fallback=("spare",)), card("b"), card("spare"), card("head", "fine-tuned"))
}
TASK = Subtask(id="t1", expert="a", instruction="Find it.")
WHEN = Subtask(id="t2", expert="b", instruction="Else.", when=Condition(result="t1.found", equals=False))


@pytest.mark.parametrize(
    ("ranked", "found"),
    [
        ([Match("a", 2.0), Match("b", 1.0)], {"t1": "b"}),
        ([Match("a", 2.2), Match("b", 1.0)], {}),
        ([Match("a", 1.5), Match("b", 0.9)], {}),
        ([Match("a", 2.0), Match("head", 1.9), Match("spare", 1.8), Match("b", 1.7)], {"t1": "b"}),
        ([Match("head", 2.0), Match("b", 1.9)], {}),
        ([Match("a", NAMED), Match("b", NAMED)], {}),
        ([Match("a", 2.0)], {}),
    ],
    ids=["related", "far behind", "too low", "next that searches", "a label", "called by name", "alone"],
)
def test_the_runner_up_searches_too_and_fits_clearly(ranked: list[Match], found: dict[str, str]) -> None:
    assert runner_ups([TASK], [ranked], CARDS, 1.0) == found


def test_a_plan_that_says_what_follows_when_nothing_is_found_names_none() -> None:
    both = [Match("a", 2.0), Match("b", 1.9)]

    assert runner_ups([TASK, WHEN], [both, [Match("b", 2.0)]], CARDS, 1.0) == {}
