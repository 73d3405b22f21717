"""Runs one attempt of an expert in isolation: no code of an expert can block or end its worker.

Each attempt is an asyncio task. It is cancelled at its timeout or when its caller is cancelled. A task that ignores
the cancellation is abandoned after GRACE seconds: its slot is freed while its code runs on until it returns or the
process ends. An expert with MOST_LEFT abandoned attempts is refused in this process.
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
"""Seconds that a cancelled attempt has to end before it is abandoned."""
MOST_LEFT = 64
"""Maximum abandoned attempts of one expert that still run in this process."""

OF_EXPERT = "expert "
"""Prefix of the names of tasks that run an expert; the expert's name follows."""

_log = structlog.get_logger()
T = TypeVar("T")
Work = Callable[[Threads], Coroutine[Any, Any, T]]


class Exited(RuntimeError):
    """An expert's code raised SystemExit or KeyboardInterrupt, which would end the process."""


@dataclass
class AttemptOutcome(Generic[T]):
    """The value or the error of one attempt. `late`: it ended after its timeout."""

    value: T | None = None
    error: BaseException | None = None
    late: bool = False
    abandoned: bool = False


class Attempts:
    """Runs the attempts of one process and counts the abandoned ones."""

    def __init__(self) -> None:
        self._left: dict[str, list[tuple[asyncio.Task[Any], Threads]]] = {}

    async def run(self, expert: str, work: Work[T], seconds: float, allowance: Allowance = FREE) -> AttemptOutcome[T]:
        """Run `work` for at most `seconds`. Raises nothing but the caller's own CancelledError."""
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
        """Number of abandoned attempts of an expert that still run."""
        going = [(task, threads) for task, threads in self._left.pop(expert, ()) if not task.done() or threads.running]
        if going:
            self._left[expert] = going
        return len(going)

    async def _end(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        await asyncio.wait((task,), timeout=GRACE)

    def _leave(self, expert: str, task: asyncio.Task[Any], threads: Threads) -> None:
        """Log and count an attempt whose task or threads still run."""
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
    """The outcome of an attempt that passed its timeout. A value returned during the grace is kept."""
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
        "limit or swallows CancelledError; fix that, and restart the worker"
    )


async def called(function: Callable[..., Any], threads: Threads, *args: object) -> Any:
    """Call `function`: in the event loop if it is a coroutine function, else in a thread. Returns its result."""
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    call = partial(copy_context().run, function, *args)
    result = await asyncio.wrap_future(threads.submit(call))
    return await result if isinstance(result, Awaitable) else result
