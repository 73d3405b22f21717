import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.planner.single_expert import skipped
from tests.unit.planner.local.desk import CITY, DESK, cards


@pytest.mark.parametrize(
    ("text", "expert"),
    [
        ("What are the delivery times of a parcel to Spain?", "delivery-faq"),
        ("Please classify this message: my parcel broke. I am angry; write to me!", "triage"),
        ("Hello! My parcel broke. What does the refund policy say about damaged goods? Thanks!", "refund-policy"),
        ("Classify the message 'Find the refund policy. Then write a reply.'", "triage"),
        ("How is a parcel tracked?", "delivery-faq"),
        ("Classify: it is broken", "triage"),
        ("What does the refund policy say about damaged goods? Thanks a lot", "refund-policy"),
        ("My parcel broke. What does the refund policy say about damaged goods", "refund-policy"),
    ],
)
def test_one_wish_that_one_expert_clearly_fits_needs_no_planner(text: str, expert: str) -> None:
    planned, note = skipped(text, DESK)

    assert planned is not None
    assert [(s.id, s.expert, s.instruction, s.depends_on) for s in planned.subtasks] == [("t1", expert, text, ())]
    assert (planned.planner, planned.closed, planned.notes, planned.why) == ("skip", True, (note,), {"t1": note})
    assert f"fits {expert} " in note


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Classify 'x' and write a reply.", "2 clauses want something"),
        ("Find the refund policy. Then find the delivery times.", "2 clauses want something"),
        ("My parcel broke.", "0 clauses want something"),
        ("Bake a cake", "no expert fits clearly; fits nobody"),
        ("Find the policy on parcels and tracking and refunds", "two experts fit about equally"),
        ("Find the refund policy " + "of the shop " * 20, "64 words"),
        ("Find the refund policy. The parcel was sent on 3 May and has arrived at", "in the middle of a sentence"),
        ("x" * 20_001, "more than 20,000 characters"),
    ],
)
def test_any_doubt_leaves_the_request_to_a_planner(text: str, why: str) -> None:
    planned, note = skipped(text, DESK)

    assert planned is None
    assert note.startswith("not skipped: ")
    assert why in note


COUNTING = cards(counter="Counts slowly to any number.", poet="Writes poems.")


@pytest.mark.parametrize(
    "text",
    [
        "count slowly to a and also count slowly to b",
        "count slowly to a and count slowly to b",
        "count slowly to a, also to b",
        "count slowly to a as well as count slowly to b",
        "count slowly to a as well as counting slowly to b",
        "count slowly to a. Also count slowly to b",
        "please count slowly to a and then count slowly to b",
        "count slowly to a and bake a cake",
        "count slowly to a, and write it down",
    ],
)
def test_a_second_command_is_a_second_wish(text: str) -> None:
    planned, note = skipped(text, COUNTING)

    assert planned is None
    assert note.startswith("not skipped: ")


@pytest.mark.parametrize("text", ["count slowly to a", "please count slowly to a and b", "count slowly to 5 or 6"])
def test_one_command_with_joined_objects_is_still_one_wish(text: str) -> None:
    assert skipped(text, COUNTING)[0] is not None


INVEST = cards(withdraw="Withdraws shares from a company.", invest="Invests money in shares.", tea="Makes tea.")


def test_who_knows_no_other_word_is_no_rival_unless_things_are_joined() -> None:
    one, _ = skipped("Withdraw my shares from the company", INVEST)
    two, note = skipped("Withdraw shares from the company, invest and withdraw shares", INVEST)

    assert one is not None
    assert one.subtasks[0].expert == "withdraw"
    assert two is None
    assert note.startswith("not skipped: ")


def test_two_things_for_two_experts_are_not_skipped() -> None:
    planned, note = skipped("Find the weather forecast in Oslo and the exchange rate for the krone", CITY)

    assert planned is None
    assert "two experts fit about equally" in note or "for different experts" in note


def test_the_plan_carries_fallbacks_and_no_reference_of_the_caller() -> None:
    both = cards("faq-a", faq_b="Knows delivery times of parcels.") | cards(faq_a="Makes tea.")
    planned, _ = skipped("What are the delivery times of parcels to ${HOME}?", both)

    assert planned is not None
    assert planned.fallbacks == {"t1": ("faq-a",)}
    assert planned.subtasks[0].references == ()


def test_without_experts_nothing_is_skipped() -> None:
    assert skipped("Find the refund policy", {})[0] is None


@given(st.text(max_size=200))
def test_any_text_is_skipped_or_not_with_a_reason(text: str) -> None:
    planned, note = skipped(text, DESK)

    assert note
    assert planned is None or planned.subtasks[0].instruction.replace("$${", "${") == text
