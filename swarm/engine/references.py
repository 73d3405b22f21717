"""Resolution of references such as `t1` or `t1.label` in results, for instructions, `when` and `for_each`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from swarm.engine.branching import LENGTH
from swarm.errors import UnusableInput
from swarm.types.base import MAX_TEXT
from swarm.types.events import Valued
from swarm.types.plan import referenced
from swarm.types.result import Citation, Solution

MAX_VALUE = 1_000
"""Bytes of a value that is copied into the log for a condition."""
MAX_GATHERED = 2 * MAX_TEXT
"""Characters of the results of all items together."""
SKIPPED = Solution(text="(skipped)")
"""Result of a skipped subtask, and of every field of it; compared by identity."""


def field(name: str, data: Any, path: tuple[str, ...]) -> Any:
    """Follow `path` into the data of `name`; list items are numbered from 0. UnusableInput says where the path ends."""
    for depth, part in enumerate(path):
        if isinstance(data, Mapping) and part in data:
            data = data[part]
        elif isinstance(data, list) and part.isdecimal() and len(part) < 10 and int(part) < len(data):
            data = data[int(part)]
        else:
            raise UnusableInput(_missing(".".join((name, *path[:depth])), part, data))
    return data


def _missing(where: str, part: str, data: Any) -> str:
    if isinstance(data, Mapping):
        there = f"it has {', '.join(sorted(map(str, data))[:20]) or 'no fields'}"
    elif isinstance(data, list):
        there = f"it is a list of {len(data)}"
    else:
        there = "it has no fields" + ("" if "." in where else f"; use ${{{where}}} for its text")
    return f"the result of {where} has no field {part!r}: {there}"


def gathered(results: Mapping[str, Solution]) -> Solution:
    """Merge the results of a subtask's items: their texts, numbered like the items, and a list of their data.

    An item without data is in the list with its text. Items without a result are left out.
    """
    citations: dict[Citation, None] = {}
    for solution in results.values():
        citations |= dict.fromkeys(solution.citations)
    texts = (f"{name.rpartition('#')[2]}. {solution.text}" for name, solution in results.items())
    data = [solution.text if solution.data is None else solution.data for solution in results.values()]
    return Solution(text="\n\n".join(texts), data=data, citations=tuple(citations))


def list_at(reference: str, results: Mapping[str, Solution]) -> list[Any]:
    """Return the list that a `for_each` names; empty if that was skipped. UnusableInput says what is there instead."""
    name, path, solution = _named(reference, results)
    if solution is SKIPPED:
        return []
    found = field(name, solution.data, path)
    if not isinstance(found, list):
        raise UnusableInput(f"{reference} is {_kind(found) if path or found is not None else 'a text'}, not a list")
    return found


def value_at(reference: str, results: Mapping[str, Solution]) -> Any:
    """Return the value that a condition names. Without a field: the data if it is a single value, else the text.

    Raises UnusableInput if there is none, or it has more than MAX_VALUE bytes.
    """
    name, path, solution = _named(reference, results)
    if solution is SKIPPED:
        raise UnusableInput(f"{name} was skipped")
    if path:
        found = field(name, solution.data, path)
    else:
        found = solution.data if isinstance(solution.data, (bool, int, float, str)) else solution.text.strip()
    if (size := len(json.dumps(found, ensure_ascii=False).encode())) > MAX_VALUE:
        raise UnusableInput(f"{reference} has {size:,} bytes, at most {MAX_VALUE:,} can be compared")
    return found


def valued(places: Iterable[str], results: Mapping[str, Solution]) -> Valued:
    """Look up the references from `branching.needed` in `results`."""
    values: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for place in places:
        try:
            if place.endswith(LENGTH):
                values[place] = len(list_at(place.removesuffix(LENGTH), results))
            else:
                values[place] = value_at(place, results)
        except UnusableInput as error:
            missing[place] = str(error)[:500]
    return Valued(values=values, missing=missing)


def _named(reference: str, results: Mapping[str, Solution]) -> tuple[str, tuple[str, ...], Solution]:
    named = referenced(reference, results)
    if named is None:
        raise UnusableInput(f"the result that {reference} names is no longer in Redis")
    return *named, results[named[0]]


def _kind(value: object) -> str:
    names = {dict: "an object", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
