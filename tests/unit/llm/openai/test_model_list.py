"""What is read of a list of models."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import BadOutput
from swarm.llm.openai.model_list import ListedModel, listed, named


def test_twenty_models_are_named_and_the_rest_counted() -> None:
    assert named((ListedModel("a"), ListedModel("b"))) == "a, b"
    assert named(tuple(ListedModel(str(n)) for n in range(25))).endswith("18, 19 and 5 more")


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_list_or_bad_output(content: bytes) -> None:
    with suppress(BadOutput):
        assert all(isinstance(model, ListedModel) for model in listed(content))
