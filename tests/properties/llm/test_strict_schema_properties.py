"""Of any schema: its strict form names, requires and closes all, and means the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from swarm.llm.strict_schema import Strict, restored, strictly

# -- properties ----------------------------------------------------------------------------------------------------

LABELS = st.sampled_from(["a", "b", "c"])
SCALARS = st.sampled_from(
    [
        {"type": "string"}, {"type": "integer"}, {"type": "null"}, {"type": ["string", "null"]},
        {"type": "string", "minLength": 2}, {"type": "string", "enum": ["x", "y"]}, {"enum": ["x", None, 1]},
        {"const": "k"}, {"type": "number", "minimum": 0}, {"type": "boolean"}, {"type": ["integer", "string"]},
        {"type": "string", "format": "uri", "maxLength": 1}, {"type": "string", "not": {"const": "x"}},
        {"$ref": "#/$defs/Part"}, {"$ref": "#/$defs/Loop"},
    ]
)  # fmt: skip


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def built(properties: dict[str, Any], required: set[str], close: bool, least: int) -> dict[str, Any]:
        more: dict[str, Any] = {"additionalProperties": False} if close else {}
        more |= {"minProperties": least} if least else {}
        known = {"properties": properties, "required": sorted(required & properties.keys())}
        return {"type": "object", **known, **more}

    properties = st.dictionaries(LABELS, inner, min_size=1, max_size=3)
    return st.builds(built, properties, st.sets(LABELS), st.booleans(), st.integers(0, 2))


schemas = st.recursive(
    SCALARS,
    lambda inner: objects(inner)
    | st.builds(lambda part: {"type": "array", "items": part, "uniqueItems": True}, inner)
    | st.builds(lambda part, most: {"type": "array", "items": part, "maxItems": most}, inner, st.integers(0, 3))
    | st.builds(
        lambda name, parts: {name: parts}, st.sampled_from(["anyOf", "oneOf"]), st.lists(inner, min_size=1, max_size=2)
    ),
    max_leaves=8,
)  # fmt: skip
DEFINITIONS = {
    "Part": {"type": "object", "properties": {"p": {"type": "string"}, "q": {"type": "integer"}}, "required": ["p"]},
    "Loop": {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/Loop"}}},
}


@st.composite
def fitting(draw: st.DrawFn, part: dict[str, Any], root: dict[str, Any], depth: int = 0) -> Any:
    """A value that fits a strict schema."""
    if "$ref" in part:
        part = root["$defs"][part["$ref"].rpartition("/")[2]]
    if "anyOf" in part:
        choices = part["anyOf"]
        short = [choice for choice in choices if choice.get("type") == "null"]
        return draw(fitting(draw(st.sampled_from(short if short and depth > 3 else choices)), root, depth + 1))
    if "enum" in part or "const" in part:
        return draw(st.sampled_from(part.get("enum", [part.get("const")])))
    kind = part["type"]
    match draw(st.sampled_from(kind)) if isinstance(kind, list) else kind:
        case "object":
            return {name: draw(fitting(inner, root, depth + 1)) for name, inner in part["properties"].items()}
        case "array":
            most = 0 if depth > 3 else part.get("maxItems", 2)
            return draw(st.lists(fitting(part["items"], root, depth + 1), max_size=most))
        case "string":
            return draw(st.sampled_from(["", "x", "long"]))
        case "integer" | "number":
            return draw(st.integers(0, 3))
        case "boolean":
            return draw(st.booleans())
    return None


def explained(faults: Iterable[ValidationError], dropped: set[str]) -> bool:
    """Whether each fault is one of a keyword that was dropped, or of parts whose faults are."""
    return all(
        fault.validator in dropped or any(explained([inner], dropped) for inner in fault.context or ())
        for fault in faults
    )


@given(st.data(), objects(schemas))
def test_what_fits_the_strict_form_fits_the_schema_but_for_what_was_dropped(
    data: st.DataObject, schema: dict[str, Any]
) -> None:
    schema = schema | {"$defs": DEFINITIONS}
    found = strictly(schema)
    assume(found is not None)
    assert found is not None
    asked = json.loads(json.dumps(found.schema))
    value = data.draw(fitting(asked, asked))
    Draft202012Validator(asked).validate(value)

    meant = restored(value, found)

    faults = Draft202012Validator(schema).iter_errors(meant)
    assert explained(faults, {place.rpartition(": ")[2] for place in found.dropped})


@given(objects(schemas))
def test_a_strict_form_names_requires_and_closes_all_and_is_its_own(schema: dict[str, Any]) -> None:
    found = strictly(schema | {"$defs": DEFINITIONS})
    assume(found is not None)
    assert found is not None

    def objects_in(part: Any) -> Iterable[dict[str, Any]]:
        if isinstance(part, dict):
            yield from [part] if part.get("type") == "object" else []
            for inner in part.values():
                yield from objects_in(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from objects_in(inner)

    for part in objects_in(found.schema):
        assert part["required"] == [*part["properties"]]
        assert part["additionalProperties"] is False
    assert strictly(found.schema) == Strict(found.schema)
    Draft202012Validator.check_schema(found.schema)


KEYS = ("type", "properties", "anyOf", "$ref", "$defs", "items", "enum", "required", "allOf", "a")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(KEYS), inner | st.sampled_from(["object", "#", "#/$defs/a"]), max_size=4)
    ),
    max_leaves=10,
)


@given(anything)
def test_no_schema_raises(schema: Any) -> None:
    found = strictly(schema)

    assert found is None or restored({"a": None}, found) is not None
