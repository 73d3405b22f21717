"""The planner without a model on everyday requests: no wish is lost in silence, and no pleasantry refuses one."""

from __future__ import annotations

from pathlib import Path

import pytest

from experts.catalog.card_reader import read_card
from swarm.errors import NoPlan
from swarm.planner.local.clause_roles import is_context
from swarm.planner.local.planner import plan
from swarm.planner.single_expert import skipped
from swarm.text.clauses import clauses
from swarm.types.card import Card
from swarm.types.events import Planned
from tests.unit.planner.local.everyday import CODE, OFFICE, REQUESTS, SHOP, TRAVEL, Wish, cards

DESK = {
    card.name: card
    for path in sorted((Path(__file__).parents[4] / "experts" / "demo").glob("*.md"))
    if path.name != "README.md"
    for card in [read_card(path, path.parent)[0]]
}
"""The experts of the demo desk."""

SEVERAL = [wish for wish in REQUESTS if len(wish.experts) > 1]


def tried(text: str, known: dict[str, Card]) -> Planned | None:
    try:
        return plan(text, known)
    except NoPlan:
        return None


def experts(planned: Planned) -> list[str]:
    return sorted(subtask.expert for subtask in planned.subtasks)


def is_lost(wish: Wish, planned: Planned | None) -> bool:
    """Whether the plan lacks something, and nobody is told."""
    if planned is None or planned.left_out:
        return False
    return bool(wish.nobody) or experts(planned) != sorted(wish.experts)


@pytest.mark.parametrize("wish", REQUESTS, ids=lambda wish: wish.text[:50])
def test_no_wish_of_an_everyday_request_is_lost_in_silence(wish: Wish) -> None:
    planned = tried(wish.text, cards(wish.roster))

    assert not is_lost(wish, planned)
    if planned:
        assert all(f"perhaps left out: {one}" in planned.notes for one in planned.left_out)


def test_most_everyday_requests_get_just_the_experts_they_need() -> None:
    plans = [(wish, tried(wish.text, cards(wish.roster))) for wish in REQUESTS]
    right = [wish for wish, planned in plans if planned and experts(planned) == sorted(wish.experts)]
    alarmed = [wish for wish, planned in plans if planned and planned.left_out and wish in right and not wish.nobody]

    assert len(REQUESTS) == 35
    assert len(right) >= 29
    assert alarmed == []


def test_where_an_expert_is_not_there_its_part_is_told_or_refused() -> None:
    """Of 49 rosters that lack somebody 26 gave a plan that said nothing of it."""
    lost = []
    for wish in SEVERAL:
        for gone in set(wish.experts):
            rest = {name: card for name, card in cards(wish.roster).items() if name != gone}
            lost += [(wish.text, gone)] if is_lost(wish, tried(wish.text, rest)) else []

    assert len(lost) <= 2, lost


@pytest.mark.parametrize("wish", [*SEVERAL, *(wish for wish in REQUESTS if wish.nobody)], ids=lambda w: w.text[:50])
def test_the_rule_that_skips_planning_takes_no_request_with_several_wishes(wish: Wish) -> None:
    assert skipped(wish.text, cards(wish.roster))[0] is None
    for gone in wish.experts:
        rest = {name: card for name, card in cards(wish.roster).items() if name != gone}
        assert skipped(wish.text, rest)[0] is None, f"without {gone}"


@pytest.mark.parametrize(
    ("roster", "text"),
    [
        (OFFICE, "Email Bob a summary of the notes"),
        (OFFICE, "I need the report summarised, translated and mailed to Bob"),
        (OFFICE, "Book a meeting after summarising the notes"),
        (OFFICE, "Get the notes summarised before mailing them"),
        (TRAVEL, "Weather in Rome plus flights there"),
        (TRAVEL, "Convert the price of the hotels to euros"),
        (CODE, "Once reviewed, deploy the code to staging"),
        (CODE, "Search logs of services for errors before deploying to production"),
        (SHOP, "Write a reply to the customer quoting the refund and return policy"),
        (SHOP, "Look up the parcel and reply"),
    ],
)
def test_wishes_that_no_second_command_tells_are_no_single_wish_either(roster: dict[str, str], text: str) -> None:
    assert skipped(text, cards(roster))[0] is None


@pytest.mark.parametrize(
    "text",
    [
        "I hope you are well.",
        "I hope this email finds you well.",
        "Nothing fancy.",
        "No rush.",
        "Whenever you have a minute.",
        "Thanks a lot for your help!",
        "Thank you for your assistance.",
        "Many thanks in advance.",
        "Have a lovely weekend.",
        "Sorry to bother you.",
        "Hope all is good with you and the team.",
        "Look forward to hearing from you.",
        "That would be great.",
        "With kind regards, Kim Olsen",
        "Cheers, Tom",
    ],
)
def test_a_pleasantry_wants_nothing_and_refuses_nothing(text: str) -> None:
    assert all(map(is_context, clauses(text)))
    for request in (f"{text} Translate this letter into German.", f"Translate this letter into German. {text}"):
        assert experts(plan(request, cards(OFFICE))) == ["translator"]
        assert plan(request, cards(OFFICE)).left_out == ()


@pytest.mark.parametrize(
    "text",
    ["Thank the team.", "Tell the team the time.", "Look up the time.", "Wish everyone a happy weekend.",
     "Reply to everyone today.", "Book a nice hotel.", "Help the customer."],
)  # fmt: skip
def test_what_only_sounds_pleasant_is_a_wish(text: str) -> None:
    assert not any(map(is_context, clauses(text)))


def test_a_wish_about_the_answer_needs_no_expert_of_its_own() -> None:
    for shape in ("keep it short", "make it friendly", "tell me why", "mention the date"):
        planned = plan(f"Translate this letter into German and {shape}.", cards(OFFICE))
        assert (experts(planned), planned.left_out) == (["translator"], ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Work out the category of this complaint and hand the case over to the head of the desk: 'A broken chair!'",
         "'Work out the category of this complaint' (may be for triage)"),
        ("Say hello to the customer and explain our warranty rules.", "'explain our warranty rules'"),
        ("What do the handbook and the delivery FAQ say about damaged goods and lost parcels?",
         "'What do the handbook' (may be for refund-policy)"),
        ("Give me a recap of the case, make a to-do list and order coffee for the team.", "'order coffee for the"),
        ("Make a checklist for tomorrow and set an alarm for 8 o'clock.", "'set an alarm for 8 o'clock'"),
        ("Greet the customer and set up a call with her.", "'set up a call with her'"),
        ("Summarise the conversation and refund 20 euros to her card.", "'refund 20 euros to her card'"),
        ("Write to the customer and order a new lamp for her.", "'order a new lamp for her'"),
        ("Describe the warranty and show the opening hours of the shop in Vienna.", "'show the opening hours"),
        ("Explain how to track a parcel and provide a map of the depots.", "'provide a map of the depots'"),
        ("Check the policy on vouchers, explain it to the team and give a training about it.", "'give a training"),
        ("First make a to-do list, second reply to the customer, third buy a gift card.",
         "'buy a gift card' (given to refund-policy"),
        ("Categorise the complaint and explain our privacy rules.", "'explain our privacy rules'"),
        ("Explain the refund policy and if it is raining tell me which umbrella suits me.", "'tell me which umbrella"),
        ("What does the policy say about gift cards, and do you ship to parcel lockers?", "(may be for refund-policy)"),
    ],
)  # fmt: skip
def test_what_the_demo_desk_leaves_out_is_told(text: str, told: str) -> None:
    assert any(told in wish for wish in plan(text, DESK).left_out)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("Classify this message and write a reply: 'My lamp came with a crack.'", ["reply-writer", "triage"]),
        ("Recap the conversation below and escalate it to a manager.", ["escalation-note", "order-summary"]),
        ("Label the ticket 'Parcel not here' and give me a to-do list for the agent.", ["next-steps", "triage"]),
        ("Label this email and show me a summary: 'My vase, order 8812, broke'.", ["order-summary", "triage"]),
        ("Draft a message for the customer and give me a checklist.", ["next-steps", "reply-writer"]),
        ("Find out what express shipping costs and list the next steps for the agent.", ["delivery-faq", "next-steps"]),
        ("Check the refund policy and give a short reason and the source.", ["refund-policy"]),
        ("Summarise the case and show the most important number.", ["order-summary"]),
        ("Write a reply to the customer, set the language to English and explain why.", ["reply-writer"]),
        ("How long does express delivery take? Show me how you know it.", ["delivery-faq"]),
    ],
)
def test_what_the_demo_desk_does_is_not_told_as_left_out(text: str, needed: list[str]) -> None:
    planned = plan(text, DESK)

    assert (experts(planned), planned.left_out) == (needed, ())
