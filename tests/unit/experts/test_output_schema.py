"""Schemas in which few definitions make more ways than anybody can go are found, and no check goes all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experts.catalog.card_reader import read_card
from experts.output_schema import schema_problem, violation
from swarm.errors import InvalidCard

EACH_TWICE = "applies more than 10,000 parts to one value"


def chained(size: int, step: str, **last: Any) -> dict[str, Any]:
    """Definitions that name the next one twice each."""
    named = [[{"$ref": f"#/$defs/d{at + 1}"}] * 2 for at in range(size)]
    definitions = {f"d{at}": {step: both} for at, both in enumerate(named)} | {f"d{size}": last or {"type": "string"}}
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}


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


def test_the_card_with_such_a_schema_is_a_finding(tmp_path: Path) -> None:
    schema = json.dumps(chained(40, "anyOf"))
    card = tmp_path / "sort.md"
    card.write_text(
        f"---\nname: sort\nkind: instruction\ndescription: Sorts.\nmodel: openai/x\noutput: {schema}\n---\nSort it.\n"
    )

    with pytest.raises(InvalidCard, match=f"output {EACH_TWICE}"):
        read_card(card, tmp_path)
