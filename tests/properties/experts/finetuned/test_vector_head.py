"""A head over vectors: its labels, its confidence in texts that fit none, its file, and the expert that answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.finetuned.head import head_problem, read_head
from experts.finetuned.vector_head import VectorHead
from swarm.errors import BadInput
from tests.unit.experts.finetuned.test_vector_head import DIRECTIONS, HEAD


@given(st.data())
def test_hostile_bytes_are_bad_input(data: st.DataObject) -> None:
    content = bytearray(HEAD.to_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    problem = head_problem(bytes(content))
    if problem is None:
        head = read_head(bytes(content))
        assert isinstance(head, VectorHead)
        assert np.isfinite(head.classify(DIRECTIONS[:2])[0]).all()
    else:
        with pytest.raises(BadInput):
            read_head(bytes(content))
