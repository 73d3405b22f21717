"""A request is cut into tasks for experts without a model."""

import pytest

from swarm.planner.local import planner
from tests.unit.planner.local.desk import CITY, DESK, OFFICE, cards, shape

MESSAGE = "'My parcel arrived broken and I want my money back'"
REQUEST = (
    f"Classify this message: {MESSAGE}. Then find what the refund policy says about damaged goods, "
    "and then write a reply to the customer with the result."
)


def test_the_example_of_the_issue_becomes_two_parallel_subtasks_and_a_reply() -> None:
    triage, policy, reply = planner.plan(REQUEST, DESK).subtasks

    assert triage.instruction == f"Classify this message: {MESSAGE}."
    assert policy.instruction == "find what the refund policy says about damaged goods"
    assert reply.instruction.startswith("write a reply to the customer with the result.")
    assert [s.expert for s in (triage, policy, reply)] == ["triage", "refund-policy", "reply-writer"]
    assert [s.depends_on for s in (triage, policy, reply)] == [(), (), ("t1", "t2")]
    assert "Result of t1 (triage): ${t1}" in reply.instruction
    assert MESSAGE in reply.instruction


def test_one_clear_clause_is_one_subtask_with_the_text_as_it_is() -> None:
    planned = planner.plan("What are the delivery times to Spain?\n", DESK)

    assert [s.instruction for s in planned.subtasks] == ["What are the delivery times to Spain?\n"]
    assert (planned.planner, planned.closed, planned.round) == ("local/planner", True, 0)
    assert "fits delivery-faq" in planned.why["t1"]
    assert planned.notes == ("without a model: 1 of the request's parts fit an expert by words",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Classify 'x'. Find the refund policy.", ["triage<-", "refund-policy<-"]),
        ("Classify 'x', then write a reply.", ["triage<-", "reply-writer<-t1"]),
        ("Classify 'x'. Find the refund policy. Write a reply with the results.",
         ["triage<-", "refund-policy<-", "reply-writer<-t1,t2"]),
        ("Classify 'x', find the refund policy on glass and draft a reply.",
         ["triage<-", "refund-policy<-", "reply-writer<-t1,t2"]),
        ("Find the refund policy. Finally, write a reply.", ["refund-policy<-", "reply-writer<-t1"]),
        ("Find the refund policy. Use it to write a reply.", ["refund-policy<-", "reply-writer<-t1"]),
        ("Find the delivery times. Classify 'x'. Write a reply that cites the classification.",
         ["delivery-faq<-", "triage<-", "reply-writer<-t2"]),
        ("Find the refund policy on glass. After that, find the delivery times to Spain.",
         ["refund-policy<-", "delivery-faq<-t1"]),
        ("Track the parcel of order 7. Then find what the policy says about the parcel.",
         ["delivery-faq<-", "refund-policy<-t1"]),
    ],
)  # fmt: skip
def test_words_of_order_and_reference_make_edges(text: str, expected: list[str]) -> None:
    assert shape(text) == expected


def test_finally_and_results_wait_for_all_others_for_open_ends() -> None:
    chain = "Classify 'x'. Then write a reply. "

    assert shape(chain + "Then write a reply to the other.")[-1] == "reply-writer<-t2"
    assert shape(chain + "Finally, write a reply to both.")[-1] == "reply-writer<-t1,t2"


def test_every_subtask_says_why_it_is_there_and_what_it_waits_for() -> None:
    why = planner.plan(REQUEST, DESK).why

    assert list(why) == ["t1", "t2", "t3"]
    assert "fits triage" in why["t1"]
    assert "waits for none: complete in itself" in why["t2"]
    assert "waits for t1, t2: 'then'" in why["t3"]
    assert "is also given" in why["t3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Classify: my parcel is broken", ["triage<-"]),
        ("Classify: please help me, where is my parcel? Then write a reply.", ["triage<-", "reply-writer<-t1"]),
        ("Order: 77\nFind the delivery times.", ["delivery-faq<-"]),
        ("I need to know about the refund policy. Please find what it says on glass.", ["refund-policy<-"]),
        ("I need help with a message. First, classify 'x'. Also, write a reply.", ["triage<-", "reply-writer<-"]),
        ("Find the refund policy. Specifically, I want the part on glass.", ["refund-policy<-"]),
        ("Find the refund policy. Please provide the name of the author.", ["refund-policy<-"]),
        ("I want to know more about glass. Find the refund policy.", ["refund-policy<-"]),
        ("Check and write a reply.", ["reply-writer<-"]),
        ("Find the refund policy on cups. Find the refund policy on jars.", ["refund-policy<-", "refund-policy<-"]),
        ("Ask 'refundPolicy' about bananas.", ["refund-policy<-"]),
    ],
)  # fmt: skip
def test_what_introduces_or_elaborates_a_task_is_no_task_of_its_own(text: str, expected: list[str]) -> None:
    assert shape(text) == expected


@pytest.mark.parametrize("text", ["Find the refund policy. Please provide the name of the author.",
                                  "I want to know more about glass. Find the refund policy.",
                                  "Check and write a reply."])  # fmt: skip
def test_what_joins_a_task_is_told_with_it(text: str) -> None:
    assert planner.plan(text, DESK).subtasks[0].instruction == text


def test_two_things_of_one_sentence_go_to_their_own_experts_with_all_of_it() -> None:
    text = "Find the weather forecast in Oslo and the exchange rate for the krone. Then book a hotel."
    weather, rate, hotel = planner.plan(text, CITY).subtasks

    assert [s.expert for s in (weather, rate, hotel)] == ["weather", "exchange-rate", "hotel"]
    assert [s.depends_on for s in (weather, rate, hotel)] == [(), (), ("t1", "t2")]
    assert weather.instruction.endswith("Your part of this: Find the weather forecast in Oslo")
    assert rate.instruction.endswith("Your part of this: the exchange rate for the krone.")
    assert rate.instruction.startswith("Find the weather forecast in Oslo and the exchange rate")


@pytest.mark.parametrize(
    "text",
    [
        "Book a hotel with a view and a weather station",
        "Find the weather and the time",
        "Find the weather (the exchange rate is no matter)",
        "Find the weather of Oslo, Rome and Paris",
    ],
)
def test_details_and_lists_stay_with_their_expert(text: str) -> None:
    assert len(planner.plan(text, CITY).subtasks) == 1


def test_one_word_in_common_with_an_expert_for_another_thing_is_no_wish_of_its_own() -> None:
    known = DESK | cards(identify_virus="Identifies a virus.", translate_text="Translates texts.")
    shapes = [
        shape("Find the refund policy on jars and identify areas of concern.", known),
        shape("Find the refund policy on jars and identify a virus.", known),
        shape("Find the refund policy on jars and translate it into Danish.", known),
    ]

    assert shapes == [
        ["refund-policy<-"],
        ["refund-policy<-", "identify-virus<-"],
        ["refund-policy<-", "translate-text<-t1"],
    ]


def test_a_text_pasted_below_reaches_the_clause_that_speaks_of_it() -> None:
    triage, reply = planner.plan("Classify the message below and write a reply.\n\n> It broke.\n> Help!", DESK).subtasks

    assert "> It broke.\n> Help!" in triage.instruction
    assert "> It broke.\n> Help!" in reply.instruction


def test_an_expert_is_preferred_to_its_own_fallback_and_the_plan_carries_it() -> None:
    both = cards("faq-a", faq_b="Knows delivery times.") | cards(faq_a="Knows delivery times.")
    planned = planner.plan("What are the delivery times?", both)

    assert planned.subtasks[0].expert == "faq-b"
    assert planned.fallbacks == {"t1": ("faq-a",)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Greet the customer and classify this e-mail: 'x'", ["welcomer<-", "triage<-"]),
        ("I need information on the special school laws", ["school-law<-"]),
        ("Greet the customers, segment them and notify the team.", ["welcomer<-", "segmenter<-t1", "slack<-t2"]),
        ("Find the special school laws. Let me know if you have feedback or requirements.", ["school-law<-"]),
        ("- greet the customer\n- write a reply", ["welcomer<-", "reply-writer<-t1"]),
        ("- write a reply\n\nMessage: 'the mail came'", ["reply-writer<-"]),
        ("thx! pls greet the customer", ["welcomer<-"]),
        ("I need help with maps. Sort the mail of customers, then draw maps of the streets.",
         ["triage<-", "map-maker<-t1"]),
        ("I need help to greet customers and draw maps. First, greet Anna. Then draw maps of streets.",
         ["welcomer<-", "map-maker<-t1"]),
        ("I need help drawing maps of the streets. Classify the mail of customers.", ["map-maker<-", "triage<-"]),
        ("Greet the customer. Set the tone to 'warm'.", ["welcomer<-"]),
    ],
)  # fmt: skip
def test_ordinary_ways_of_asking_lose_nothing_and_add_nothing(text: str, expected: list[str]) -> None:
    assert shape(text, OFFICE) == expected
