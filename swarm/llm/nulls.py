"""Answers to a strict schema, in which null stands for a key that is left out. Pure.

>>> schema = {"type": "object", "properties": {"a": MayLack({"type": ["string", "null"]}), "b": {"type": "null"}}}
>>> without_nulls({"a": None, "b": None}, schema, schema)
{'b': None}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_REFERENCES = 10
"""References to references, one after the other."""
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "number": (int, float), "integer": (int, float),
}  # fmt: skip


class MayLack(dict[str, Any]):
    """The schema of a key that may be left out, which null stands for."""


def resolved(part: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part itself, where one is only a reference to it."""
    for _ in range(MAX_REFERENCES):
        if "$ref" not in part:
            return part
        name = part["$ref"].removeprefix("#/$defs/")
        part = root if part["$ref"] == "#" else root["$defs"][name]
    raise ValueError("references without end")


def without_nulls(value: Any, part: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """`value` as `part` of the strict schema `root` means it: without the keys that it may lack and that are null.

    Of several parts that it may be, the first whose shape it has counts; what has no such shape is left as it is.
    """
    part = resolved(part, root)
    if "anyOf" in part:
        fitting = next((choice for choice in part["anyOf"] if _fits(value, choice, root)), None)
        return value if fitting is None else without_nulls(value, fitting, root)
    if isinstance(value, dict) and "properties" in part:
        known = part["properties"]
        return {
            name: without_nulls(item, known[name], root) if name in known else item
            for name, item in value.items()
            if not (item is None and isinstance(known.get(name), MayLack))
        }
    if isinstance(value, list) and "items" in part:
        return [without_nulls(item, part["items"], root) for item in value]
    return value


def _fits(value: Any, part: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether `value` has the shape of a strict schema: enough to tell which of several was meant."""
    part = resolved(part, root)
    if "anyOf" in part:
        return any(_fits(value, choice, root) for choice in part["anyOf"])
    kinds = part.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds is not None and not any(_is(value, kind) for kind in kinds):
        return False
    if "enum" in part and not any(_same(value, other) for other in part["enum"]):
        return False
    if "const" in part and not _same(value, part["const"]):
        return False
    if isinstance(value, dict) and "properties" in part:
        known = part["properties"]
        return value.keys() == known.keys() and all(_fits(item, known[name], root) for name, item in value.items())
    if isinstance(value, list) and "items" in part:
        return all(_fits(item, part["items"], root) for item in value)
    return True


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind in ("number", "integer"):
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES.get(kind, ()))


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
