"""Threads in which experts in plain Python block: of each attempt its own, so a call that hangs holds up no other.

They are daemons, since no thread of Python can be stopped: what goes on after its attempt has ended does not keep the
process from ending either.
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
"""Calls of one attempt that run at once, as in asyncio's default pool; more of them wait their turn."""

P = ParamSpec("P")
T = TypeVar("T")

_current: ContextVar[Threads | None] = ContextVar("threads", default=None)


def expert_now() -> str | None:
    """The expert whose code this is; None for ours."""
    threads = _current.get()
    return None if threads is None else threads.name


class Threads:
    """The threads of one attempt. They are started when they are needed."""

    def __init__(self, name: str) -> None:
        self.name, self._started = name, 0
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self.running = 0
        """Calls under way."""

    @contextmanager
    def used(self) -> Iterator[None]:
        """Inside the block, whatever is given to the loop's pool of an ExpertThreads runs in these threads."""
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
        """Drop what has not begun; answers how many calls go on."""
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
        except StopIteration as error:  # asyncio cannot hand it on: who waits for it would wait for ever
            self._over()
            future.set_exception(RuntimeError(f"StopIteration({error.value!r}) was raised in a thread"))
        except BaseException as error:  # whoever waits for the call is told, also of SystemExit
            self._over()
            future.set_exception(error)
        else:
            self._over()
            future.set_result(result)
        return None

    def _over(self) -> None:
        """Before the result is told, so that nobody takes a call for running whose result it has."""
        with self._lock:
            self.running -= 1


class ExpertThreads(ThreadPoolExecutor):
    """A default pool for a loop that runs experts: what an attempt gives to it runs in that attempt's own threads."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        threads = _current.get()
        if threads is None:
            return super().submit(fn, *args, **kwargs)
        return threads.submit(partial(fn, *args, **kwargs))
