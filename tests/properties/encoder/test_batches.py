"""How texts are grouped for the model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.encoder.onnx import BATCH_TOKENS, batches


@given(st.lists(st.integers(2, 700), max_size=200))
def test_every_text_is_in_one_batch_of_its_size(lengths: list[int]) -> None:
    found = list(batches(lengths))

    assert sorted(at for places in found for at in places) == list(range(len(lengths)))
    padded = [max(lengths[at] for at in places) * len(places) for places in found]
    assert all(size <= BATCH_TOKENS or len(places) == 1 for size, places in zip(padded, found, strict=True))


@given(st.lists(st.integers(2, 256), max_size=200))
def test_shorter_texts_go_first(lengths: list[int]) -> None:
    order = [lengths[at] for places in batches(lengths) for at in places]

    assert order == sorted(lengths)
