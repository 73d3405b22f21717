"""Schemas in which few definitions make more ways than anybody can go are found, and no check goes all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experts import schema_keywords
from experts.catalog.card_reader import read_card
from experts.output_schema import schema_problem, violation
from swarm.errors import InvalidCard

EACH_TWICE = "applies more than 10,000 parts to one value"


@pytest.fixture
def few_references(monkeypatch: pytest.MonkeyPatch) -> int:
    """The limit that a check has, smaller."""
    monkeypatch.setattr(schema_keywords, "MAX_FOLLOWED", 2_000)
    return schema_keywords.MAX_FOLLOWED


def chained(size: int, step: str, **last: Any) -> dict[str, Any]:
    """Definitions that name the next one twice each."""
    named = [[{"$ref": f"#/$defs/d{at + 1}"}] * 2 for at in range(size)]
    definitions = {f"d{at}": {step: both} for at, both in enumerate(named)} | {f"d{size}": last or {"type": "string"}}
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}


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


def test_definitions_that_name_the_next_one_in_two_fields_are_sound() -> None:
    fields = {f"d{at}": {"properties": {k: {"$ref": f"#/$defs/d{at + 1}"} for k in "ab"}} for at in range(40)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": fields | {"d40": True}}

    assert schema_problem(schema) is None
    assert violation({"a": {"a": {"b": {}}}}, schema) is None


@pytest.mark.parametrize(
    "part",
    [{"$ref": "#/$defs/d"}, {"allOf": [{"$ref": "#/$defs/d"}]}, {"not": {"$ref": "#/$defs/d"}}, {"if": {"$ref": "#"}}],
)
def test_a_definition_that_leads_to_itself_for_one_value_is_a_finding(part: dict[str, Any]) -> None:
    schema = {"type": "object", "allOf": [{"$ref": "#/$defs/d"}], "$defs": {"d": part}}

    assert "leads to itself" in (schema_problem(schema) or "")


def test_a_tree_that_names_itself_for_its_children_is_sound() -> None:
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}

    assert schema_problem(tree) is None
    assert violation({"children": [{"children": []}, {}]}, tree) is None
    assert violation({"children": [{"children": 1}]}, tree) is not None


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


def test_the_card_with_such_a_schema_is_a_finding(tmp_path: Path) -> None:
    schema = json.dumps(chained(40, "anyOf"))
    card = tmp_path / "sort.md"
    card.write_text(
        f"---\nname: sort\nkind: instruction\ndescription: Sorts.\nmodel: openai/x\noutput: {schema}\n---\nSort it.\n"
    )

    with pytest.raises(InvalidCard, match=f"output {EACH_TWICE}"):
        read_card(card, tmp_path)
