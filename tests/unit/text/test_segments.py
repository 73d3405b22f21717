"""A request in four languages is cut into segments, each at most one wish, apart from the words that lead to it."""

from __future__ import annotations

import pytest

from swarm.text.language import NAMES, detect, language
from swarm.text.segments import RequestSegment, segmented


def wishes(text: str) -> list[str]:
    """What each segment that asks for something says, with its order and condition before it."""
    asked = [one for one in segmented(text).segments if one.asks and not one.pleasant]
    return [
        " ".join(filter(None, (one.order, one.condition, text[one.head : one.end].strip(" ,;\n")))) for one in asked
    ]


def only(text: str) -> RequestSegment:
    (segment,) = segmented(text).segments
    return segment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Find the fine. Then write to Ann.", ["Find the fine.", "then write to Ann."]),
        ("find the fine and then please write to Ann", ["find the fine", "then write to Ann"]),
        ("How long may I keep it and where do I bring it?", ["How long may I keep it", "where do I bring it?"]),
        ("Is it covered or can I return it?", ["Is it covered", "can I return it?"]),
        ("Look for a course. If not, write a mail.", ["Look for a course.", "if_not write a mail."]),
        ("See if you have it; if there is none, call Bo", ["See if you have it", "if_not call Bo"]),
        ("Rate 'It broke.' If it is bad, write to him.", ["Rate 'It broke.'", "if write to him."]),
        ("Before you write to Ann, find the date.", ["before you write to Ann", "find the date."]),
        ("Find the date before you write to Ann", ["Find the date", "then you write to Ann"]),
        ("- bin day\n- opening hours", ["bin day", "opening hours"]),
        ("Hello, could you tell me the price? Thanks a lot!", ["tell me the price?"]),
        ("Rechne aus, was das kostet, und schreib danach Frau Abel.", ["Rechne aus, was das kostet",
         "then schreib danach Frau Abel."]),
        ("Gibt es ein Fest? Wenn nicht, sag mir wann der Zoo öffnet.", ["Gibt es ein Fest?",
         "if_not sag mir wann der Zoo öffnet."]),
        ("Habt ihr Krimis und könnt ihr mir einen Friseur nennen?", ["Habt ihr Krimis", "einen Friseur nennen?"]),
        ("¿Tenéis libros y hasta qué hora está abierta?", ["Tenéis libros", "hasta qué hora está abierta?"]),
        ("Avez-vous un guide ? Sinon, y a-t-il une conférence ?", ["Avez-vous un guide ?",
         "if_not y a-t-il une conférence ?"]),
    ],
)  # fmt: skip
def test_each_wish_is_a_segment_with_its_order_and_condition(text: str, expected: list[str]) -> None:
    assert wishes(text) == expected


def test_relative_clauses_are_no_questions_and_steps_are_wishes() -> None:
    assert wishes("Find the man, who has a fever, is tired.") == ["Find the man, who has a fever, is tired."]
    assert wishes("First, ping the host. Then, reboot the router.") == [
        "first ping the host.",
        "then reboot the router.",
    ]


def test_a_list_of_things_is_not_cut_but_its_parts_are_known() -> None:
    text = "Find the weather, the trains and a hotel in Bonn"
    segment = only(text)

    assert [text[start:end] for start, end in segment.pieces] == ["Find the weather", "the trains", "a hotel in Bonn"]


def test_quotations_and_indirect_questions_are_not_cut() -> None:
    assert only("Classify 'I waited. Then it broke, and what now?'").quotes == ((9, 49),)
    assert wishes("Tell me please, when does it open?") == ["Tell me please, when does it open?"]
    assert wishes("find out whether it is open and late") == ["find out whether it is open and late"]


@pytest.mark.parametrize(
    ("text", "thanks"),
    [
        ("Where is it?", "Kind regards, Ola"),
        ("Where is it?", "Thanks a lot"),
        ("Wo ist der Bus?", "Vielen Dank im Voraus!"),
        ("¿Dónde está la llave?", "Muchas gracias"),
        ("Où est la clé ?", "Merci d'avance"),
    ],
)
def test_pleasantries_are_no_wishes(text: str, thanks: str) -> None:
    assert [one.pleasant for one in segmented(f"{text} {thanks}").segments] == [False, True]


def test_thanking_somebody_else_is_a_wish_of_its_own_words() -> None:
    assert not segmented("Where is it? Thank the Hamburg warehouse for yesterday's parcels").segments[-1].pleasant


def test_the_language_is_told_by_common_words() -> None:
    assert [
        detect(text.split()) for text in ("where is my mug", "wo ist der hund", "dónde está la taza", "où est le chat")
    ] == list(NAMES)
    assert detect(["żółw"]) == ""


@pytest.mark.parametrize("name", NAMES)
def test_every_language_has_every_kind_of_words(name: str) -> None:
    assert language(name).phrases.keys() == language("en").phrases.keys()
    assert set(language(name).verbs.values()) == set(language("en").verbs.values())


@pytest.mark.parametrize(
    "text",
    [
        "My mug arrived smashed, what can I do?",
        "My mug arrived smashed. What should I do about it now?",
        "They put me down for both days, is that ok",
        "The drip keeps beeping. Can you help?",
        "Meine Tasse kam zerbrochen an, was kann ich tun?",
        "Meine Tasse ist kaputt. Was nun?",
        "Mi taza llegó rota. ¿Qué puedo hacer?",
        "Ma tasse est arrivée cassée, que puis-je faire ?",
        "Ma tasse est cassée. Pouvez-vous m'aider ?",
    ],
)
def test_a_question_that_names_nothing_belongs_to_what_was_said_before(text: str) -> None:
    (segment,) = segmented(text).segments

    assert segment.asks


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("The drip beeps. What can I do if it stops?", ["The drip beeps.", "What can I do if it stops?"]),
        ("Translate this. Can you help me with my taxes?", ["Translate this.", "Can you help me with my taxes?"]),
        ("It is broken, is that ok and how do I return it?", ["It is broken, is that ok", "and how do I return it?"]),
    ],
)
def test_a_question_with_words_of_its_own_is_a_wish(text: str, parts: list[str]) -> None:
    assert [text[one.start : one.end].strip() for one in segmented(text).segments] == parts
