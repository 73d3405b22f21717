"""The event loop of a worker's process, which code of experts cannot end.

A SystemExit or KeyboardInterrupt that leaves a callback (of `loop.call_soon`, a protocol, a future) ends the run of any
loop, of asyncio and uvloop alike. Callbacks that were ready stay ready, so the loop is simply run again until the
process's own coroutine is done. `loop.stop()` is ignored meanwhile. Embedded workers in the loop of another program do
not have this protection.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from swarm import logging as events

_log = events.get_logger("worker")
T = TypeVar("T")


class _Contained(asyncio.AbstractEventLoop):
    """Mixin for an event loop class: run again after an exit that a callback raised."""

    signals_handled = False
    _awaited: asyncio.Future[Any] | None = None

    def run_until_complete(self, future: Any) -> Any:
        self._awaited = awaited = asyncio.ensure_future(future, loop=self)
        while True:
            try:
                return super().run_until_complete(awaited)
            except (SystemExit, KeyboardInterrupt) as error:
                if awaited.done():
                    return awaited.result()
                if isinstance(error, KeyboardInterrupt) and not self.signals_handled:
                    raise
                _log.error(events.EXIT_IGNORED, exc_info=error)

    def stop(self) -> None:
        if self._awaited is None or self._awaited.done():
            super().stop()
            return
        caller = sys._getframe(1)
        place = f"{caller.f_code.co_filename.rpartition('/')[2]}:{caller.f_lineno}"
        _log.error(events.EXIT_IGNORED, problem="stop() of the event loop was called", place=place)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as asyncio.run does, in a loop that experts cannot end; on uvloop if installed."""
    with asyncio.Runner(loop_factory=_loop_class()) as runner:
        return runner.run(coroutine)


def signals_handled() -> None:
    """Take each KeyboardInterrupt in the running loop from now on for one of an expert: signals have handlers."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, _Contained):
        loop.signals_handled = True


def _loop_class() -> type[asyncio.AbstractEventLoop]:
    kind: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    with contextlib.suppress(ImportError):
        import uvloop

        kind = uvloop.Loop
    return type("Loop", (_Contained, kind), {})
