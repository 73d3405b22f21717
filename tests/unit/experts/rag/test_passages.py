"""Passages of documents, and which of them is found."""

from __future__ import annotations

import time

import pytest

from experts.documents.markdown import read_text
from experts.documents.storage import load
from experts.knowledge.passages import Passage, passages, sentences
from experts.rag.expert import indexed
from experts.rag.index import PassageIndex
from swarm.errors import UnusableInput
from swarm.text.english import stem
from tests.unit.experts.rag.desk import BOOK, RATES


def told(text: str) -> list[str]:
    """The sentences of a passage with this text."""
    return [sentence.text for sentence in sentences(Passage("d", "", text))]


# -- passages --------------------------------------------------------------------------------------------------


def test_passages_know_their_headings_and_never_join_sections() -> None:
    found = passages(BOOK)

    assert [passage.section for passage in found] == [
        "Book", "Book > Returns", "Book > Returns > Damaged goods", "Book > Delivery",
    ]  # fmt: skip
    assert found[2].text.startswith("Damaged goods are refunded in full.\nSend two")
    assert "- Lamps" in found[2].text


def test_underlined_headings_and_code_are_understood() -> None:
    text = "Title\n=====\n\nOne.\n\nPart\n----\n\nTwo.\n\n```\n# no heading\n\nstill code\n```\n"

    assert [(passage.section, passage.text) for passage in passages(read_text("d", text))] == [
        ("Title", "One."),
        ("Title > Part", "Two.\n\n```\n# no heading\n\nstill code\n```"),
    ]


def test_each_row_of_a_long_table_is_a_passage_with_the_header_of_its_columns() -> None:
    found = passages(read_text("d", f"# Rates\n\nAll fees in euros:\n{RATES}\n\nEnd."))

    assert [passage.text for passage in found][:3] == [
        "All fees in euros:", "| Country0 | 0.50 EUR | 0.00 EUR |", "| Country1 | 1.50 EUR | 2.00 EUR |",
    ]  # fmt: skip
    assert len(found) == 82
    assert {passage.header for passage in found[1:-1]} == {"| Country | Standard fee | Express fee |"}
    assert {passage.section for passage in found} == {"Rates"}
    assert (found[-1].text, found[-1].header) == ("End.", "")


def test_a_short_table_stays_together_and_its_rows_know_their_columns() -> None:
    table = "\n".join(RATES.split("\n")[:4])
    (found,) = passages(read_text("d", f"Fees:\n\n{table}"))

    assert [(sentence.text, sentence.header) for sentence in sentences(found)] == [
        ("Fees:", ""),
        ("| Country0 | 0.50 EUR | 0.00 EUR |", "| Country | Standard fee | Express fee |"),
        ("| Country1 | 1.50 EUR | 2.00 EUR |", "| Country | Standard fee | Express fee |"),
    ]


def test_a_title_of_the_front_matter_stands_above_all_headings() -> None:
    one = load("d", b"---\ntitle: Warranty\n---\nIntro.\n\n# Lamps\n\nTwo years.")
    same = load("d", b"---\ntitle: Lamps\n---\n# Lamps\n\nTwo years.")

    assert [passage.section for passage in passages(one)] == ["Warranty", "Warranty > Lamps"]
    assert [passage.section for passage in passages(same)] == ["Lamps"]


def test_sentences_are_cut_at_their_ends_and_not_at_abbreviations() -> None:
    assert told(passages(BOOK)[3].text) == [
        "Parcels take two days.", "Express parcels take one day, e.g. on Mondays.", "Mr. Smith drives the van.",
    ]  # fmt: skip
    assert told('He said "No." Then he left.\n\n- one\n- two') == [
        'He said "No."',
        "Then he left.",
        "- one",
        "- two",
    ]


def test_documents_are_decoded_with_one_sort_of_line_end() -> None:
    assert load("a", b"\xef\xbb\xbfa\r\nb\rc").text == "a\nb\nc"
    with pytest.raises(UnusableInput, match="'a' is not UTF-8"):
        load("a", b"\xff")


# -- retrieval -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    ["return returns returned returning", "refund refunds refunded", "cancel cancelled cancellation", "policy policies",
     "delivery deliveries deliver delivered", "damage damaged damages", "arrive arrived arrival"],
)  # fmt: skip
def test_forms_of_a_word_have_one_stem(words: str) -> None:
    assert len({stem(word) for word in words.split()}) == 1


def test_different_words_keep_different_stems() -> None:
    words = "order payment parcel warranty gift return refund delivery account customer price card address".split()

    assert len({stem(word) for word in words}) == len(words)


def test_the_best_passage_comes_first_and_headings_count() -> None:
    index = indexed([BOOK])

    assert index.search("What about damaged goods?")[0].passage.section == "Book > Returns > Damaged goods"
    assert index.search("How fast are express parcels?")[0].passage.section == "Book > Delivery"
    assert index.search("delivery")[0].coverage == 1.0
    assert index.search("zebra") == []


def test_words_that_name_the_expert_are_not_missed() -> None:
    plain, named = indexed([BOOK]), indexed([BOOK], "policy desk", "What the policy says.")

    assert named.search("what does the policy say on express")[0].coverage == 1.0
    assert plain.search("what does the policy say on express")[0].coverage < 0.6


def test_an_empty_index_finds_nothing() -> None:
    assert PassageIndex([]).search("anything") == []


def test_a_heading_is_told_without_its_closing_marks() -> None:
    assert passages(read_text("d", "## Returns  ## \n\nText."))[0].section == "Returns"


def test_many_abbreviations_do_not_take_long() -> None:
    begun = time.process_time()
    told("A. " * 5_000)

    assert time.process_time() - begun < 2
