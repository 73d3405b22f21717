"""The event loop of a worker's process. Code of experts cannot end it.

SystemExit and KeyboardInterrupt that leave a callback (of `loop.call_soon`, a protocol, a future) end the run of any
loop, of asyncio and of uvloop alike. Nothing is lost by that, as what was ready stays ready: the loop is run on until
what the process is there for is done. `loop.stop()` is ignored meanwhile. In a loop of somebody else's program, where
embedded workers may run, this cannot be done.
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
    """What the class of a loop is extended by."""

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
    """asyncio.run in such a loop, of uvloop where it is installed."""
    with asyncio.Runner(loop_factory=_class_of_loop()) as runner:
        return runner.run(coroutine)


def signals_handled() -> None:
    """From now on, a KeyboardInterrupt in the running loop does not come from Ctrl-C but from code of an expert."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, _Contained):
        loop.signals_handled = True


def _class_of_loop() -> type[asyncio.AbstractEventLoop]:
    kind: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    with contextlib.suppress(ImportError):
        import uvloop

        kind = uvloop.Loop
    return type("Loop", (_Contained, kind), {})
