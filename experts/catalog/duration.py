"""Durations in cards."""

from __future__ import annotations

import math
import re

DURATION = 'write "60s", "2m", "500ms" or seconds, up to a day'
"""The remedy for a text that is no duration."""

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h)?")
MAX_SECONDS = 86_400.0
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(given: object) -> float | None:
    """Parse `60`, `"60s"`, `"2m"` or `"500ms"` into seconds; None if it is not a duration.

    >>> duration("500ms"), duration("2m"), duration("soon")
    (0.5, 120.0, None)
    """
    if isinstance(given, bool):
        return None
    if isinstance(given, (int, float)):
        return float(given) if abs(given) <= MAX_SECONDS and math.isfinite(given) else None
    matched = _DURATION.fullmatch(given.strip()) if isinstance(given, str) else None
    return float(matched[1]) * _SECONDS[matched[2] or "s"] if matched else None
