"""What a doctor makes of facts: each fault is found, at its level, with a remedy; what is sound is said to be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.cli.doctor.env_names import strangers


@given(st.sets(st.text(max_size=40)))
def test_whatever_the_names_are_every_line_has_a_remedy(names: set[str]) -> None:
    assert all(each.level == "warning" and each.remedy for each in strangers(names, ["box"]))
