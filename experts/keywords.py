"""JSON Schema's keywords that could run for ever, with a bound: patterns, and lists without repetitions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from swarm.patterns import pattern_problem, search


@lru_cache(maxsize=1)
def validator_class() -> Any:
    """The validator of draft 2020-12 with these keywords in place of its own."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    return extend(Draft202012Validator, own)  # type: ignore[no-untyped-call]


def keyword_problem(schema: object) -> str | None:
    """What in a schema could not be checked with a bound; None if nothing."""
    unevaluated = patterned = False
    for depth, part in _parts(schema):
        if depth and isinstance(part.get("$schema"), str):
            return "names a $schema inside; name one at its top or none"
        given = part.get("patternProperties")
        patterned = patterned or isinstance(given, Mapping)
        unevaluated = unevaluated or "unevaluatedProperties" in part
        patterns = [part.get("pattern"), *(given if isinstance(given, Mapping) else ())]
        for pattern in patterns:
            if isinstance(pattern, str) and (problem := pattern_problem(pattern)):
                return f"has a pattern {pattern[:80]!r} that cannot be used: {problem}"
    if unevaluated and patterned:
        return "uses unevaluatedProperties beside patternProperties; use additionalProperties"
    return None


def _parts(schema: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Every mapping in a schema, with how deep it stands: a reference may lead into data, too."""
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
    """By the texts of the items, since comparing each with each takes the square of their number."""
    from jsonschema import ValidationError

    if unique and isinstance(instance, list) and len({_text(item) for item in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _text(value: Any) -> str:
    return json.dumps(_same(value), sort_keys=True)


def _same(value: Any) -> Any:
    """`value` with numbers that JSON Schema takes for equal written alike."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_same(item) for item in value]
    return {name: _same(item) for name, item in value.items()} if isinstance(value, dict) else value
