"""Whether a failed attempt is tried again, and after how long. A policy decides; it never sleeps."""

from __future__ import annotations

from swarm.engine.progress import NOT_AGAIN
from swarm.types.result import Failure

FIRST_MS = 200
LONGEST_MS = 30_000
LONGEST_ASKED_MS = 600_000
"""A server's `retry after` is honoured up to ten minutes."""
REFUSALS = 30
"""How often a server may refuse a subtask because of its limits; with the pauses in between a quarter of an hour."""


def delay(failure: Failure, tried: int, attempts: int, seed: str) -> int | None:
    """Milliseconds to wait before the next attempt, or None when there is none.

    `tried` attempts have failed so far, `attempts` are allowed. Delays double from 0.2 s to 30 s, each drawn from
    the upper half of its range ("equal jitter") by `seed`, so that deciding again gives the same delay. What no
    attempt can change is not tried again, whatever the failure says of itself.
    """
    if not failure.retryable or failure.reason in NOT_AGAIN or tried >= attempts:
        return None
    if failure.retry_after is not None:
        return max(0, min(round(failure.retry_after * 1000), LONGEST_ASKED_MS))
    full = min(FIRST_MS << (tried - 1), LONGEST_MS)
    return full // 2 + _spread(f"{seed}:{tried}") % (full // 2 + 1)


def delay_of_refusal(failure: Failure, refused: int, seed: str) -> int | None:
    """The same for the `refused`-th time that a server did not take an attempt on because of its limits.

    One that says that it may be asked at once, and refuses again, is asked as if it had said nothing.
    """
    if not failure.retry_after:
        failure = failure.model_copy(update={"retry_after": None})
    return delay(failure, refused, REFUSALS, seed)


def _spread(seed: str) -> int:
    """FNV-1a, 32 bits: an even and repeatable number from a text."""
    value = 0x811C9DC5
    for byte in seed.encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value
