"""Answers to a strict schema, in which null stands for a key that is left out. Pure.

>>> schema = {"type": "object", "properties": {"a": MayLack({"type": ["string", "null"]}), "b": {"type": "null"}}}
>>> without_nulls({"a": None, "b": None}, schema, schema)
{'b': None}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_REFERENCES = 10
"""References to references, one after the other."""


class MayLack(dict[str, Any]):
    """The schema of a key that may be left out, which null stands for."""


def alternatives(part: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What may stand where `part` of the strict schema `root` stands: no references, and nothing of several parts."""
    part = _resolved(part, root)
    if "anyOf" not in part:
        yield part
    for other in part.get("anyOf", ()):
        yield from alternatives(other, root)


def without_nulls(value: Any, part: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """`value` as `part` of the strict schema `root` means it: without the keys that it may lack and that are null.

    Of several objects that it may be, the one with its keys counts; what is none of them is left as it is.
    """
    if isinstance(value, dict):
        objects = [other["properties"] for other in alternatives(part, root) if "properties" in other]
        fitting = objects if len(objects) == 1 else [names for names in objects if names.keys() == value.keys()]
        known = fitting[0] if fitting else {}
        return {
            name: without_nulls(item, known[name], root) if name in known else item
            for name, item in value.items()
            if not (item is None and isinstance(known.get(name), MayLack))
        }
    if isinstance(value, list):
        inner = next((other["items"] for other in alternatives(part, root) if "items" in other), None)
        return value if inner is None else [without_nulls(item, inner, root) for item in value]
    return value


def _resolved(part: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part itself, where one is only a reference to it."""
    for _ in range(MAX_REFERENCES):
        if "$ref" not in part:
            return part
        name = part["$ref"].removeprefix("#/$defs/")
        part = root if part["$ref"] == "#" else root["$defs"][name]
    raise ValueError("references without end")
