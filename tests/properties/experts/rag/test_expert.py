"""Answers from documents without a model: quotes that stand where they are said to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from experts.documents.markdown import read_text
from experts.knowledge.passages import passages
from experts.knowledge.terms import terms
from experts.rag.citations import stands
from experts.rag.expert import indexed


@given(st.text(alphabet="退款商品のはパスワ환불상품คืนเงิน abc。？ 1", max_size=60), st.text(max_size=40))
def test_every_text_is_found_by_its_own_words(text: str, more: str) -> None:
    index = indexed([read_text("d", text), read_text("e", more)])

    assert all(hit.coverage <= 1.0 + 1e-9 for hit in index.search(text + more))
    if terms(text) and passages(read_text("d", text)):
        assert index.search(text)[0].coverage > 0


@given(st.text(max_size=2_000), st.text(max_size=200))
def test_every_quote_stands_in_its_document(text: str, question: str) -> None:
    from experts.rag.citations import best_quotes

    index = indexed([read_text("d", text)])
    for cited in best_quotes(question + " word", index.search(question + " " + text[:50]), index):
        assert stands(cited.quote, text)
