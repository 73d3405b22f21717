"""What errors of servers mean: their own words, row by row of the table."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.llm.openai.error_table import BAD_REQUEST, classify, reason, status_of, words
from swarm.llm.openai.retry_after import retry_after
from tests.unit.llm.openai.test_error_table import EXPECTED

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "status", "detail", "innererror", "msg", "input"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.integers(100, 999), json_values)
def test_any_error_has_a_row(status: int, body: object) -> None:
    fault = classify(status, body)

    assert fault.kind in EXPECTED
    assert 400 <= status_of(body) <= 599
    assert isinstance(reason(body), str)
    assert isinstance(words(body), str)


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1) for _ in range(10)] if depth else ["x" * 100, 7, {}, None] * 3


@pytest.mark.parametrize(
    "body",
    [
        *(word * (4_000_000 // len(word)) for word in ("model ", " ", "\\", "1d ", "'input': ", "token count ")),
        {"error": {"message": "model " * 700_000, "details": nested(4)}},
        {"errors": [{"message": "context size of 1" * 20}] * 10_000},
    ],
    ids=lambda body: repr(body)[:20],
)  # fmt: skip
def test_no_error_is_too_large_to_be_told_soon(body: Any) -> None:
    begun = time.process_time()

    assert classify(418, body).kind == BAD_REQUEST.kind
    assert retry_after({}, body, 0) is None
    assert time.process_time() - begun < 2
