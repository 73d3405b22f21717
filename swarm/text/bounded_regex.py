"""Runs untrusted regular expressions on untrusted text within a time limit.

Python's own engine has no limit: an ordinary expression for e-mail addresses may need years for 34 letters. The engine
here is `regex`, which has a superset of that syntax and lets other threads run while it searches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

SECONDS = 1.0
"""Time limit in seconds of all searches in one check."""
MAX_PATTERN = 2_000
"""Maximum characters of an expression."""

_end: ContextVar[float | None] = ContextVar("end of search", default=None)


class PatternTooSlow(Exception):
    """A search exceeded its time limit."""

    def __init__(self, pattern: str, length: int) -> None:
        super().__init__(
            f"the pattern {pattern[:80]!r} needs more than {SECONDS:g} s for a text of {length:,} characters; "
            "write it without repetitions inside repetitions"
        )


def pattern_problem(pattern: str) -> str | None:
    """Describe why this is not a regular expression; None if it is one."""
    import regex

    if len(pattern) > MAX_PATTERN:
        return f"has {len(pattern):,} characters, at most {MAX_PATTERN:,} are accepted"
    try:
        _compiled(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        return str(error)[:200] or type(error).__name__
    return None


@contextmanager
def in_time(seconds: float = SECONDS) -> Iterator[None]:
    """Within the block, limit all searches together to `seconds`; of nested blocks the first to run out counts."""
    outer, end = _end.get(), time.monotonic() + seconds
    token = _end.set(end if outer is None else min(outer, end))
    try:
        yield
    finally:
        _end.reset(token)


def search(pattern: str, text: str) -> Any:
    """Find the first match; None without one. Raises PatternTooSlow, and ValueError for a bad pattern. Blocks."""
    if problem := pattern_problem(pattern):
        raise ValueError(f"the pattern {pattern[:80]!r} is not a regular expression: {problem}")
    end = _end.get()
    left = SECONDS if end is None else end - time.monotonic()
    try:
        if left <= 0:
            raise TimeoutError
        return _compiled(pattern).search(text, timeout=left, concurrent=True)
    except TimeoutError:
        raise PatternTooSlow(pattern, len(text)) from None


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    import regex

    return regex.compile(pattern)
