"""Read the fields of results that a plan uses, its conditions on them, and the schemas that declare them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from swarm.types.base import json_problem

_UNTOLD = ("$ref", "anyOf", "oneOf", "allOf", "patternProperties", "if")
"""Keywords that may declare more fields than `properties` does."""
WHOLE = frozenset("answer content output outputs response result results return_value returned text value".split())
"""Fields by which models mean the whole result."""

_COMPARISONS: Mapping[str, str] = {
    **dict.fromkeys("equals equal eq is value == = ===".split(), "equals"),
    **dict.fromkeys("not_equals notequals not_equal ne neq not != <> !==".split(), "not_equals"),
    **dict.fromkeys("one_of oneof in any_of anyof values".split(), "one_of"),
    **dict.fromkeys("at_least atleast gte ge min minimum >=".split(), "at_least"),
    **dict.fromkeys("at_most atmost lte le max maximum <=".split(), "at_most"),
}
_RESULT = ("result", "reference", "ref", "field", "of", "from", "left", "variable", "step", "path", "key")
_OPERATOR = ("operator", "op", "comparison", "comparator")
_OPERAND = ("value", "right", "to", "expected", "values", "operand")
_SAID = re.compile(
    r"(?:if\s+)?(?:\$\{(?P<ours>[^{}\n]{1,256})\}|\{\{(?P<braces>[^{}\n]{1,256})\}\}|(?P<plain>[\w.-]{1,256}))"
    r"\s*(?P<op>===?|!==?|<>|>=|<=|=|\bnot\s+equals?\b|\bis\s+not\b|\bequals?\b|\bis\b|\bin\b)\s*(?P<value>.+)",
    re.S | re.I,
)
_WORDS = {"equal": "==", "equals": "==", "is": "==", "is not": "!=", "not equal": "!=", "not equals": "!="}


def declared(schema: Mapping[str, Any] | None, path: Sequence[str]) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    """Follow a path through a schema; return the schema at its end, and the declared fields if one is missing.

    `(None, ())` means that the schema says nothing there; `(None, fields)` that the path does not exist.
    """
    for name in path:
        if not isinstance(schema, Mapping) or any(key in schema for key in _UNTOLD):
            return None, ()
        properties, items = schema.get("properties"), schema.get("items")
        if schema.get("type") == "array" and name.isdigit():
            schema = items if isinstance(items, Mapping) else None
        elif isinstance(properties, Mapping) and properties:
            if name not in properties:
                lacks = schema.get("additionalProperties") is not True
                return None, tuple(str(key) for key in properties) if lacks else ()
            schema = properties[name]
        elif schema.get("type") in ("string", "number", "integer", "boolean", "null"):
            return None, (f"none: it is a {schema['type']}",)
        else:
            return None, ()
    return (schema if isinstance(schema, Mapping) else None), ()


def condition(written: Mapping[str, Any] | str) -> tuple[dict[str, Any] | None, str]:
    """Read a condition given as an object or in words; return it in our form, or the problem. Its result is unchecked.

    >>> condition("${t1.label} == 'refund'")[0]
    {'result': 't1.label', 'equals': 'refund'}
    """
    if isinstance(written, str):
        return _from_words(written)
    if len(written) == 1 and isinstance(only := next(iter(written.values())), str) and "result" not in written:
        return _from_words(only)
    members = {str(key).strip().lower(): value for key, value in written.items()}
    if (operator := next((members.pop(key) for key in _OPERATOR if key in members), None)) is not None:
        operand = next((key for key in _OPERAND if key in members), None)
        if operand is None:
            return None, f"nothing to compare with after {operator!r}; give it as `value`"
        members[str(operator).strip().lower()] = members.pop(operand)
    name = next((key for key in _RESULT if isinstance(members.get(key), str)), None)
    if name is None:
        return None, "no result is named; give `result`, such as t1.label"
    found: dict[str, Any] = {"result": bare(members.pop(name))}
    for key, value in members.items():
        if value is None and len(members) > 1:
            continue
        if (comparison := _COMPARISONS.get(key)) is None:
            return None, f"{key[:60]!r} is no comparison; use equals, not_equals, one_of, at_least or at_most"
        found[comparison] = value
    return found, ""


def _from_words(text: str) -> tuple[dict[str, Any] | None, str]:
    found = _SAID.fullmatch(" ".join(text[:2_000].split()))
    if found is None:
        return None, f"{text[:80]!r} is no condition; write result and one of equals, one_of, at_least, at_most"
    operator = " ".join(found["op"].lower().split())
    comparison = _COMPARISONS[_WORDS.get(operator, operator)]
    name = found["ours"] or found["braces"] or found["plain"]
    return {"result": name.strip(), comparison: _literal(found["value"].strip())}, ""


def _literal(text: str) -> object:
    """Read a JSON or Python literal; any other text is returned as it is."""
    for written in (text, text.replace("'", '"')):
        try:
            value: object = json.loads(written)
        except (ValueError, RecursionError):
            continue
        return value
    lowered = text.lower()
    return {"true": True, "false": False, "none": None}.get(lowered, text.strip("'\"`"))


def bare(reference: str) -> str:
    """Remove the marks of a reference: `${t1.items}` -> `t1.items`."""
    text = reference.strip()
    for opens, closes in (("${", "}"), ("{{", "}}")):
        if text.startswith(opens) and text.endswith(closes):
            return text[len(opens) : -len(closes)].strip()
    return text.removeprefix("$")


_TYPES = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))
_KEYWORDS = frozenset(
    """$defs $ref additionalProperties allOf anyOf const definitions description enum format items maxItems maxLength
    maximum minItems minLength minimum not oneOf pattern prefixItems properties required title type""".split()
)


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Say why a value does not have the shape of a JSON schema; None if it has. The experts check what it means."""
    if not isinstance(schema, dict) or (problem := json_problem(schema)):
        return problem if isinstance(schema, dict) else "no JSON object; write a JSON schema"
    if schema and not _KEYWORDS.intersection(schema):
        return 'no JSON schema; write {"type": "object", "properties": {...}}'
    return _misshapen(schema, 0)


def _misshapen(schema: object, depth: int) -> str | None:
    if isinstance(schema, bool) or depth > 50:
        return None
    if not isinstance(schema, dict):
        return f"{str(schema)[:60]!r} stands where a JSON schema belongs"
    types = schema.get("type")
    for kind in types if isinstance(types, list) else () if types is None else (types,):
        if not isinstance(kind, str) or kind not in _TYPES:
            return f"{str(kind)[:60]!r} is no type; use one of {', '.join(sorted(_TYPES))}"
    if not isinstance(schema.get("properties", {}), dict):
        return "`properties` is no object"
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        return "`required` is no list of names"
    if not isinstance(schema.get("enum", []), list):
        return "`enum` is no list"
    inside = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return next((wrong for part in inside if (wrong := _misshapen(part, depth + 1))), None)
