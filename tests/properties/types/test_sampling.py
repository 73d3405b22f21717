"""How a model is to write: what cards and endpoints may say of it, and what beats what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.types.sampling import UNSET, Sampling

SETTINGS = st.builds(
    Sampling,
    max_tokens=st.none() | st.integers(1, 9),
    temperature=st.none() | st.floats(0, 2),
    stop=st.lists(st.text("ab", min_size=1), max_size=2),
    extra=st.dictionaries(st.sampled_from(["top_k", "min_p"]), st.integers()),
)


@given(SETTINGS, SETTINGS)
def test_what_is_said_beats_a_default_and_nothing_else_is_lost(own: Sampling, default: Sampling) -> None:
    found = own.over(default)

    assert found.given.keys() == own.given.keys() | default.given.keys()
    assert found.extra == default.extra | own.extra
    assert all(found.given[name] == value for name, value in own.given.items() if name != "extra")
    assert (own.over(UNSET), UNSET.over(default)) == (own, default)
