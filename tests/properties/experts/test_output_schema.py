"""Schemas in which few definitions make more ways than anybody can go are found, and no check goes all of them."""

from __future__ import annotations

from typing import Any

import pytest

from experts import schema_keywords
from experts.output_schema import schema_problem, violation
from tests.unit.experts.test_output_schema import EACH_TWICE, chained


@pytest.fixture
def few_references(monkeypatch: pytest.MonkeyPatch) -> int:
    """The limit that a check has, smaller."""
    monkeypatch.setattr(schema_keywords, "MAX_FOLLOWED", 2_000)
    return schema_keywords.MAX_FOLLOWED


@pytest.mark.parametrize("step", ["anyOf", "allOf", "oneOf"])
def test_definitions_that_name_the_next_one_twice_are_a_finding(step: str) -> None:
    assert EACH_TWICE in (schema_problem(chained(40, step)) or "")
    assert EACH_TWICE in (violation({"a": 5}, chained(40, step)) or "")


@pytest.mark.parametrize("size", [1, 5, 10])
def test_a_few_such_definitions_are_sound_and_checked(size: int) -> None:
    schema = chained(size, "allOf")

    assert schema_problem(schema) is None
    assert violation({"a": "x"}, schema) is None
    assert violation({"a": 5}, schema) is not None


def test_a_check_that_doubles_with_each_level_of_the_data_ends(few_references: int) -> None:
    part = {"properties": {"a": {"$ref": "#/$defs/r"}}, "required": ["z"]}
    schema = {"$ref": "#/$defs/r", "$defs": {"r": {"anyOf": [part, part]}}}
    data: Any = "x"
    for _ in range(40):
        data = {"a": data}

    assert f"more than {few_references:,} references for this data" in (
        violation(data, schema) or ""
    )  # unbounded: 2 ** 40


@pytest.mark.parametrize("more", [-500, 500])
def test_a_long_list_of_what_a_definition_says_is_checked(few_references: int, more: int) -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/i"}, "$defs": {"i": {"type": "integer"}}}

    assert violation([1] * (few_references + more), schema) is None
