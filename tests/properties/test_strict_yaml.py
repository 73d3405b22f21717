"""YAML that people write by hand: what is read, and what is refused with its line."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.strict_yaml import StrictYamlError, load

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_has_is_read_as_it_is(value: object) -> None:
    assert load(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000])
def test_depth_is_refused_before_it_costs_anything(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(StrictYamlError):
        load(text)

    assert time.process_time() - begun < 2
