"""Runs one attempt of an expert, so that nothing that an expert does can hold or end its worker.

An attempt has a task of its own. When its time is up, or it is not wanted any more, it is cancelled; one that does not
end then is abandoned after a short grace: its slot is free, and its code goes on beside the rest until it ends by
itself or with the process. An expert with too many of those left is not asked again here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import structlog

from experts.attempt_threads import Threads
from experts.base import FREE, Allowance, until
from swarm.errors import ModelUnavailable

GRACE = 2.0
"""Seconds that an attempt has to end once it was cancelled."""
MOST_LEFT = 64
"""Attempts of one expert that may go on in this process after they were given up."""

OF_EXPERT = "expert "
"""How the names of tasks begin in which an expert runs; its own name follows."""

_log = structlog.get_logger()
T = TypeVar("T")
Work = Callable[[Threads], Coroutine[Any, Any, T]]


class Exited(RuntimeError):
    """Code of an expert raised what would end the process: SystemExit, KeyboardInterrupt."""


@dataclass
class AttemptOutcome(Generic[T]):
    """What an attempt came to: a value or an error. `late`: its time was up before."""

    value: T | None = None
    error: BaseException | None = None
    late: bool = False
    abandoned: bool = False


class Attempts:
    """The attempts of one process."""

    def __init__(self) -> None:
        self._left: dict[str, list[tuple[asyncio.Task[Any], Threads]]] = {}

    async def run(self, expert: str, work: Work[T], seconds: float, allowance: Allowance = FREE) -> AttemptOutcome[T]:
        """What `work` comes to within `seconds`. Only the CancelledError of who waits for it is raised."""
        if (left := self.left(expert)) >= MOST_LEFT:
            return AttemptOutcome(error=_too_many(expert, left))
        threads = Threads(expert)
        end = asyncio.get_running_loop().time() + seconds
        task = asyncio.create_task(_tried(work, threads, until(end, allowance)), name=OF_EXPERT + expert)
        try:
            await asyncio.wait((task,), timeout=seconds)
            late = not task.done()
            if late:
                await self._end(task)
            return task.result() if task.done() and not late else _late(task)
        except asyncio.CancelledError:
            await self._end(task)
            raise
        finally:
            self._leave(expert, task, threads)

    def left(self, expert: str) -> int:
        """How many attempts of an expert go on though they have ended for everybody else."""
        going = [(task, threads) for task, threads in self._left.pop(expert, ()) if not task.done() or threads.running]
        if going:
            self._left[expert] = going
        return len(going)

    async def _end(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        await asyncio.wait((task,), timeout=GRACE)

    def _leave(self, expert: str, task: asyncio.Task[Any], threads: Threads) -> None:
        """Put on record what goes on, so that it is told and counted."""
        calls = threads.close()
        if task.done() and not calls:
            return
        self._left[expert] = [*self._left.get(expert, ()), (task, threads)]
        what = "its code swallows CancelledError" if not task.done() else "a call in a thread has no time limit"
        _log.warning("expert_goes_on", expert=expert, problem=what, threads=calls, left=self.left(expert))


async def _tried(work: Work[T], threads: Threads, limited: AbstractContextManager[None]) -> AttemptOutcome[T]:
    try:
        with threads.used(), limited:
            return AttemptOutcome(await work(threads))
    except BaseException as error:  # out of a task, SystemExit and KeyboardInterrupt would end the whole worker
        return AttemptOutcome(error=error)


def _late(task: asyncio.Task[AttemptOutcome[T]]) -> AttemptOutcome[T]:
    """An attempt whose time was up. What it still gave in its grace counts."""
    if not task.done():
        return AttemptOutcome(error=TimeoutError(), late=True, abandoned=True)
    if task.cancelled():  # before its first step
        return AttemptOutcome(error=TimeoutError(), late=True)
    ended = task.result()
    ended.late = True
    return ended


def _too_many(expert: str, left: int) -> ModelUnavailable:
    return ModelUnavailable(
        f"{left} attempts of {expert!r} that were given up still run in this worker: its code waits without a time "
        "limit or swallows CancelledError; mend that, and restart the worker"
    )


async def called(function: Callable[..., Any], threads: Threads, *args: object) -> Any:
    """What `function` gives: awaited in the loop if it is a coroutine function, else called in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    call = partial(copy_context().run, function, *args)
    result = await asyncio.wrap_future(threads.submit(call))
    return await result if isinstance(result, Awaitable) else result
