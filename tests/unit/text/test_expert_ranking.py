"""Experts are ranked by the words they share with a request, one wrong letter in a long word included."""

from __future__ import annotations

import pytest

from swarm.errors import NoPlan
from swarm.planner.local import planner
from swarm.text.expert_ranking import index
from swarm.types.card import Card

CARDS = {
    name: Card(name=name, kind="rag", description=text, model="local/extract")
    for name, text in (("pool", "Swimming hours and prices."), ("parking", "Permits and fines."))
}


@pytest.mark.parametrize("typed", ["premits", "pemits", "perrmits", "permuts"])
def test_one_wrong_letter_in_a_long_word_is_forgiven(typed: str) -> None:
    assert [s.expert for s in planner.plan(f"Where are {typed}?", CARDS).subtasks] == ["parking"]


def test_other_words_and_short_ones_are_as_they_are() -> None:
    words = index(CARDS)

    assert words.spelt(("finns", "hermit", "permit")) == ("finns", "hermit", "permit")
    with pytest.raises(NoPlan):
        planner.plan("Where is the hermit?", CARDS)


def test_a_spelling_that_two_words_share_stands_for_neither() -> None:
    cards = {
        name: Card(name=name, kind="rag", description=text, model="local/extract")
        for name, text in (("one", "Explains planets."), ("two", "Explains planers."))
    }

    assert index(cards).spelt(("planeqs",)) == ("planeqs",)
