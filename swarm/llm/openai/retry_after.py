"""Read how long to wait before the next request, from a server's headers or the text of its error. Pure.

A wait is in seconds and at most a day; an invalid time is ignored, one in the past is 0.

>>> retry_after({"retry-after": "1.5"}, "", now=0)
1.5
>>> retry_after({}, "Rate limit reached. Please try again in 6m0s.", now=0)
360.0
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from swarm.llm.openai.error_table import whole

LONGEST = 86_400.0
"""Seconds; longer waits are shortened to this."""
MAX_BODY = 20_000
"""Characters of an error's body that are searched."""

_EXPLICIT = (
    ("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0), ("retry-after", 1.0),
    ("llm_provider-retry-after-ms", 1000.0), ("llm_provider-retry-after", 1.0),
)  # fmt: skip
"""Headers with a wait, and how many of their units are a second. A proxy renames those of its upstream."""
_NUMBER = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?")
_UNITS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART = (
    r"\d{1,12}(?:\.\d{1,12})?\s?(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])"
)
_SPAN = re.compile(rf"(?:{_PART}[\s,]{{0,2}}(?:and\s)?){{1,5}}", re.IGNORECASE)
_EACH = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s?(ms|milli|[smhd])", re.IGNORECASE)
_WORDS = re.compile(
    r"(?:try(?: again)?|retry(?:ing)?|wait|available(?: again)?|resets?)(?: \w{1,12}){0,3} (?:in|after|for)"
    rf"(?: about| approximately| at least)? ({_SPAN.pattern})",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r"""["']retry[_-]?(?:after|delay|in)[_-]?(ms|milliseconds|seconds)?\\?["']\s?:\s?\\?["']?([^"',}\\]{1,40})""",
    re.IGNORECASE,
)
_PAIR = re.compile(r"\b(limit|remaining|reset|r|t)\s?=\s?(\d{1,15})\b")


def retry_after(headers: Mapping[str, str], body: Any, now: float) -> float | None:
    """Seconds to wait before a refused request is sent again; None if the server does not say.

    `now` is the time since the epoch, for servers that send a moment instead of a duration. Explicit headers take
    precedence over the body's text, and this over the headers that say when a rate limit resets.
    """
    for name, unit in _EXPLICIT:
        given = headers.get(name, "").strip()
        if (wait := _wait(given, now, unit) if unit == 1.0 or _NUMBER.fullmatch(given) else None) is not None:
            return wait
    if (asked := _asked_in(body, now)) is not None:
        return asked
    waits = [wait for left, wait in _limits(headers, now) if not left]
    return max(waits, default=None)


def exhausted(headers: Mapping[str, str], now: float) -> float:
    """Seconds until a server accepts another request, if its headers say that a rate limit is used up; else 0."""
    return max((wait for left, wait in _limits(headers, now) if left == 0), default=0.0)


def _limits(headers: Mapping[str, str], now: float) -> Iterator[tuple[int | None, float]]:
    """For each rate limit in the headers: what remains (None if unknown), and the seconds until it resets."""
    for name, value in headers.items():
        name = name.lower()
        if "ratelimit" not in name:
            continue
        if name.removeprefix("llm_provider-") == "ratelimit":
            yield from _combined(value)
        elif "reset" in name and (wait := _wait(value, now)) is not None:
            left = headers.get(name.replace("reset", "remaining"), "").strip()
            yield int(left) if re.fullmatch(r"\d{1,15}", left) else None, wait


def _combined(value: str) -> Iterator[tuple[int | None, float]]:
    """The header of the IETF's drafts, `limit=10, remaining=0, reset=7` or `"minute";r=0;t=7, "day";r=9;t=60`."""
    parts = value.split(",") if ";" in value else [value]
    for part in parts[:20]:
        pairs = dict(_PAIR.findall(part))
        left, wait = pairs.get("r", pairs.get("remaining")), pairs.get("t", pairs.get("reset"))
        if wait is not None:
            yield None if left is None else int(left), min(float(wait), LONGEST)


def _asked_in(body: Any, now: float) -> float | None:
    """The wait in an error's body, as a field or in words."""
    text = whole(body, MAX_BODY)
    for field in _FIELD.finditer(text):
        wait = _wait(field[2], now, 1000.0 if (field[1] or "").lower().startswith("m") else 1.0)
        if wait is not None:
            return wait
    words = _WORDS.search(text)
    return None if words is None else _span(words[1])


def _wait(text: str, now: float, unit: float = 1.0) -> float | None:
    """Parse a duration (`1.5`, `6m0s`, `20ms`) or a moment (seconds or milliseconds since the epoch, or a date)."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        value = float(text) / unit
        since = value / 1000 if value > 1e11 else value
        return _capped(since - now if since > 1e9 else value)
    if _SPAN.fullmatch(text):
        return _span(text)
    moment = _moment(text)
    return None if moment is None else _capped(moment - now)


def _span(text: str) -> float:
    return _capped(sum(float(number) * _UNITS[unit.lower()] for number, unit in _EACH.findall(text)))


def _moment(text: str) -> float | None:
    """Parse a date of HTTP or of RFC 3339."""
    if not 10 <= len(text) <= 40:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _capped(seconds: float) -> float:
    return min(max(0.0, seconds), LONGEST)
