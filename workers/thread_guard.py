"""Guard a worker's event loop: code of experts can neither end it nor fill its threads.

A SystemExit or KeyboardInterrupt that leaves a task ends its event loop. The task of an attempt catches them; this
module catches them in tasks that experts start themselves, in any program's loop. `workers.event_loop` catches those
that leave a callback. Work that experts give to the loop's default thread pool runs in threads of the expert's own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Generator, Iterator
from typing import Any

from experts.attempt import OF_EXPERT, Exited
from experts.attempt_threads import ExpertThreads, expert_now


class _Guarded(Coroutine[Any, Any, Any]):
    """A coroutine that raises Exited in place of an exception that would end the event loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        try:
            return self._coroutine.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise Exited(f"a task raised {error!r}") from error

    def throw(self, *error: Any) -> Any:
        try:
            return self._coroutine.throw(*error)
        except (SystemExit, KeyboardInterrupt) as exits:
            raise Exited(f"a task raised {exits!r}") from exits

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


def _task(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
    """Make a task. One that an expert's code starts is guarded, and bears the expert's name unless it has its own."""
    if (expert := expert_now()) is not None and asyncio.iscoroutine(coroutine):
        coroutine = _Guarded(coroutine)
        more.setdefault("name", OF_EXPERT + expert)
    return asyncio.Task(coroutine, loop=loop, **more)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Guard the running loop for the block. A loop that has a task factory keeps it."""
    loop = asyncio.get_running_loop()
    _set_pool(loop)
    before = loop.get_task_factory()
    if before is None:
        loop.set_task_factory(_task)
    try:
        yield
    finally:
        if before is None:
            loop.set_task_factory(None)


def _set_pool(loop: asyncio.AbstractEventLoop) -> None:
    """Set the loop's default thread pool unless it has one (a loop of uvloop does not show that)."""
    if getattr(loop, "_default_executor", None) is None:
        loop.set_default_executor(ExpertThreads(thread_name_prefix="asyncio"))
