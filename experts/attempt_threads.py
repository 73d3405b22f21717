"""Threads for blocking code of experts in plain Python. Each attempt has its own, so a hanging call blocks no other.

The threads are daemons: Python cannot stop a thread, and one that outlives its attempt must not keep the process
from ending.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, ParamSpec, TypeVar

AT_ONCE = min(32, (os.cpu_count() or 1) + 4)
"""Maximum concurrent calls of one attempt, as in asyncio's default pool; further calls are queued."""

P = ParamSpec("P")
T = TypeVar("T")

_current: ContextVar[Threads | None] = ContextVar("threads", default=None)


def expert_now() -> str | None:
    """Name of the expert whose code is running; None for the product's own code."""
    threads = _current.get()
    return None if threads is None else threads.name


class Threads:
    """The threads of one attempt, started on demand."""

    def __init__(self, name: str) -> None:
        self.name, self._started = name, 0
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self.running = 0
        """Number of calls that are running."""

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within the block, run calls submitted to the loop's ExpertThreads pool in these threads."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            self._waiting.append((future, call))
            starts = self._started < AT_ONCE
            self._started += starts
        if starts:
            threading.Thread(target=self._work, name=f"expert-{self.name}", daemon=True).start()
        return future

    def close(self) -> int:
        """Cancel queued calls. Returns the number of calls that still run."""
        with self._lock:
            dropped = list(self._waiting)
            self._waiting.clear()
        for future, _ in dropped:
            future.cancel()
        return self.running

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._started -= 1
                    return
                future, call = self._waiting.popleft()
                self.running += 1
            self._call(future, call)

    def _call(self, future: Future[Any], call: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return self._over()
        try:
            result = call()
        except StopIteration as error:  # a future cannot carry StopIteration: its waiter would hang for ever
            self._over()
            future.set_exception(RuntimeError(f"StopIteration({error.value!r}) was raised in a thread"))
        except BaseException as error:  # the waiter gets every error, SystemExit included
            self._over()
            future.set_exception(error)
        else:
            self._over()
            future.set_result(result)
        return None

    def _over(self) -> None:
        """Count the call as ended. Called before its result is set, so that no waiter sees it still running."""
        with self._lock:
            self.running -= 1


class ExpertThreads(ThreadPoolExecutor):
    """Default executor of a loop that runs experts: calls of an attempt run in that attempt's own threads."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        threads = _current.get()
        if threads is None:
            return super().submit(fn, *args, **kwargs)
        return threads.submit(partial(fn, *args, **kwargs))
