"""Whether work takes time with the length of its text, and not with the square of it."""

from __future__ import annotations

import time
from collections.abc import Callable


def spent(work: Callable[[str], object], text: str) -> float:
    """Seconds of processor time."""
    begun = time.process_time()
    work(text)
    return time.process_time() - begun


def takes_linear_time(
    work: Callable[[str], object], before: str, piece: str, size: int = 20_000, after: str = ""
) -> bool:
    """Compare pieces of together `size` characters between `before` and `after` with four times as many.

    With the square of its length the longer takes sixteen times as long; the best of a few, as the machine may be busy.
    """
    short, long = (before + piece * (characters // len(piece)) + after for characters in (size, 4 * size))
    return any(spent(work, long) < 9 * spent(work, short) for _ in range(5))
