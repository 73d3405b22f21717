"""Names of experts that planners invent, and whom they mean by them, if anybody."""

import pytest

from swarm.planner.compile.expert_names import ExpertNames
from swarm.types.card import Card

DESK = {
    "read-invoice": "Reads the text of a scanned invoice by optical character recognition (OCR).",
    "translation": "Converts text from one language to another.",
    "photo-to-photo": "Changes a photo. Sharpening and colour enhancement are examples.",
    "text-to-photo": "Generates photos from text.",
    "photo-to-text": "Describes a given photo in text.",
    "image-tagging": "Assigns tags to a whole image.",
    "word-tagging": "Assigns labels to words. Named entity recognition is an example. It does no sentiment tagging.",
    "automatic-speech-recognition": "Transcribes a recording.",
    "mail.search": "Finds messages.",
    "mail.send": "Sends a message.",
    "files.search": "Finds files.",
    "files.open-folder": "Opens a folder.",
    "borrow-book": "Lends a book.",
    "book-flight": "Reserves a seat.",
}


def names(described: dict[str, str] = DESK) -> ExpertNames:
    """With dots in some names, as tools have them: their cards are named otherwise."""
    titles = {title.replace(".", "-"): title for title in described}
    cards = {
        name: Card(name=name, kind="instruction", description=described[title], model="local/template")
        for name, title in titles.items()
    }
    return ExpertNames(cards, titles)


def found(written: str, words: str = "") -> str | None:
    known = names()
    expert = known.find(written, words).expert
    return known.title(expert) if expert else None


@pytest.mark.parametrize(
    ("written", "expert"),
    [
        ("Read Invoice", "read-invoice"),
        ("readInvoice", "read-invoice"),
        ("READ_INVOICE", "read-invoice"),
        (r"read\_invoice", "read-invoice"),
        ("`read-invoice`", "read-invoice"),
        ("read-invoices", "read-invoice"),
        ("read-invoice (English)", "read-invoice"),
        ("functions.read_invoice", "read-invoice"),
        ("default_api/read_invoice", "read-invoice"),
        ("mail_send", "mail.send"),
        ("open_folder", "files.open-folder"),
    ],
)
def test_a_name_is_found_however_it_is_spelt(written: str, expert: str) -> None:
    assert found(written) == expert


@pytest.mark.parametrize(
    ("written", "expert"),
    [
        ("Machine Translation", "translation"),
        ("Text Translation", "translation"),
        ("translation-expert", "translation"),
        ("Named Entity Recognition", "word-tagging"),
        ("OCR", "read-invoice"),
        ("Speech Recognition", "automatic-speech-recognition"),
        ("Photo Enhancement", "photo-to-photo"),
        ("Photo Generation", "text-to-photo"),
    ],
)
def test_a_name_is_found_by_what_the_cards_say(written: str, expert: str) -> None:
    assert found(written) == expert


@pytest.mark.parametrize(
    "written",
    [
        "Text Tagging",  # another kind of the same thing
        "Voice Translation Evaluation",  # something about it
        "search",  # of two
        "calendar.serch",  # only looks alike
        "mail.open-folder",  # elsewhere
        "photo",  # of many
        "Photo-to-Video",
        "Sentiment Tagging",  # the card says that it does not
        "book-folder",  # the verb of another
        "dance",
        "",
        "???",
        "12",
    ],
)
def test_nobody_is_guessed(written: str) -> None:
    assert found(written) is None


def test_a_direction_is_part_of_a_name() -> None:
    assert (found("Text to Photo"), found("Photo to Text")) == ("text-to-photo", "photo-to-text")


def test_a_single_word_needs_the_step_to_say_the_rest() -> None:
    assert found("flight", "book me a seat") == "book-flight"
    assert found("flight", "how high do birds fly") is None


def test_who_comes_nearest_is_told_where_nobody_is_meant() -> None:
    result = names().find("Picture Tagging", "tag the words of the text")

    assert result.expert is None
    assert set(result.candidates[:2]) == {"word-tagging", "image-tagging"}


def test_an_encoder_has_the_last_word_and_only_on_experts_that_there_are() -> None:
    known = names()

    assert known.find("Dub", "speak it in Welsh", lambda text: "translation").expert == "translation"
    assert known.find("Dub", "speak it in Welsh", lambda text: "nobody").expert is None
    assert known.find("Dub", "speak it in Welsh").expert is None


def test_an_exact_name_wins_over_any_likeness() -> None:
    alike = names({"sum-up": "Adds.", "sum_up": "Adds numbers.", "sum.up": "Adds it all."})

    assert [alike.find(one).expert for one in ("sum-up", "sum_up", "Sum Up")] == ["sum-up", "sum_up", None]
