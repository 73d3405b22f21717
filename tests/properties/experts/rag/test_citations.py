"""Answers of a model from documents: its quotes stand where they are said to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from experts.rag.citations import cited_answer, stands
from tests.unit.experts.rag.test_citations import RULES_OF_RETURNS


@given(st.lists(st.sampled_from(['"', "“", "”", "[1]", " ", "two days", ".", "\n", "-", "*", "’"]), max_size=40))
def test_every_citation_of_an_answer_stands_in_a_passage(parts: list[str]) -> None:
    text, citations, _ = cited_answer("".join(parts), RULES_OF_RETURNS)

    assert len(text) <= len("".join(parts))
    assert all(any(stands(cited.quote, one.shown) for one in RULES_OF_RETURNS) for cited in citations)
