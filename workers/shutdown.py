"""End a worker's process even if code of experts does not end.

A closing event loop waits for its tasks, and Python for its threads. An expert that swallows cancellation or hangs in
a thread of its own would keep the process for ever, so the process exits hard a short time after its work is done.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from swarm import logging as events
from swarm.runtime.thread_pool import LEFT_HARD, NAME

EXIT_TIMEOUT = 3.0
"""Seconds that tasks and threads of experts have to end once the worker is closed."""

_log = events.get_logger("worker")


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Exit the process hard if the block takes longer than EXIT_TIMEOUT."""
    over = threading.Event()
    threading.Thread(target=_watch, args=(over,), name="swarm-leaving", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def leave_behind(known: frozenset[int]) -> None:
    """Exit the process hard after EXIT_TIMEOUT if threads of experts are left. `known`: idents of all other threads."""
    here = threading.current_thread()
    others = [thread for thread in threading.enumerate() if thread is not here and thread.ident not in known]
    if any(not thread.daemon and not thread.name.startswith(NAME) for thread in others):
        threading.Thread(target=_watch, args=(threading.Event(),), name="swarm-leaving", daemon=True).start()


def threads() -> frozenset[int]:
    """Idents of the threads that run now."""
    return frozenset(thread.ident for thread in threading.enumerate() if thread.ident is not None)


def _watch(over: threading.Event) -> None:
    if over.wait(EXIT_TIMEOUT):
        return
    _log.warning(events.LEFT_HARD, seconds=EXIT_TIMEOUT, problem="tasks or threads of experts do not end")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(LEFT_HARD)
