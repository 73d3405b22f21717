"""Passages of documents, and which of them is found."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.documents.markdown import read_text
from experts.knowledge.passages import LONGEST, passages
from experts.rag.citations import stands


@given(st.text(alphabet="ab .\n#-=`|é", max_size=4_000), st.integers(0, 3))
def test_no_words_are_lost_and_no_passage_is_too_long(text: str, times: int) -> None:
    document = read_text("d", text + " word." * 400 * times)

    found = passages(document)

    assert all(0 < len(passage.text) <= LONGEST for passage in found)
    assert sum(passage.text.count("word") for passage in found) == 400 * times
    assert all(stands(passage.text.split("\n\n")[0], text) for passage in found if "word" not in passage.text)


@pytest.mark.parametrize("text", ["# a" + " " * 100_000 + "b", "# a" + "# " * 50_000 + "b"], ids=["spaces", "marks"])
def test_no_line_takes_long_to_be_a_heading(text: str) -> None:
    begun = time.process_time()
    passages(read_text("d", text))

    assert time.process_time() - begun < 2
