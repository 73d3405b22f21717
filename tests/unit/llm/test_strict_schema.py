"""The strict form of a schema, and what it loses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from swarm.llm.openai.structured_output import parameters
from swarm.llm.strict_schema import Strict, restored, strictly
from swarm.llm.strict_schema_nulls import MayLack
from swarm.planner.model.output_schema import response_format
from swarm.types.card import Card
from tests.unit.llm.schemas import open_object, strict

TEXT = {"type": "string"}
NULL = {"type": "null"}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


@pytest.mark.parametrize(
    "schema",
    [
        closed(label=TEXT),
        closed(label={"anyOf": [NULL, closed(a=TEXT, c=TEXT), closed(b=TEXT, c=TEXT)]}),
        closed(label={"type": ["string", "number", "null"]}),
        closed(rows={"type": "array", "items": closed(n={"type": "integer"})}),
        closed(label={"type": "string", "enum": ["a", "b"]}, one={"type": "integer", "const": 1}, nothing=closed()),
        closed(label=TEXT | {"pattern": "^a", "format": "date"}, n={"type": "number", "minimum": 0}),
        closed(next={"anyOf": [{"$ref": "#"}, NULL]}),
        closed(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": closed(b=TEXT)}},
    ],
)  # fmt: skip
def test_a_schema_that_is_strict_stays_as_it_is(schema: dict[str, Any]) -> None:
    assert strictly(schema) == Strict(schema)


@pytest.mark.parametrize(
    ("schema", "asked", "dropped"),
    [
        (open_object(a=TEXT), closed(a={"type": ["string", "null"]}), ()),
        (open_object(a=TEXT) | {"required": ["a"]}, closed(a=TEXT), ()),
        ({"properties": {"a": TEXT}, "required": ["a"]}, closed(a=TEXT), ()),
        (closed(a={"const": 1}), closed(a={"type": "integer", "const": 1}), ()),
        (closed(a={"enum": ["x", 1]}), closed(a={"type": ["string", "integer"], "enum": ["x", 1]}), ()),
        (open_object(a={"enum": ["x"]}), closed(a={"type": ["string", "null"], "enum": ["x", None]}), ()),
        (open_object(a={"enum": ["x", None]}), closed(a={"type": ["string", "null"], "enum": ["x", None]}), ()),
        (
            open_object(a={"type": "string", "enum": ["x"]}),
            closed(a={"type": ["string", "null"], "enum": ["x", None]}),
            (),
        ),
        (open_object(a={"type": ["string", "null"]}), closed(a={"type": ["string", "null"]}), ()),
        (open_object(a=closed(b=TEXT)), closed(a={"anyOf": [closed(b=TEXT), NULL]}), ()),
        (closed(a=TEXT | {"minLength": 2}), closed(a=TEXT), ("a: minLength",)),
        (closed(a=TEXT | {"format": "uri"}), closed(a=TEXT), ("a: format",)),
        (
            closed(a={"type": "array", "items": closed(b=TEXT | {"maxLength": 9}), "uniqueItems": True}),
            closed(a={"type": "array", "items": closed(b=TEXT)}),
            ("a: uniqueItems", "a[].b: maxLength"),
        ),
        (closed(a={"oneOf": [TEXT, NULL]}), closed(a={"anyOf": [TEXT, NULL]}), ("a: oneOf",)),
        (
            closed(a={"type": ["object", "null"], "properties": {"b": TEXT}, "required": ["b"]}),
            closed(a={"anyOf": [closed(b=TEXT), NULL]}),
            (),
        ),
        (closed(a=TEXT) | {"if": closed(a={"const": "x"}), "then": {}}, closed(a=TEXT), ("if", "then")),
        (
            open_object(a=TEXT, b=TEXT) | {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            closed(a={"type": ["string", "null"]}, b={"type": ["string", "null"]}),
            ("anyOf",),
        ),
        (closed(a={"allOf": [TEXT], "default": "x"}), closed(a=TEXT), ()),
        (
            {
                "$ref": "#/definitions/A",
                "definitions": {"A": closed(next={"anyOf": [{"$ref": "#/definitions/A"}, NULL]})},
            },
            closed(next={"anyOf": [{"$ref": "#/$defs/A"}, NULL]})
            | {"$defs": {"A": closed(next={"anyOf": [{"$ref": "#/$defs/A"}, NULL]})}},
            (),
        ),
        (
            closed(a=TEXT) | {"$schema": "https://json-schema.org/draft/2020-12/schema", "examples": [], "x-mine": 1},
            closed(a=TEXT),
            (),
        ),
    ],
)  # fmt: skip
def test_a_schema_is_closed_and_what_it_loses_is_told(
    schema: dict[str, Any], asked: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    assert strictly(schema) == Strict(asked, dropped)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": TEXT},
        open_object(a=TEXT) | {"additionalProperties": True},
        open_object(a=TEXT) | {"required": ["b"]},
        open_object(a=TEXT) | {"patternProperties": {"^x": TEXT}},
        open_object(a={}),
        open_object(a=True),
        open_object(a={"type": "array"}),
        open_object(a={"type": "array", "prefixItems": [TEXT]}),
        open_object(a={"allOf": [open_object(b=TEXT), open_object(c=TEXT)]}),
        open_object(a={"$ref": "https://example.com/schema"}),
        open_object(a={"$ref": "#/properties/b"}, b=TEXT),
        closed(a={"anyOf": [closed(c=TEXT, a=TEXT), closed(c=TEXT, b=TEXT)]}),
        {"anyOf": [closed(a=TEXT), closed(b=TEXT)]},
        {"type": "array", "items": TEXT},
        TEXT,
        {},
        {"$ref": "#"},
        closed(a={"enum": [{"b": 1}]}),
        closed(a={"enum": list(range(2_000))}),
        closed(**{f"property-{number}": TEXT for number in range(6_000)}),
        closed(a={"anyOf": "x"}),
        closed(a={"anyOf": []}),
        closed(a={"enum": []}),
        closed(a={"anyOf": [{"type": "array", "items": TEXT}, {"type": "array", "items": closed(b=TEXT)}]}),
        closed(a={"anyOf": [closed(b=TEXT, c=TEXT), closed(c=TEXT, b=TEXT)]}),
        closed(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": TEXT}, "definitions": {"A": {"type": "integer"}}},
        closed(a=TEXT | {"description": "x" * 300_000}),
        closed(a={"type": 7}),
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": {"const": float("inf")}}},
    ],
)  # fmt: skip
def test_a_schema_that_would_mean_something_else_is_not_put_strictly(schema: dict[str, Any]) -> None:
    assert strictly(schema) is None


def test_a_schema_that_is_too_deep_is_not_put_strictly() -> None:
    deep: dict[str, Any] = closed(a=TEXT)
    for _ in range(9):
        deep = closed(a=deep)

    assert strictly(deep) == Strict(deep)
    assert strictly(closed(a=deep)) is None


def test_a_schema_of_300_keys_is_put_strictly() -> None:
    schema = open_object(**{f"key-{number}": TEXT for number in range(300)})
    found = strict(schema)

    assert found.schema["required"] == list(schema["properties"])
    assert restored(dict.fromkeys(schema["properties"]) | {"key-7": "x"}, found) == {"key-7": "x"}


def test_an_answer_to_a_schema_that_refers_to_itself_is_read_in_one_go() -> None:
    loop = {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/L"}}, open_object(b=TEXT), TEXT]}
    found = strict(closed(a={"$ref": "#/$defs/L"}) | {"$defs": {"L": loop}})
    value: Any = [{"b": None}]
    for _ in range(200):
        value = [value, "x"]

    meant = restored({"a": value}, found)

    assert json.dumps(meant).count("null") == 0
    assert json.dumps(meant).count("{}") == 1


def test_the_form_of_a_plan_goes_out_letter_by_letter() -> None:
    cards = {
        f"expert-{n}": Card(name=f"expert-{n}", kind="instruction", description="x", model="a/b") for n in range(30)
    }
    wanted = response_format(cards)
    asked = parameters("json_schema", wanted, strictly(wanted.schema))["response_format"]["json_schema"]

    assert json.dumps(asked) == json.dumps({"name": "plan", "schema": wanted.schema, "strict": True})
    assert not any(isinstance(part, MayLack) for part in parts_of(asked))


def parts_of(part: Any) -> Iterable[Any]:
    yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from parts_of(inner)


def test_nulls_that_stand_for_a_key_left_out_are_taken_out_at_every_depth() -> None:
    part = open_object(name=TEXT, note=TEXT, gone={"type": ["string", "null"]}) | {"required": ["name"]}
    schema = open_object(rows={"type": "array", "items": part}, pick={"anyOf": [part, open_object(other=TEXT)]})
    found = strict(schema)
    value = {
        "rows": [{"name": "a", "note": None, "gone": None}, {"name": "b", "note": "n", "gone": None}],
        "pick": {"other": None},
    }

    assert restored(value, found) == {
        "rows": [{"name": "a", "gone": None}, {"name": "b", "note": "n", "gone": None}],
        "pick": {},
    }
    assert restored({"rows": None, "pick": None}, found) == {}


@pytest.mark.parametrize("value", [None, "text", [], {"a": 1, "c": None}, {"a": {"b": None}}, {"c": None}])
def test_an_answer_that_is_not_of_the_form_is_left_alone(value: Any) -> None:
    assert restored(value, strict(closed(a=TEXT))) == value
