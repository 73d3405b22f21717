"""Results with values that JSON does not have: half characters and numbers that are not finite."""

from __future__ import annotations

import json
import math
from typing import Any

from swarm.types.base import MAX_DEPTH
from swarm.types.result import Solution


def repaired(solution: Solution) -> Solution:
    """The solution as it can be stored, with the caveat `repaired` if it was changed for that.

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
    """Whether JSON has it; also True for what is no JSON at all, which is told elsewhere."""
    try:
        json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:  # of a number, of half a character, of a value inside itself
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
    """The same text, if all of it can be sent; else each half of a character as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
