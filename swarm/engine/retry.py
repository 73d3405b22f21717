"""Retry policy: whether a failed attempt is retried, and after what delay. It decides and never sleeps."""

from __future__ import annotations

from swarm.engine.progress import NOT_AGAIN
from swarm.types.result import Failure

FIRST_MS = 200
LONGEST_MS = 30_000
LONGEST_ASKED_MS = 600_000
"""Longest `Retry-After` of a server that is honoured: ten minutes."""
REFUSALS = 30
"""Refusals of a subtask because of a server's limits, at most; with the pauses between them about 15 minutes."""


def delay(failure: Failure, tried: int, attempts: int, seed: str) -> int | None:
    """Return the milliseconds to wait before the next attempt, or None if there is none.

    `tried` attempts have failed so far, `attempts` are allowed. Delays double from 0.2 s to 30 s, each drawn from
    the upper half of its range ("equal jitter") by `seed`, so that deciding again gives the same delay. Failures that
    no attempt can change are not retried, even if marked retryable.
    """
    if not failure.retryable or failure.reason in NOT_AGAIN or tried >= attempts:
        return None
    if failure.retry_after is not None:
        return max(0, min(round(failure.retry_after * 1000), LONGEST_ASKED_MS))
    full = min(FIRST_MS << (tried - 1), LONGEST_MS)
    return full // 2 + _spread(f"{seed}:{tried}") % (full // 2 + 1)


def delay_of_refusal(failure: Failure, refused: int, seed: str) -> int | None:
    """Return the delay after the `refused`-th refusal because of a server's limits.

    A `Retry-After` of 0 is ignored, so that a server that keeps refusing is retried with growing delays.
    """
    if not failure.retry_after:
        failure = failure.model_copy(update={"retry_after": None})
    return delay(failure, refused, REFUSALS, seed)


def _spread(seed: str) -> int:
    """Hash a text with 32-bit FNV-1a: evenly spread and repeatable."""
    value = 0x811C9DC5
    for byte in seed.encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value
