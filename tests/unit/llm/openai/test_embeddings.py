"""Vectors of texts: batches, and what is read of an answer."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import BadOutput
from swarm.llm.openai.embeddings import BYTES_AT_ONCE, batches, read


def test_a_long_text_goes_alone_and_no_text_is_lost() -> None:
    long = "x" * (BYTES_AT_ONCE + 1)

    assert list(batches(["a", long, "b", "c"])) == [["a"], [long], ["b", "c"]]


@given(st.binary(max_size=200), st.integers(0, 4))
def test_whatever_comes_is_vectors_or_bad_output(content: bytes, count: int) -> None:
    with suppress(BadOutput):
        assert len(read(content, count)[0]) == count
