"""The demo catalog that ships in the wheel: sound, long enough to matter, and able to answer."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

import experts
from experts.catalog.loader import Loaded, check_folder, read_folder
from experts.finetuned.dataset import read_rows
from experts.registry import Registry
from swarm.types.card import Blob
from swarm.types.plan import Subtask
from swarm.types.result import Solution

DEMO = Path(experts.__file__).parent / "demo"


@pytest.fixture(scope="module")
def demo() -> Loaded:
    assert check_folder(DEMO) == []
    return read_folder(DEMO)


async def answer(demo: Loaded, expert: str, instruction: str, inputs: dict[str, Solution] | None = None) -> Solution:
    async def load_blob(blob: Blob) -> bytes:
        return demo.blobs[blob.sha256]

    async with Registry(load_blob) as registry:
        subtask = Subtask(id="t9", expert=expert, instruction=instruction)
        outcome = await registry.settle(demo.catalog.cards[expert], subtask, inputs or {})
    assert isinstance(outcome, Solution), outcome
    return outcome


def test_there_are_experts_of_all_kinds_and_none_needs_a_key(demo: Loaded) -> None:
    cards = demo.catalog.cards.values()

    assert len(cards) >= 7
    assert {card.kind for card in cards} == {"instruction", "rag", "fine-tuned"}
    assert all(card.model.startswith("local/") for card in cards)


def test_the_documents_are_long_enough_that_retrieval_matters() -> None:
    assert len((DEMO / "policies" / "handbook.md").read_text().split()) >= 3_500
    assert len((DEMO / "delivery" / "faq.md").read_text().split()) >= 2_000


def test_there_are_rows_of_six_labels_without_repeats() -> None:
    rows = read_rows(DEMO / "triage.csv")
    with (DEMO / "triage.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == ["text", "label"]

    assert len({row.text.lower() for row in rows}) == len(rows) >= 90
    assert set(Counter(row.label for row in rows).values()) == {45}


@pytest.mark.parametrize(
    ("message", "label"),
    [
        ("Classify this message: 'My parcel arrived broken and I want my money back'", "damaged_goods"),
        ("Where on earth is my package?", "delivery"),
        ("I was billed twice for one lamp", "payment"),
        ("I can't log in any more", "account"),
        ("What wood is your desk made of?", "product_question"),
        ("How can I send this blanket back?", "refund_or_return"),
    ],
)
async def test_triage_knows_what_a_message_is_about(demo: Loaded, message: str, label: str) -> None:
    assert (await answer(demo, "triage", message)).text == label


@pytest.mark.parametrize(
    ("expert", "question", "section", "words"),
    [
        ("refund-policy", "find what the refund policy says about damaged goods", "Damaged goods", "full refund"),
        ("refund-policy", "My card was charged twice, what do you do?", "Being charged twice", "on the same day"),
        ("refund-policy", "How long is the warranty on furniture?", "What the warranty covers", "five years"),
        ("delivery-faq", "Do you deliver to Norway and are there customs duties?", "customs or duties", "import tax"),
        ("delivery-faq", "What if I am not at home?", "What if I am not at home", "neighbour"),
    ],
)
async def test_the_documents_are_quoted_at_the_right_place(
    demo: Loaded, expert: str, question: str, section: str, words: str
) -> None:
    solution = await answer(demo, expert, question)

    assert section in solution.citations[0].section
    assert words in solution.text


async def test_what_no_document_says_is_said_to_be_missing(demo: Loaded) -> None:
    assert (await answer(demo, "refund-policy", "Who won the football match?")).data == {"found": False, "quotes": 0}


async def test_the_reply_is_made_of_the_label_and_the_rule(demo: Loaded) -> None:
    label = await answer(demo, "triage", "Classify this message: 'My parcel arrived broken and I want my money back'")
    rule = await answer(demo, "refund-policy", "find what the refund policy says about damaged goods")

    reply = await answer(demo, "reply-writer", "write a reply to the customer", {"t1": label, "t2": rule})

    assert reply.text.startswith("Dear customer,\n\nwe are sorry that your goods did not arrive as they should.")
    assert "full refund or a free replacement" in reply.text
    assert reply.citations == rule.citations


@pytest.mark.parametrize("expert", ["reply-writer", "order-summary", "escalation-note", "next-steps", "greeting"])
async def test_every_template_copes_with_any_inputs(demo: Loaded, expert: str) -> None:
    odd = {
        "a": Solution(text="plain"),
        "b": Solution(text="x", data=[1]),
        "c": Solution(text="n", data={"found": False, "quotes": 0}),
    }

    assert (await answer(demo, expert, "Do it for order 48213")).text
    assert (await answer(demo, expert, "Do it", odd)).text
