"""Plans by meaning: each wish is at its expert, in its order and under its condition, or named as left out."""

from __future__ import annotations

import pytest

from swarm.errors import NoPlan
from swarm.planner.local.by_meaning import by_words_alone, plan_by_meaning
from swarm.planner.local.conditions import labels
from swarm.planner.local.wish_ranking import compared
from swarm.text.segments import segmented
from swarm.types.card import Card, Kind
from swarm.types.events import Planned

MEANT = {
    "returns": "broken smashed money curtains send",
    "shipping": "parcel postage long norway italy spain carrier",
    "mood": "mood review unhappy rate",
    "writer": "write reply letter mail answer",
}
"""Words by which a request is like an expert: a measure that the tests can foresee."""


def card(name: str, kind: Kind, description: str) -> Card:
    return Card(name=name, kind=kind, description=description, model="local/template")


CARDS = {
    one.name: one
    for one in (
        card("returns", "rag", "Knows the policy."),
        card("shipping", "rag", "Knows the ways."),
        card("mood", "fine-tuned", "Says whether feedback is good, fair or bad."),
        card("writer", "instruction", "Drafts texts."),
    )
}


def planned(text: str) -> Planned:
    parts = segmented(text)
    known = set(compared(text, parts))

    def similar(said: str) -> dict[str, float]:
        assert said in known, "a text was looked up that was not to be compared"
        words = said.lower().replace("?", " ").replace(".", " ").replace(",", " ").split()
        return {name: 5.0 * sum(word in meant.split() for word in words) for name, meant in MEANT.items()}

    return plan_by_meaning(text, parts, CARDS, similar)


def shape(text: str) -> list[str]:
    """Each subtask as `expert<-dependencies`, with its condition."""
    found = []
    for subtask in planned(text).subtasks:
        when = f" if {subtask.when.result} {subtask.when.comparison}" if subtask.when else ""
        found.append(f"{subtask.expert}<-{','.join(subtask.depends_on)}{when}")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my mug arrived smashed", ["returns<-"]),
        ("The mug came smashed. What can I do?", ["returns<-"]),
        ("How long does a parcel take, and can I get my money back?", ["shipping<-", "returns<-"]),
        ("Rate this review: 'Lovely bowl, it came very late though'. Then write a reply.", ["mood<-", "writer<-t1"]),
        ("Is there postage to Norway? If not, write a mail.", ["shipping<-", "writer<-t1 if t1.found equals"]),
        ("Rate the review. If it is bad, write a letter.", ["mood<-", "writer<-t1 if t1.label equals"]),
        ("Before you write a letter, find the postage.", ["shipping<-", "writer<-t1"]),
        ("the postage to Spain and money for curtains", ["shipping<-", "returns<-"]),
        ("For each of these tell me the postage: Norway, Spain and Italy", ["shipping<-"] * 3),
        ("What is the postage? Keep it short.", ["shipping<-"]),
        ("I need to write a letter. First, find the postage.", ["shipping<-"]),
        ("Find the postage. Name the carrier.", ["shipping<-"]),
        ("What is the postage? And who is the carrier?", ["shipping<-", "shipping<-"]),
    ],
)
def test_a_wish_is_given_to_the_expert_it_is_like(text: str, expected: list[str]) -> None:
    assert shape(text) == expected
    assert planned(text).left_out == ()


def test_a_condition_is_on_what_the_expert_before_returns() -> None:
    when = planned("Is there postage to Norway? If not, write a mail.").subtasks[1].when
    label = planned("Rate the review. If it is bad, write a letter.").subtasks[1].when

    assert when is not None
    assert (when.result, when.equals) == ("t1.found", False)
    assert label is not None
    assert (label.result, label.equals) == ("t1.label", "bad")


def test_a_condition_that_no_field_can_tell_is_left_to_the_expert() -> None:
    subtask = planned("Write a letter. If it is long, find the postage.").subtasks[1]

    assert (subtask.when, subtask.depends_on) == (None, ("t1",))
    assert "Only if this holds: if it is long" in subtask.instruction
    assert "Result of t1 (writer): ${t1}" in subtask.instruction


def test_each_thing_of_a_list_is_asked_about_on_its_own() -> None:
    subtasks = planned("For each of these tell me the postage: Norway, Spain and Italy").subtasks

    assert [s.instruction.rpartition("Your part of this: ")[2] for s in subtasks] == ["Norway", "Spain", "Italy"]


def test_a_wish_that_fits_none_is_named_and_the_others_are_planned() -> None:
    plan = planned("What is the postage to Norway? Also book me a table for two at Luigi's.")

    assert [subtask.expert for subtask in plan.subtasks] == ["shipping"]
    assert len(plan.left_out) == 1
    assert plan.left_out[0].startswith("'book me a table for two at Luigi's.' (no expert fits")


def test_what_fits_none_at_all_is_refused_with_candidates() -> None:
    with pytest.raises(NoPlan, match="nothing fits 'who won the match"):
        planned("who won the match last night?")


def test_a_reply_is_given_the_text_that_it_refers_to() -> None:
    subtasks = planned("Rate this review: 'Lovely bowl, it came very late though'. Then write a reply.").subtasks

    assert "Lovely bowl" in subtasks[0].instruction
    assert "Result of t1 (mood): ${t1}" in subtasks[1].instruction


def test_labels_are_those_that_a_description_lists() -> None:
    assert labels(card("a", "fine-tuned", "Says whether mail is good, fair or bad.")) == ("good", "fair", "bad")
    assert labels(card("a", "fine-tuned", "Rates a ticket (low, normal, high).")) == ("low", "normal", "high")


def test_clear_words_need_no_comparison() -> None:
    cards = {"refund-policy": card("refund-policy", "rag", "Knows refund rules for damaged goods.")}

    def alone(text: str) -> Planned | None:
        return by_words_alone(text, segmented(text), cards)

    clear = alone("What does the refund policy say about damaged goods?")
    assert clear is not None
    assert [subtask.expert for subtask in clear.subtasks] == ["refund-policy"]
    assert alone("What about goods?") is None
    assert alone("What does the refund policy say? If not, bake a cake.") is None
