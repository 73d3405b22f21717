import pytest

from swarm.planner.cache.examples import MAX_KEPT_TEXT, Examples, Kept, vote
from swarm.planner.cache.template import fill, keepable
from swarm.planner.local import planner
from swarm.types.events import Planned
from swarm.types.plan import Condition, Plan, Subtask
from swarm.types.result import Failure
from tests.unit.planner.local.desk import DESK, cards


def kept(text: str, *told: str, **more: object) -> Kept:
    """A plan as some model may have written it: a chain, one instruction each."""
    experts = ("delivery-faq", "reply-writer", "triage")
    return Kept(
        text=text,
        subtasks=tuple(
            Subtask.model_validate(
                {"id": f"s{at}", "expert": experts[at], "instruction": said, "depends_on": [f"s{at - 1}"] if at else []}
                | more
            )
            for at, said in enumerate(told)
        ),
    )


def told(old: Kept, text: str) -> list[str]:
    planned, note = fill(text, Examples([old]), DESK)
    assert planned is not None, note
    return [subtask.instruction for subtask in planned.subtasks]


def missed(old: Kept, text: str) -> str:
    planned, note = fill(text, Examples([old]), DESK)
    assert planned is None
    return note.rpartition(": ")[2]


OLD = "Track the parcel of order 77-1 to Paris until 3 May 2026, then write a reply to Ann."
PLAN = kept(OLD, "Track order 77-1 to Paris until 3 May 2026", "Write to Ann that 77-1 comes: ${s0}")


def test_every_value_is_replaced_wherever_the_plan_tells_it() -> None:
    new = "Track the parcel of order 99-4 to Rome until 24 June 2026, then write a reply to Bob Miller."

    assert told(PLAN, new) == [
        "Track order 99-4 to Rome until 24 June 2026",
        "Write to Bob Miller that 99-4 comes: ${s0}",
    ]


def test_values_may_change_places() -> None:
    old = kept("Track the parcel from Paris to Rome", "From Paris, and then to Rome")

    assert told(old, "Track the parcel from Rome to Paris") == ["From Rome, and then to Paris"]


@pytest.mark.parametrize(
    ("old", "said", "new", "expected"),
    [
        ("On tracking: answer 'my cup broke'", "Answer \"my cup broke\"", "On tracking: answer 'a jar leaks'",
         "Answer \"a jar leaks\""),
        ("Track what this message names: my cup broke. It is red.", "Track: my cup broke. It is red.",
         "Track what this message names: the jar leaks", "Track: the jar leaks"),
        ("Track order 7", "Track order 7", "Please track order 8.", "Track order 8"),
        ("Track order 7 in 7.5 days", "Track 7 in 7.5 days", "Track order 8 in 9.5 days", "Track 8 in 9.5 days"),
        ("Track order 7 to Parcel Street 3", "Track 7 to Parcel Street 3", "Track order 8 to Parcel Street 4",
         "Track 8 to Parcel Street 4"),
    ],
)  # fmt: skip
def test_quotations_texts_brought_along_politeness_and_parts_of_values_may_differ(
    old: str, said: str, new: str, expected: str
) -> None:
    assert told(kept(old, said), new) == [expected]


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ("Cancel the parcel of order 77-1 to Paris until 3 May 2026, then write a reply to Ann.", "other words"),
        ("Track the big parcel of order 77-1 to Paris until 3 May 2026, then write a reply to Ann.", "other words"),
        ("Do not track the parcel of order 77-1 to Paris until 3 May 2026, then write a reply to Ann.", "other words"),
        ("Track the parcel of order 77-1 to Paris until 3 May 2026, then write a reply to somebody.", "other words"),
        ("Track the parcel of order 77-1 to Refund Street until 3 May 2026, then write a reply to Ann.",
         "another word that experts are chosen by"),
    ],
)  # fmt: skip
def test_another_verb_or_noun_is_a_miss(new: str, why: str) -> None:
    assert missed(PLAN, new) == why


@pytest.mark.parametrize(
    ("old", "why"),
    [
        (kept("Track order 7 to Paris", "Track the order to Paris"), "a value that is not in the plan"),
        (kept("Track order 7 to Paris in 7 days", "Track order 7 in 7 days"), "one value has two replacements"),
        (kept("Track order 7 to Paris", "Track 7 to Paris, for Ann"), "a value that the request does not give"),
        (kept("Track order 7 to Paris", "Track 7 to Paris within 24 hours"), "a value that the request does not give"),
        (kept("Track order 7 to Paris", "Track 7 to paris, say Paris"), "a value that the plan paraphrases"),
        (kept("Track order 7 to Paris", "Track 7", when=Condition(result="s0.city", equals="Paris")),
         "a value that the plan paraphrases"),
        (kept("Track order 7 to Paris", "Track 7 to Paris", output={"const": "Paris"}),
         "a value that the plan paraphrases"),
        (kept("Track order 7 to Paris", "Track 7 to Paris", expert="gone"), "an expert left the catalog"),
    ],
)  # fmt: skip
def test_what_might_tell_of_the_earlier_request_is_a_miss(old: Kept, why: str) -> None:
    new = "Track order 7 to Rome in 8 days" if "days" in old.text else "Track order 8 to Rome"

    assert missed(old, new) in (why, "a value that is not in the plan")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("which is broken", "a value that the plan paraphrases"),
        ("it is about crockery", "the plan says more than the request"),
    ],
)
def test_a_plan_that_tells_a_text_in_words_of_its_own_is_a_miss(more: str, why: str) -> None:
    old = kept("Classify 'my red cup broke'", f"Classify 'my red cup broke', {more}", expert="triage")

    assert missed(old, "Classify 'a jar leaks'") == why


def test_an_expert_that_only_the_differing_text_speaks_of_is_a_miss() -> None:
    old = kept("Help me with this message: 'where is my parcel?'", "Answer 'where is my parcel?'")

    assert missed(old, "Help me with this message: 'I want a refund'") == (
        "an expert that may have been chosen for the other quotation"
    )


def test_a_value_is_never_replaced_inside_a_reference_nor_becomes_one() -> None:
    old = kept("Track the parcel of order s0 to Paris", "Track s0 to Paris", "Say ${s0}")

    assert told(old, "Track the parcel of order s9 to Rome") == ["Track s9 to Rome", "Say ${s0}"]
    assert told(kept("Track 'a' for me", "Track 'a'"), "Track '${s0}' for me") == ["Track '$${s0}'"]


def test_an_unlike_request_is_a_miss_with_its_similarity() -> None:
    planned, note = fill("What is the refund policy on jars?", Examples([PLAN]), DESK)

    assert planned is None
    assert note == "plan cache: miss, nearest 0.00 of 1"
    assert fill("x" * (MAX_KEPT_TEXT + 1), Examples([PLAN]), DESK)[1] == "plan cache: miss, more than 4,000 characters"


def test_of_several_the_nearest_that_can_be_bound_is_taken() -> None:
    broken = kept("Track order 7 for me", "Track it")
    planned, note = fill("Track order 9 for me", Examples([kept("Track order 5 for me", "Track 5"), broken]), DESK)

    assert planned is not None
    assert planned.subtasks[0].instruction == "Track 9"
    assert note.startswith("plan cache: hit, similarity ")
    assert planned.notes == (note,)


def test_the_plan_is_read_anew_with_its_edges_and_fallbacks() -> None:
    both = DESK | cards("triage", delivery_faq="Answers questions on delivery times, parcels and tracking.")
    planned, _ = fill(OLD, Examples([PLAN]), both)

    assert planned is not None
    assert [s.depends_on for s in Plan.read([s.model_dump() for s in planned.subtasks]).united()] == [(), ("s0",)]
    assert planned.fallbacks == {"s0": ("triage",)}
    assert (planned.planner, planned.closed, planned.failure) == ("cache", True, None)


def test_only_whole_plans_of_a_planner_are_kept() -> None:
    planned = planner.plan("Classify 'x' and write a reply", DESK)

    assert keepable("x", planned) is not None
    assert keepable("x", planned.model_copy(update={"closed": False})) is None
    assert all(keepable("x", planned.model_copy(update={"planner": name})) is None for name in ("cache", "examples"))
    assert keepable("x", Planned(failure=Failure(reason="no_expert", message="m"))) is None
    assert keepable("x" * (MAX_KEPT_TEXT + 1), planned) is None


@pytest.mark.parametrize("unit", ["7 ", "Ann ", "a ", "'a' ", "x7, "])
def test_aligning_takes_no_time_beyond_its_length(unit: str) -> None:
    old, new = unit * 900, f"b {unit}" * 400
    examples = Examples([kept(old[:MAX_KEPT_TEXT], old[:MAX_KEPT_TEXT])])

    assert fill(new[:MAX_KEPT_TEXT], examples, DESK)[1].startswith("plan cache: ")


# -- by example ------------------------------------------------------------------------------------------------


def test_nearness_is_one_for_the_same_words_and_falls_with_unseen_ones() -> None:
    examples = Examples([kept("Track my parcel to Paris", "x"), kept("Write a poem", "x")])

    assert [round(near.likeness, 2) for near in examples.nearest("Track my parcel to Paris", 5)] == [1.0]
    assert 0.2 < examples.nearest("Track my parcel to the moon", 1)[0].likeness < 0.9
    assert examples.nearest("Nothing alike", 5) == []
    assert Examples().nearest("Track", 5) == []


def test_the_experts_that_similar_requests_needed_make_a_plan_of_the_new_request() -> None:
    examples = Examples(kept(f"Track order {n} of mine for Ann", "Track", "Reply") for n in range(3))
    planned, note = vote("Where is order 9 of mine? For Bob", examples.nearest("Track order 9 of mine", 8), DESK)

    assert planned is not None
    assert [(s.expert, s.depends_on) for s in planned.subtasks] == [("delivery-faq", ()), ("reply-writer", ("t1",))]
    assert planned.subtasks[1].instruction == "Where is order 9 of mine? For Bob\n\nResult of t1 (delivery-faq): ${t1}"
    assert planned.notes == (note,)
    assert planned.why["t1"].startswith("similar requests needed delivery-faq: ")


def test_without_similar_requests_there_is_no_example() -> None:
    planned, note = vote("Bake a cake", Examples([PLAN]).nearest("Bake a cake", 8), DESK)

    assert planned is None
    assert note == "examples: none is near enough (0.00)"


def test_plans_with_an_expert_that_is_gone_have_no_vote() -> None:
    gone = Examples([kept("Track order 7", "Track", expert="gone")]).nearest("Track order 7", 8)

    assert vote("Track order 7", gone, DESK)[0] is None
    assert vote("Track order 7", gone, DESK | cards(gone="Tracks."))[0] is not None
