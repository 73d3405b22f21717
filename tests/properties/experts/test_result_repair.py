"""What JSON does not have is replaced in a result, and the result says so."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.outcome import judged
from experts.result_repair import repaired
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.conftest import a_card

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
ASKED = Subtask(id="t1", expert="a", instruction="x")


@given(st.text(st.characters(codec=None)), VALUES)
def test_whatever_comes_out_can_be_stored(text: str, data: Any) -> None:
    mended = repaired(Solution(text=text, data=data))

    json.dumps([mended.text, mended.data], allow_nan=False, ensure_ascii=False).encode()


@given(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_what_is_sound_is_left_as_it_is(text: str, data: Any) -> None:
    solution = Solution(text=text, data=data, confidence=0.5)

    assert repaired(solution) is solution


@pytest.mark.parametrize(
    ("given", "text", "data"),
    [
        (Solution(text="a\ud83d b"), "a\ufffd b", None),
        (Solution(text="ok", data={"x": [float("inf"), 1.5], "y\udc00": float("nan")}), "ok",
         {"x": [None, 1.5], "y\ufffd": None}),
    ],
)  # fmt: skip
async def test_a_result_that_was_repaired_travels_and_says_so(given: Solution, text: str, data: Any) -> None:
    outcome = await judged(given, a_card("a"), ASKED)

    assert isinstance(outcome, Solution)
    assert (outcome.text, outcome.data, outcome.caveats) == (text, data, ("repaired",))
