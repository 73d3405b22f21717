"""Find and remove the keywords of a JSON schema that only narrow it, for servers that do not support them. Pure.

Servers differ in the keywords that their grammars support, and refuse a schema for a single one. Without it more fits,
and the answer is checked against the whole schema later.

>>> plan = {"type": "array", "minItems": 1, "items": {"type": "string"}}
>>> blamed("Unsupported keyword: 'minItems'", plan)
frozenset({'minItems'})
>>> without(plan, {"minItems"})
{'type': 'array', 'items': {'type': 'string'}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

NARROWING = frozenset(
    "minItems maxItems uniqueItems contains minContains maxContains minLength maxLength pattern format minimum maximum "
    "exclusiveMinimum exclusiveMaximum multipleOf minProperties maxProperties propertyNames".split()
)
_SHAPING = re.compile(
    r"\b(additionalProperties|anyOf|oneOf|allOf|prefixItems|patternProperties|dependent(Schemas|Required))\b"
    r"|\bunevaluated(Properties|Items)\b|\$(ref|defs)\b|[\"'`\\](const|enum)[\"'`\\]"
)
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords below which names stand that are no keywords,"""
_VALUES = frozenset({"enum", "const", "default", "examples"})
"""and those below which values stand."""


def blamed(said: str, schema: Mapping[str, Any]) -> frozenset[str]:
    """The narrowing keywords of `schema` that a server's error names."""
    named = {keyword for keyword in NARROWING if _naming(keyword).search(said)}
    return frozenset(keyword for keyword in named if without(schema, {keyword}) != schema)


def shaping(said: str) -> bool:
    """Whether a server's error names a keyword that cannot be removed without changing the schema's meaning.

    >>> shaping("'anyOf' is not supported"), shaping("maximum context length is 8192 tokens")
    (True, False)
    """
    return _SHAPING.search(said) is not None


def without(schema: Mapping[str, Any], keywords: Set[str]) -> dict[str, Any]:
    """`schema` without these keywords, at every depth."""
    return {name: _inner(name, value, keywords) for name, value in schema.items() if name not in keywords}


def _inner(name: str, value: Any, keywords: Set[str]) -> Any:
    if name in _VALUES:
        return value
    if name in _NAMED and isinstance(value, dict):
        return {key: _part(part, keywords) for key, part in value.items()}
    return [_part(part, keywords) for part in value] if isinstance(value, list) else _part(value, keywords)


def _part(value: Any, keywords: Set[str]) -> Any:
    return without(value, keywords) if isinstance(value, dict) else value


def _naming(keyword: str) -> re.Pattern[str]:
    """The pattern of a keyword in a text: in quotes, or anywhere if it is no English word. Gemini has `min_items`."""
    spelled = re.sub("([A-Z])", r"_?\1", keyword)
    if spelled == keyword:
        return re.compile(rf"""["'`\\]{keyword}["'`\\]""")
    return re.compile(rf"\b({spelled}|{spelled.lower()})\b")
