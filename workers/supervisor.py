"""Restart the background loops of a process: an error ends one run of a loop, never the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from swarm import logging as events

SHORTEST, LONGEST = 0.1, 5.0
"""Seconds before a loop is started again; they double each time until a run has lasted LONGEST."""

_log = events.get_logger("worker")


async def supervised(
    name: str,
    loop: Callable[[], Awaitable[None]],
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Run `loop` until it returns, this task is cancelled, or `stopped` returns True; restart it after each error.

    Errors are logged. `pause` waits the given seconds, or less if the loop is stopped.
    """
    seconds = SHORTEST
    while not stopped():
        begun = time.monotonic()
        try:
            await loop()
            return
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            _log.error(
                events.LOOP_RESTARTED, loop=name, exc_info=error
            )  # a library let the cancellation of another task through
        except Exception as error:
            _log.error(events.LOOP_RESTARTED, loop=name, exc_info=error)
        seconds = SHORTEST if time.monotonic() - begun > LONGEST else min(2 * seconds, LONGEST)
        await pause(seconds)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
