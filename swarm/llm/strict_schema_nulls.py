"""Remove the nulls from an answer to a strict schema that stand for omitted keys. Pure.

>>> schema = {"type": "object", "properties": {"a": MayLack({"type": ["string", "null"]}), "b": {"type": "null"}}}
>>> without_nulls({"a": None, "b": None}, schema, schema)
{'b': None}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_REFERENCES = 10
"""Length of a chain of references."""


class MayLack(dict[str, Any]):
    """The schema of an optional key; null means that the key is omitted."""


def alternatives(part: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas that may apply in the place of `part`: references followed, `anyOf` expanded."""
    part = _resolved(part, root)
    if "anyOf" not in part:
        yield part
    for other in part.get("anyOf", ()):
        yield from alternatives(other, root)


def without_nulls(value: Any, part: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """`value` without the null keys that `part` of the strict schema `root` marks as optional.

    Among several object schemas, the one with the same keys applies; if none has them, the value stays as it is.
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
    """The schema that a reference leads to."""
    for _ in range(MAX_REFERENCES):
        if "$ref" not in part:
            return part
        name = part["$ref"].removeprefix("#/$defs/")
        part = root if part["$ref"] == "#" else root["$defs"][name]
    raise ValueError("references without end")
