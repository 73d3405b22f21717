"""Vectors of texts: batches, and what is read of an answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.llm.openai.embeddings import AT_ONCE, batches


@given(st.lists(st.text(max_size=5), max_size=300))
def test_batches_hold_all_texts_in_order(texts: list[str]) -> None:
    assert [text for some in batches(texts) for text in some] == texts
    assert all(0 < len(some) <= AT_ONCE for some in batches(texts))
