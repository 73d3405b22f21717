"""Finds JSON in a model's text, and validates it against its schema.

A card's schema is trusted; a subtask's schema is not. Keywords whose check may take unbounded time (`pattern`, `$ref`,
`uniqueItems`) are refused there, and schema and data may not both be large. References are never fetched. The checks
block: run them in a thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from experts.schema_keywords import TooManyReferences, keyword_problem, references_counted, validator_class
from swarm.text.bounded_regex import PatternTooSlow, in_time
from swarm.types.base import MAX_DEPTH

MAX_SCHEMA = 65_536
"""Maximum size of a schema in bytes of JSON."""
MAX_CHECKS = 1_000_000
"""Maximum product of the values in a schema and in the data; fifty characters of text count as one value."""
_UNBOUNDED = frozenset(
    "$ref $dynamicRef $recursiveRef pattern patternProperties "
    "uniqueItems unevaluatedItems unevaluatedProperties".split()
)


def schema_problem(schema: object, *, trusted: bool = True) -> str | None:
    """Describe the problem of a JSON schema; None if it is sound."""
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError

    try:
        size = len(json.dumps(schema, allow_nan=False))
        if not isinstance(schema, dict):
            return f"is {_kind(schema)}, not a mapping"
        if size > MAX_SCHEMA:
            return f"has {size:,} bytes, at most {MAX_SCHEMA:,} are accepted"
        if too_deep(schema):
            return f"is nested more than {MAX_DEPTH} levels deep"
        if not trusted and (found := sorted(_UNBOUNDED.intersection(_keys(schema)))):
            return f"uses {found[0]!r}, which is accepted in cards only"
        # patterns are checked below, by the engine that runs them
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
        return keyword_problem(schema)
    except SchemaError as error:
        return f"is not a valid JSON schema at {_place(error.absolute_path)}: {_short(error.message)}"
    except (TypeError, ValueError, RecursionError) as error:
        return f"is not plain JSON ({_short(str(error))})"


def too_deep(value: object) -> bool:
    """Whether JSON is nested deeper than MAX_DEPTH levels."""
    level = [value]
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            part
            for item in level
            if isinstance(item, (dict, list))
            for part in (item.values() if isinstance(item, dict) else item)
        ]
    return any(isinstance(item, (dict, list)) for item in level)


def violation(data: object, schema: Mapping[str, Any]) -> str | None:
    """Describe where and how `data` violates a sound `schema`; None if it fits."""
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    if _weight(data) * _weight(schema, text=0) > MAX_CHECKS:
        return "the data is too large to be checked against such a large schema; ask for less, or simplify the schema"
    if problem := keyword_problem(schema):  # the schema may have been published before this check existed
        return f"the schema {problem}"
    validator = validator_class()({k: v for k, v in schema.items() if k != "$schema"}, registry=Registry())
    try:
        with in_time(), references_counted(_weight(data, text=0)):
            error = best_match(validator.iter_errors(data))
    except (PatternTooSlow, TooManyReferences) as bound:
        return str(bound)
    except (Unresolvable, RecursionError, ValueError) as broken:
        return f"the schema cannot be followed ({_short(str(broken) or type(broken).__name__)})"
    return f"{_place(error.absolute_path)}: {_short(error.message)}" if error else None


def misfit(data: object, text: str, schema: Mapping[str, Any]) -> str | None:
    """Describe how an answer violates a schema, also if it holds no JSON; None if it fits."""
    found = violation(data, schema)
    if found and data is None and text:
        return f"the answer, a text of {len(text):,} characters, has no JSON; the output schema requires it"
    return f"the data does not fit the output schema: {found}" if found else None


def find_json(text: str) -> Any:
    """Find the JSON value in a text: the whole, a fenced block, or from the first bracket to its partner.

    Raises ValueError if there is none.

    >>> find_json('Here you are: {"label": "refund"} - anything else?')
    {'label': 'refund'}
    """
    for candidate in _candidates(text):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    opening = re.search(r"[\[{]", text)
    if opening is None:
        raise ValueError("no JSON in the answer")
    try:
        return json.JSONDecoder().raw_decode(text, opening.start())[0]
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _candidates(text: str) -> Iterator[str]:
    yield text
    if (fenced := _fenced(text)) is not None:
        yield fenced


def _fenced(text: str) -> str | None:
    """The first fenced block. Scanned by hand, since a regular expression would take quadratic time."""
    begin = 0
    while (end := text.find("\n", begin)) >= 0:
        _, fence, tail = text[begin:end].rpartition("```")
        if fence and tail.rstrip(" \t") in ("", "json"):
            return _closed(text, end)
        begin = end + 1
    return None


def _closed(text: str, start: int) -> str | None:
    """The text between the line end at `start` and the next line that begins with a fence."""
    closing = text.find("```", start)
    while closing >= 0:
        line = text.rfind("\n", start, closing)
        if line > start and not text[line:closing].strip("\n \t"):
            return text[start + 1 : line]
        end = text.find("\n", closing)
        closing = text.find("```", end) if end >= 0 else -1
    return None


def _weight(value: object, text: int = 1) -> int:
    """Number of values inside, plus with `text` one for each fifty characters."""
    stack, weight = [value], 0
    while stack:
        item = stack.pop()
        weight += 1
        if isinstance(item, Mapping):
            stack.extend(item.values())
            weight += text * sum(map(len, item)) // 50
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            weight += text * len(item) // 50
    return weight


def _keys(value: object) -> Iterator[str]:
    """Every key of every mapping inside."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            yield from (str(key) for key in item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _place(path: Any) -> str:
    return ".".join(str(part) for part in path) or "the whole"


def _kind(value: object) -> str:
    return {"list": "a list", "str": "a text", "NoneType": "empty"}.get(type(value).__name__, type(value).__name__)


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."
