from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import NoPlan
from swarm.planner.local import planner
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import MAX_SUBTASKS, Plan


def cards(*fallback: str, **described: str) -> dict[str, Card]:
    names = {name.replace("_", "-"): text for name, text in described.items()}
    return {
        name: Card(name=name, kind="instruction", description=text, model="local/template", fallback=fallback)
        for name, text in names.items()
    }


DESK = cards(
    triage="Classifies a message from a customer: what is it about?",
    refund_policy="Answers what our policy says on refunds, returns and damaged goods, with citations.",
    delivery_faq="Answers questions on delivery times, parcels and tracking.",
    reply_writer="Writes a reply to a customer.",
)
MESSAGE = "'My parcel arrived broken and I want my money back'"
REQUEST = (
    f"Classify this message: {MESSAGE}. Then find what the refund policy says about damaged goods, "
    "and then write a reply to the customer with the result."
)


def shape(text: str, known: Mapping[str, Card] = DESK) -> list[str]:
    return [f"{s.expert}<-{','.join(s.depends_on)}" for s in planner.plan(text, known).subtasks]


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


CITY = cards(
    weather="Tells the weather of a city.",
    exchange_rate="Tells the exchange rate of two currencies.",
    hotel="Books hotel rooms.",
)


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


def test_meaning_counts_beside_words_where_a_measure_is_given() -> None:
    def similar(text: str, names: Sequence[str]) -> dict[str, float]:
        assert set(names) == set(CITY)
        return {"weather": 0.8, "hotel": 0.1} if "rain" in text else {}

    assert [s.expert for s in planner.plan("Will there be rain?", CITY, similar).subtasks] == ["weather"]
    with pytest.raises(NoPlan):
        planner.plan("Will there be rain?", CITY)


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


def test_a_text_pasted_below_reaches_the_clause_that_speaks_of_it() -> None:
    triage, reply = planner.plan("Classify the message below and write a reply.\n\n> It broke.\n> Help!", DESK).subtasks

    assert "> It broke.\n> Help!" in triage.instruction
    assert "> It broke.\n> Help!" in reply.instruction


def test_an_expert_is_preferred_to_its_own_fallback_and_the_plan_carries_it() -> None:
    both = cards("faq-a", faq_b="Knows delivery times.") | cards(faq_a="Knows delivery times.")
    planned = planner.plan("What are the delivery times?", both)

    assert planned.subtasks[0].expert == "faq-b"
    assert planned.fallbacks == {"t1": ("faq-a",)}


def test_a_weak_match_for_two_experts_is_refused_with_both_names() -> None:
    twins = cards(a="Makes plans for travel and food at home.", b="Makes plans for travel and sport at home.")
    with pytest.raises(NoPlan) as refusal:
        planner.plan("Arrange travel", twins)

    assert refusal.value.candidates == ("a", "b")


OFFICE = cards(
    welcomer="Greets customers.",
    triage="Sorts and classifies the mail of customers.",
    map_maker="Draws maps of special streets; writes what the streets need.",
    law_needs="Knows special school needs.",
    school_law="Knows special school laws.",
    reply_writer="Writes a reply to a customer.",
    segmenter="Parts customers into segments.",
    slack="Notifies a team in a channel.",
    rooms="Books meeting rooms.",
    sizes="Calculates the area of a room and the size of a sample.",
    building="Lists requirements of a building code and feedback on it.",
)


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


def test_more_tasks_than_a_job_may_have_are_refused() -> None:
    assert len(planner.plan("Find the refund policy. " * MAX_SUBTASKS, DESK).subtasks) == MAX_SUBTASKS
    with pytest.raises(NoPlan, match="more than 1,000"):
        planner.plan("Find the refund policy. " * (MAX_SUBTASKS + 1), DESK)
    with pytest.raises(NoPlan, match="more than 20,000 parts"):
        planner.plan("refund; " * 20_001, DESK)


def test_a_long_text_that_many_tasks_need_is_not_copied_without_bound() -> None:
    with pytest.raises(NoPlan, match="bytes"):
        planner.plan(f'Classify this message: "{"x" * 100_000}". ' + "Then write a reply. " * 50, DESK)


WORDS = st.sampled_from(
    [
        "classify this message", "find the refund policy", "what are the delivery times", "write a reply", "it",
        "my parcel broke", "'I want it back'", '"then write a reply"', "${t1}", "with the results", "thanks",
        "keep it short", "bake a cake", "I need help with my parcel", "please provide the name of the author",
        "the refund policy and the delivery times", "specifically, the glass", "classify", "also",
    ]
)  # fmt: skip
JOINTS = st.sampled_from(
    [
        ". ",
        "; ",
        ", then ",
        " and ",
        "\n",
        "\n\n",
        ". Finally, ",
        "\n1. ",
        ": ",
        ", and then ",
        "? ",
        ". First, ",
        ". Also, ",
    ]
)
REQUESTS = st.lists(st.tuples(WORDS, JOINTS), min_size=1, max_size=12).map(lambda two: "".join(a + b for a, b in two))


def planned_or_none(text: str) -> Planned | None:
    try:
        return planner.plan(text, DESK)
    except NoPlan:
        return None


@given(st.one_of(REQUESTS, st.text(st.characters(exclude_categories=["C"]), max_size=300)))
def test_a_plan_always_runs_and_covers_every_word(text: str) -> None:
    planned = planned_or_none(text)
    if planned is None:
        return

    plan = Plan.read([subtask.model_dump() for subtask in planned.subtasks])
    assert [s.depends_on for s in plan.united()] == [s.depends_on for s in planned.subtasks]
    told = " ".join(s.instruction for s in planned.subtasks).replace("$${", "${")
    said = [word.strip(".,;:?'\"") for word in text.split()]
    assert [word for word in said if word and word not in told and word.lower() not in CONNECTIVES] == []


CONNECTIVES = {"and", "then", "finally", "1", "also", "first"}


@given(REQUESTS)
def test_planning_is_deterministic(text: str) -> None:
    assert planned_or_none(text) == planned_or_none(text)
