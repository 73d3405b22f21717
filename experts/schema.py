"""JSON that experts give: how it is found in a model's words, and whether it fits its schema.

A schema written in a card is its author's; one that comes with a subtask may be anybody's, so parts of JSON Schema
that can make a check run for ever (`pattern`, `$ref`) are not accepted there. No reference is ever fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_SCHEMA = 65_536
"""Bytes of a schema, as JSON."""
_UNBOUNDED = frozenset({"$ref", "$dynamicRef", "$recursiveRef", "pattern", "patternProperties"})
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n[ \t]*```", re.DOTALL)


def schema_problem(schema: object, *, trusted: bool = True) -> str | None:
    """What is wrong with this JSON schema; None if nothing."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        size = len(json.dumps(schema, allow_nan=False))
        if not isinstance(schema, dict):
            return f"is {_kind(schema)}, not a mapping"
        if size > MAX_SCHEMA:
            return f"has {size:,} bytes, at most {MAX_SCHEMA:,} are accepted"
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is no valid JSON schema at {_place(error.absolute_path)}: {_short(error.message)}"
    except (TypeError, ValueError, RecursionError) as error:
        return f"is not plain JSON ({_short(str(error))})"
    if not trusted and (found := sorted(_UNBOUNDED.intersection(_keys(schema)))):
        return f"uses {found[0]!r}, which is accepted in cards only"
    return None


def violation(data: object, schema: Mapping[str, Any]) -> str | None:
    """Where and how `data` fails to fit a sound `schema`; None if it fits."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator = Draft202012Validator(schema, registry=Registry())
    try:
        error = best_match(validator.iter_errors(data))
    except (Unresolvable, RecursionError) as broken:
        return f"the schema cannot be followed ({_short(str(broken) or type(broken).__name__)})"
    return f"{_place(error.absolute_path)}: {_short(error.message)}" if error else None


def find_json(text: str) -> Any:
    """The JSON value in a model's words: all of them, a fenced block, or from the first bracket to its partner.

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
    if fenced := _FENCED.search(text):
        yield fenced[1]


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
