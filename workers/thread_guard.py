"""What a worker's event loop needs so that code of experts can neither end it nor fill its threads.

SystemExit and KeyboardInterrupt that leave a task end a loop. An attempt's own task is safe from that; this makes the
tasks safe that experts start themselves, in any program's loop. What leaves a callback is contained in
`workers.event_loop`.
And what experts give to the loop's default pool runs in threads of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Generator, Iterator
from typing import Any

from experts.attempt import OF_EXPERT, Exited
from experts.attempt_threads import ExpertThreads, expert_now


class _Guarded(Coroutine[Any, Any, Any]):
    """A coroutine out of which nothing comes that ends a loop."""

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
    """A task; one that code of an expert starts is guarded, and named after the expert unless it has a name."""
    if (expert := expert_now()) is not None and asyncio.iscoroutine(coroutine):
        coroutine = _Guarded(coroutine)
        more.setdefault("name", OF_EXPERT + expert)
    return asyncio.Task(coroutine, loop=loop, **more)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Guard the running loop for the block; one that has a task factory of its own keeps it."""
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
    """Give the loop its pool, unless its owner has chosen one; a loop of uvloop does not tell."""
    if getattr(loop, "_default_executor", None) is None:
        loop.set_default_executor(ExpertThreads(thread_name_prefix="asyncio"))
