"""Answers whose sentences the reranker chose, with the encoder and the reranker that come with the extra."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from experts.documents.markdown import read_text
from experts.knowledge.analysis import IndexedDocument
from experts.knowledge.builder import build
from experts.knowledge.passages import passages
from experts.knowledge.retrieval import Retriever
from experts.knowledge.sqlite_store import SqliteStore
from experts.rag.citations import stands
from experts.rag.extract import ExtractExpert
from experts.rag.search import KnowledgeSearch
from swarm.encoder.onnx import open_encoder, open_reranker
from tests.unit.experts.rag.desk import BOOK, RATES, a_card, asked

OFFICE = read_text(
    "office.md",
    "# Office\n\nOur office has been in the old mill since 1987. It opens at nine in the morning. Visitors ring twice. "
    "The dog of the caretaker is called Bruno.\n\n# Rates\n\n" + "\n".join(RATES.split("\n")[:7]),
)


@pytest.fixture
async def expert(tmp_path: Path) -> AsyncIterator[ExtractExpert]:
    pytest.importorskip("onnxruntime")
    encoder, reranker = open_encoder(), open_reranker()
    documents = [IndexedDocument(each.name, passages(each)) for each in (BOOK, OFFICE)]
    store = SqliteStore(await build(documents, tmp_path, encoder=encoder))
    retriever = Retriever(store, encoder=encoder, reranker=reranker, is_english=encoder.is_english)
    retriever.budget_ms = None
    expert = ExtractExpert(a_card(), KnowledgeSearch(retriever, store))
    yield expert
    await expert.aclose()


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Do you refund something that arrived damaged?", "Damaged goods are refunded in full."),
        ("What is the name of the caretaker's dog?", "The dog of the caretaker is called Bruno."),
        ("What are the opening hours of the office?", "It opens at nine in the morning."),
    ],
)
async def test_the_first_quote_answers_a_question_in_other_words(
    expert: ExtractExpert, question: str, words: str
) -> None:
    solution = await expert.solve(asked(question), {})

    first = solution.citations[0]
    assert words in first.quote
    assert first.quote in solution.text
    texts = {each.name: each.text for each in (BOOK, OFFICE)}
    assert all(stands(cited.quote, texts[cited.document]) for cited in solution.citations)
    assert sum(cited.quote.count(". ") + 1 for cited in solution.citations) <= 4


async def test_sentences_that_follow_each_other_are_one_quote_in_reading_order(expert: ExtractExpert) -> None:
    solution = await expert.solve(asked("Which photographs of damaged goods do I send, and what is refunded?"), {})

    assert solution.citations[0].quote == (
        "Damaged goods are refunded in full. Send two photographs within fourteen days."
    )


async def test_a_row_is_quoted_with_the_header_of_its_table(expert: ExtractExpert) -> None:
    solution = await expert.solve(asked("What is the express fee for Country3?"), {})

    assert [cited.quote for cited in solution.citations][:2] == [
        "| Country | Standard fee | Express fee |",
        "| Country3 | 3.50 EUR | 6.00 EUR |",
    ]


@pytest.mark.parametrize(
    "question", ["Who won the football world cup in 1998?", "How do I reset my password on the intranet?"]
)
async def test_what_the_documents_do_not_answer_is_refused(expert: ExtractExpert, question: str) -> None:
    solution = await expert.solve(asked(question), {})

    assert (solution.found, solution.citations, solution.confidence) == (False, (), 0.0)


async def test_a_question_in_another_language_is_answered_by_words_and_meaning(expert: ExtractExpert) -> None:
    search = expert.search

    assert await search.judge("Wie heißt der Hund des Hausmeisters, und wo schläft er?", ["Bruno."], 100) is None
    hits = await search.find("Wie heißt der Hund Bruno?", 5)
    assert all(hit.relevance is None for hit in hits)
