"""Waiting to be woken: a connection of its own that blocks on the wake lists of queues."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from swarm.broker.address import open_client, shown
from swarm.broker.connection_errors import hang_up, translated
from swarm.errors import BrokerError

IDLE = 0.5
"""Seconds after which a worker looks again even if nobody woke it."""
LATE = 1.0
"""Seconds after the end of a wait by which Redis must have answered."""
PAUSE = 0.05
"""Seconds after a connection broke."""


class Waker:
    """Waits on wake lists. `turn` asks Redis anything, over another connection; `silent` is told when none answers."""

    def __init__(self, url: str, turn: Callable[[], Coroutine[Any, Any, None]], silent: Callable[[], None]) -> None:
        self._client, self._where = open_client(url, socket_timeout=None), shown(url)
        self._turn, self._silent = turn, silent
        self._wire: Any = None
        self._lists: Sequence[str] = ()
        self._command = b""

    async def __aenter__(self) -> Waker:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._hang_up()
        with contextlib.suppress(Exception):  # what is broken is closed as well
            await self._client.aclose()

    async def wait(self, lists: Sequence[str], seconds: float) -> str:
        """The one of `lists` that had a token; empty after `seconds`, or when the connection breaks."""
        if seconds <= 0.001:
            return ""
        turning = asyncio.create_task(self._in_time(seconds)) if seconds < IDLE else None
        try:
            with translated(self._where):
                async with asyncio.timeout(seconds + LATE):
                    return await self._blocked(lists, seconds)
        except BrokerError as error:
            if isinstance(error.__cause__, TimeoutError):
                self._silent()
            await self._hang_up()
            await asyncio.sleep(min(seconds, PAUSE))
            return ""
        except asyncio.CancelledError:
            await self._hang_up()
            raise
        finally:
            if turning is not None:
                turning.cancel()

    async def _blocked(self, lists: Sequence[str], seconds: float) -> str:
        if self._wire is None:
            self._wire = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            await self._wire.connect()
        if lists is not self._lists:
            self._lists, self._command = lists, _blocking(lists)
        await self._wire.send_packed_command([self._command + b"$%d\r\n%b\r\n" % _sized(f"{seconds:.3f}")])
        found = await self._wire.read_response()
        return "" if found is None else found[0].decode()

    async def _in_time(self, seconds: float) -> None:
        """Redis ends a wait when it looks at its clock, so make it look when this one is over."""
        await asyncio.sleep(seconds + 0.001)
        await self._turn()

    async def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        await hang_up(wire)


def _blocking(lists: Sequence[str]) -> bytes:
    """BLPOP on these lists as it goes to Redis, but for the time: of thousands it is made once.

    >>> _blocking(["a"])
    b'*3\\r\\n$5\\r\\nBLPOP\\r\\n$1\\r\\na\\r\\n'
    """
    parts = b"".join(b"$%d\r\n%b\r\n" % _sized(part) for part in ("BLPOP", *lists))
    return b"*%d\r\n" % (len(lists) + 2) + parts


def _sized(part: str) -> tuple[int, bytes]:
    encoded = part.encode()
    return len(encoded), encoded
