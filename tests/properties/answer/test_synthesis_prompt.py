"""What a model is asked for an answer out of several results."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.answer.synthesis import ROOM
from tests.unit.answer.asking import asked, prompt


@given(
    st.dictionaries(st.from_regex(r"t[0-9]{1,3}", fullmatch=True), st.integers(0, 30_000), min_size=1, max_size=30),
    st.integers(1, 200_000),
    st.data(),
)
def test_a_prompt_is_bounded_whatever_is_in_it(sizes: dict[str, int], request: int, data: st.DataObject) -> None:
    sections = data.draw(st.sets(st.sampled_from(sorted(sizes)), min_size=1))
    found = asked({i: "x" * size for i, size in sizes.items()}, "q" * request, sections=sorted(sections))

    assert len(prompt(found)) < ROOM + ROOM // 4 + 200 * len(sizes) + 4_000
    assert all(f" {i}\n" in prompt(found) for i in sections)
