"""The end of a worker's process, also when code of experts does not end.

An event loop waits for its tasks when it is closed, and Python for its threads. An expert that swallows cancellation
or hangs in a thread of its own would keep the process for ever; so it leaves hard a short while after the work is done.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from swarm import logging as events
from swarm.runtime.thread_pool import LEFT_HARD, NAME

PATIENCE = 3.0
"""Seconds that what is left of experts has to end once the worker is closed."""

_log = events.get_logger("worker")


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """End the process hard if the block takes too long. A block that ends by itself changes nothing."""
    over = threading.Event()
    threading.Thread(target=_watch, args=(over,), name="swarm-leaving", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def leave_behind(known: frozenset[int]) -> None:
    """For the rest of the process: if threads that experts started are left, do not wait for them for long.

    `known` are the threads from before, by their identity.
    """
    here = threading.current_thread()
    others = [thread for thread in threading.enumerate() if thread is not here and thread.ident not in known]
    if any(not thread.daemon and not thread.name.startswith(NAME) for thread in others):
        threading.Thread(target=_watch, args=(threading.Event(),), name="swarm-leaving", daemon=True).start()


def threads() -> frozenset[int]:
    """The threads that there are now."""
    return frozenset(thread.ident for thread in threading.enumerate() if thread.ident is not None)


def _watch(over: threading.Event) -> None:
    if over.wait(PATIENCE):
        return
    _log.warning(events.LEFT_HARD, seconds=PATIENCE, problem="tasks or threads of experts do not end")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(LEFT_HARD)
