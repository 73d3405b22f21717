"""YAML that people write by hand: what is read, and what is refused with its line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.strict_yaml import StrictYamlError, load


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: [1\n", "expected ',' or ']', but got '<stream end>' (line 3)"),
        ("a: 1\nb: &x 1", "an anchor or alias (& or *) (line 2)"),
        ("a: *x", "an anchor or alias (& or *) (line 1)"),
        ("a: !!python/object:os.system x", "the tag tag:yaml.org,2002:python/object:os.system (line 1)"),
        ("a: !own 1", "the tag !own (line 1)"),
        ("a: {b: 1,\n  b: 2}", "'b' is given twice (line 2)"),
        ("[" * 41 + "]" * 41, "more than 40 levels (line 1)"),
        ("? [1]\n: 2", "found unhashable key (line 1)"),
        ("a: 1\n---\nb: 2", "but found another document (line 2)"),
        ("a: 2026-13-45", "month must be in 1..12"),
        ('a: "\\ud83d"', "half a character (line 1)"),
        ("a: \x07", "unacceptable character #x0007"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(StrictYamlError) as caught:
        load(text)

    assert str(caught.value).startswith(problem)


def test_lines_are_counted_in_the_file_that_the_text_is_a_part_of() -> None:
    with pytest.raises(StrictYamlError, match=r"\(line 7\)"):
        load("a: 1\na: 2", above=5)


@given(st.text())
def test_any_text_is_a_value_or_not_plain(text: str) -> None:
    with suppress(StrictYamlError):
        load(text)
