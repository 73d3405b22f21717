"""What fits no expert is refused, and what every plan without a model keeps to."""

import pytest

from swarm.errors import NoPlan
from swarm.planner.local import planner
from tests.unit.planner.local.desk import DESK, OFFICE, cards, shape


def test_what_fits_nothing_refuses_the_request_and_names_the_clause() -> None:
    with pytest.raises(NoPlan) as refusal:
        planner.plan("Classify this message: 'x' and bake a cake.", DESK)

    assert "'bake a cake.'" in str(refusal.value)
    assert refusal.value.known == tuple(sorted(DESK))


@pytest.mark.parametrize("text", ["Classify 'x'. Bake the cake.", "Find the refund policy and bake a cake",
                                  "Find the refund policy. Also, tell me the news"])  # fmt: skip
def test_a_new_command_that_fits_nothing_is_not_given_to_a_neighbour(text: str) -> None:
    with pytest.raises(NoPlan, match="nothing fits"):
        planner.plan(text, DESK)


@pytest.mark.parametrize("text", ["Bake a cake.", "Write a poem about the sea", "???", "Thanks!"])
def test_a_request_beyond_all_experts_is_refused(text: str) -> None:
    with pytest.raises(NoPlan, match="nothing fits"):
        planner.plan(text, DESK)


def test_without_experts_there_is_no_plan() -> None:
    with pytest.raises(NoPlan, match="there are no experts"):
        planner.plan("Classify this", {})


def test_statements_greetings_and_wishes_about_how_go_with_a_neighbour() -> None:
    text = "Hello! My parcel arrived broken. Classify this message and write a reply. Keep it short. Thanks!"
    triage, reply = planner.plan(text, DESK).subtasks

    assert triage.instruction == "Hello! My parcel arrived broken. Classify this message"
    assert reply.instruction.startswith("write a reply. Keep it short. Thanks!")
    assert "From the request: Hello! My parcel arrived broken." in reply.instruction


def test_a_weak_match_for_two_experts_is_refused_with_both_names() -> None:
    twins = cards(a="Makes plans for travel and food at home.", b="Makes plans for travel and sport at home.")
    with pytest.raises(NoPlan) as refusal:
        planner.plan("Arrange travel", twins)

    assert refusal.value.candidates == ("a", "b")


@pytest.mark.parametrize("text", ["Bake a cake and write a reply.", "Order pizza for everyone and write a reply."])
def test_a_command_that_fits_nothing_is_no_introduction_of_the_next(text: str) -> None:
    with pytest.raises(NoPlan, match="nothing fits"):
        planner.plan(text, OFFICE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Greet Anna. Finally, calculate the area of a 3 by 4 room.", ["welcomer<-", "sizes<-"]),
        ("Greet Anna. Finally, I need the special school laws.", ["welcomer<-", "school-law<-"]),
        ("Book 3 meeting rooms. Finally, calculate the area of 3 rooms.", ["rooms<-", "sizes<-t1"]),
        ("Greet Anna. Finally, draw maps of the streets.", ["welcomer<-", "map-maker<-t1"]),
        ("Find the school laws. Finally, write a reply to the customer.", ["school-law<-", "reply-writer<-t1"]),
    ],
)
def test_a_last_wish_waits_unless_it_changes_nothing_and_brings_all_it_needs(text: str, expected: list[str]) -> None:
    assert shape(text, OFFICE) == expected


def test_what_belongs_to_them_waits_and_is_given_their_text() -> None:
    _, law = planner.plan("Classify the mail: 'I sue you'. Also find their school laws.", OFFICE).subtasks

    assert law.depends_on == ("t1",)
    assert "'I sue you'" in law.instruction


def test_a_literal_placeholder_is_no_reference() -> None:
    planned = planner.plan("Classify this message: 'the shell said ${t9} and ${HOME}'. Then write a reply.", DESK)

    assert [s.references for s in planned.subtasks] == [(), ("t1",)]
    assert "$${HOME}" in planned.subtasks[0].instruction


def test_a_long_text_that_many_tasks_need_is_not_copied_without_bound() -> None:
    with pytest.raises(NoPlan, match="bytes"):
        planner.plan(f'Classify this message: "{"x" * 100_000}". ' + "Then write a reply. " * 50, DESK)
