"""Replaces values that JSON cannot store: lone surrogates and non-finite numbers."""

from __future__ import annotations

import json
import math
from typing import Any

from swarm.types.base import MAX_DEPTH
from swarm.types.result import Solution


def repaired(solution: Solution) -> Solution:
    """Replace what cannot be stored, and then add the caveat `repaired`. A sound solution is returned as it is.

    >>> repaired(Solution(text="ok\\ud800", data={"score": float("nan")})).data
    {'score': None}
    """
    mended = {
        "text": _text(solution.text),
        "data": solution.data if _storable(solution.data) else _value(solution.data, 0),
        "confidence": _value(solution.confidence, 0),
    }
    changed = {name: value for name, value in mended.items() if value is not getattr(solution, name)}
    if not changed:
        return solution
    caveats = tuple(dict.fromkeys((*solution.caveats, "repaired")))
    return solution.model_copy(update={**changed, "caveats": caveats})


def _storable(data: Any) -> bool:
    """Whether data can be stored as JSON; True also for data of other types, which `judged` reports."""
    try:
        json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:  # a non-finite number, a lone surrogate, a circular value
        return False
    except (TypeError, RecursionError):
        return True
    return True


def _value(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {_value(key, depth + 1): _value(inside, depth + 1) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_value(inside, depth + 1) for inside in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
