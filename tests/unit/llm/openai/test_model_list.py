"""What is read of a list of models."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import BadOutput
from swarm.llm.openai.model_list import MOST, ListedModel, listed, named


def test_a_list_is_capped_and_what_is_no_model_passed_over() -> None:
    assert len(listed(str([{"id": f"m{n}"} for n in range(MOST + 5)]).replace("'", '"').encode())) == MOST
    assert listed(b'["a", {"id": 3}, {"id": ""}, {"id": "a\\nb"}, {"id": "ok"}, {"id": "ok"}]') == (ListedModel("ok"),)


def test_twenty_models_are_named_and_the_rest_counted() -> None:
    assert named((ListedModel("a"), ListedModel("b"))) == "a, b"
    assert named(tuple(ListedModel(str(n)) for n in range(25))).endswith("18, 19 and 5 more")


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_list_or_bad_output(content: bytes) -> None:
    with suppress(BadOutput):
        assert all(isinstance(model, ListedModel) for model in listed(content))
