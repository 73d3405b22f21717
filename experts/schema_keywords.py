"""Bounded versions of the JSON Schema keywords whose check may take unbounded time: patterns, `$ref`, `uniqueItems`.

A small schema may expand exponentially, for instance where each definition refers twice to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from swarm.text.bounded_regex import pattern_problem, search

MAX_FOLLOWED = 50_000
"""Maximum references followed by one check, with repetitions, beyond one for each value of the data."""
MAX_APPLIED = 10_000
"""Maximum subschemas that apply to one value, with repetitions."""
MAX_CHAIN = 50
"""Maximum nesting of references to references and of choices inside choices."""

_followed: ContextVar[Iterator[int] | None] = ContextVar("references that were followed", default=None)
_LISTS, _SINGLE = ("anyOf", "oneOf", "allOf"), ("not", "if", "then", "else")
"""Keywords whose subschemas apply to the same value."""


class TooManyReferences(Exception):
    """A check follows too many references."""

    def __init__(self) -> None:
        super().__init__(
            f"the schema leads to more than {MAX_FOLLOWED:,} references for this data; "
            "let each definition name the next one once, or ask for less"
        )


@contextmanager
def references_counted(values: int) -> Iterator[None]:
    """Within the block, raise TooManyReferences when a check of `values` values follows too many references."""
    token = _followed.set(iter(range(MAX_FOLLOWED + values)))
    try:
        yield
    finally:
        _followed.reset(token)


@lru_cache(maxsize=1)
def validator_class() -> Any:
    """The validator class of draft 2020-12 with the bounded keywords."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
        "$ref": _reference,
        "$dynamicRef": _dynamic_reference,
    }
    return extend(Draft202012Validator, own)  # type: ignore[no-untyped-call]


def keyword_problem(schema: object) -> str | None:
    """Describe the part of a schema that cannot be checked within bounds; None if there is none."""
    unevaluated = patterned = False
    for depth, part in _parts(schema):
        if depth and isinstance(part.get("$schema"), str):
            return "has a nested $schema; put it at the top or leave it out"
        given = part.get("patternProperties")
        patterned = patterned or isinstance(given, Mapping)
        unevaluated = unevaluated or "unevaluatedProperties" in part
        patterns = [part.get("pattern"), *(given if isinstance(given, Mapping) else ())]
        for pattern in patterns:
            if isinstance(pattern, str) and (problem := pattern_problem(pattern)):
                return f"has a pattern {pattern[:80]!r} that cannot be used: {problem}"
    if unevaluated and patterned:
        return "uses unevaluatedProperties beside patternProperties; use additionalProperties"
    return _Ways(schema).problem() if isinstance(schema, Mapping) else None


class _Ways:
    """Counts the subschemas that apply to one value, with repetitions, as a check would visit them."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._counts: dict[int, int] = {}

    def problem(self) -> str | None:
        for _, part in _parts(self._root):
            try:
                count = self._count(part, 0)
            except RecursionError:
                return (
                    f"has a definition that leads to itself, or over more than {MAX_CHAIN} others, for the same value"
                )
            if count > MAX_APPLIED:
                return (
                    f"applies more than {MAX_APPLIED:,} parts to one value, as definitions name others several times "
                    "over; let each name the next one once"
                )
        return None

    def _count(self, part: Mapping[str, Any], depth: int) -> int:
        if (known := self._counts.get(id(part))) is not None:
            return known
        if depth > MAX_CHAIN:
            raise RecursionError
        count = 1 + sum(self._count(other, depth + 1) for other in self._same_value(part))
        self._counts[id(part)] = count
        return count

    def _same_value(self, part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The subschemas that apply to the same value as this schema."""
        found = [self._meant(part.get("$ref")), *(part.get(name) for name in _SINGLE)]
        for name in _LISTS:
            found += listed if isinstance(listed := part.get(name), list) else ()
        if isinstance(dependent := part.get("dependentSchemas"), Mapping):
            found += dependent.values()
        return (other for other in found if isinstance(other, Mapping))

    def _meant(self, reference: object) -> object:
        """The target of a reference within the schema; None for any other reference."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        place: object = self._root
        for name in reference[1:].split("/")[1:]:
            if not isinstance(place, Mapping):
                return None
            place = place.get(name.replace("~1", "/").replace("~0", "~"))
        return place


def _parts(schema: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Every mapping in a schema with its depth, mappings in data included: a reference may lead there."""
    stack: list[tuple[int, object]] = [(0, schema)]
    while stack:
        depth, item = stack.pop()
        if isinstance(item, Mapping):
            yield depth, item
            stack.extend((depth + 1, value) for value in item.values())
        elif isinstance(item, list):
            stack.extend((depth + 1, value) for value in item)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _reference(validator: Any, reference: str, instance: Any, schema: Any) -> Iterator[Any]:
    yield from _counted("$ref", validator, reference, instance, schema)


def _dynamic_reference(validator: Any, reference: str, instance: Any, schema: Any) -> Iterator[Any]:
    yield from _counted("$dynamicRef", validator, reference, instance, schema)


def _counted(keyword: str, validator: Any, reference: str, instance: Any, schema: Any) -> Iterator[Any]:
    """Follow a reference as the draft does, and count it."""
    from jsonschema import Draft202012Validator

    if (left := _followed.get()) is not None and next(left, None) is None:
        raise TooManyReferences
    yield from Draft202012Validator.VALIDATORS[keyword](validator, reference, instance, schema) or ()


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, inside in patterns.items():
        for name, value in instance.items():
            if search(pattern, name):
                yield from validator.descend(value, inside, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = [name for name in instance if name not in known and not any(search(p, name) for p in patterns)]
    if isinstance(allowed, dict):
        for name in extras:
            yield from validator.descend(instance[name], allowed, path=name)
    elif not allowed and extras:
        names = ", ".join(repr(name) for name in sorted(extras))
        verb = "was" if len(extras) == 1 else "were"
        yield ValidationError(f"Additional properties are not allowed ({names} {verb} unexpected)")


def _unique_items(validator: Any, unique: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """Check `uniqueItems` by comparing serialised items: comparing pairs would take quadratic time."""
    from jsonschema import ValidationError

    if unique and isinstance(instance, list) and len({_text(item) for item in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _text(value: Any) -> str:
    return json.dumps(_same(value), sort_keys=True)


def _same(value: Any) -> Any:
    """`value` with one form for numbers that JSON Schema treats as equal, such as 1 and 1.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_same(item) for item in value]
    return {name: _same(item) for name, item in value.items()} if isinstance(value, dict) else value
