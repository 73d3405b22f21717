"""A request in four languages is cut into segments, each at most one wish, apart from the words that lead to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.text.segments import segmented


@given(st.text(alphabet="ab ?.,;:'\n-and1", max_size=200) | st.text(max_size=200))
def test_segments_span_the_text_without_gaps(text: str) -> None:
    segments = segmented(text).segments

    assert [one.start for one in segments] == [0, *(one.end for one in segments[:-1])][: len(segments)]
    assert not segments or segments[-1].end == len(text)
    assert all(one.start <= one.head <= one.end for one in segments)
