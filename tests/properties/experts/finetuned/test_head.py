"""A trained head: its answers, its file, and the expert that answers with it."""

from __future__ import annotations

import contextlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experts.finetuned.head import read_head
from experts.finetuned.head_features import counted, times
from swarm.errors import BadInput
from tests.unit.experts.finetuned.test_head import HEAD


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_the_sparse_product_is_the_product(texts: list[str]) -> None:
    rows, matrix = counted(texts, 64), np.arange(128, dtype=np.float64).reshape(64, 2)
    dense = np.zeros((len(texts), 64))
    dense[rows.owners, rows.columns] = rows.values

    assert np.allclose(times(rows, matrix), dense @ matrix)


@given(st.data())
def test_hostile_bytes_are_bad_input(data: st.DataObject) -> None:
    content = bytearray(HEAD.to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 400) | st.integers(-400, -1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))

    with contextlib.suppress(BadInput):
        assert np.isfinite(read_head(bytes(content[:cut])).weights).all()
