"""Waiting for work: a connection of its own that blocks on the wake lists of queues."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from swarm.broker.address import open_client, shown
from swarm.broker.connection_errors import hang_up, translated
from swarm.errors import BrokerError

IDLE = 0.5
"""Seconds after which a worker looks for work even if nothing woke it."""
LATE = 1.0
"""Seconds that Redis may take to answer after the end of a wait."""
PAUSE = 0.05
"""Seconds of pause after a connection broke."""


class Waker:
    """Waits on wake lists. `ping` sends any command on another connection; `on_silence`: Redis did not answer."""

    def __init__(self, url: str, ping: Callable[[], Coroutine[Any, Any, None]], on_silence: Callable[[], None]) -> None:
        self._client, self._where = open_client(url, socket_timeout=None), shown(url)
        self._ping, self._on_silence = ping, on_silence
        self._wire: Any = None
        self._lists: Sequence[str] = ()
        self._command = b""

    async def __aenter__(self) -> Waker:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._hang_up()
        with contextlib.suppress(Exception):  # a broken client raises, and is closed all the same
            await self._client.aclose()

    async def wait(self, lists: Sequence[str], seconds: float) -> str:
        """Wait for a token; return the list that had one, or "" after `seconds` or when the connection breaks."""
        if seconds <= 0.001:
            return ""
        pinging = asyncio.create_task(self._ping_at_end(seconds)) if seconds < IDLE else None
        try:
            with translated(self._where):
                async with asyncio.timeout(seconds + LATE):
                    return await self._blocked(lists, seconds)
        except BrokerError as error:
            if isinstance(error.__cause__, TimeoutError):
                self._on_silence()
            await self._hang_up()
            await asyncio.sleep(min(seconds, PAUSE))
            return ""
        except asyncio.CancelledError:
            await self._hang_up()
            raise
        finally:
            if pinging is not None:
                pinging.cancel()

    async def _blocked(self, lists: Sequence[str], seconds: float) -> str:
        if self._wire is None:
            self._wire = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            await self._wire.connect()
        if lists is not self._lists:
            self._lists, self._command = lists, _blocking(lists)
        await self._wire.send_packed_command([self._command + b"$%d\r\n%b\r\n" % _sized(f"{seconds:.3f}")])
        found = await self._wire.read_response()
        return "" if found is None else found[0].decode()

    async def _ping_at_end(self, seconds: float) -> None:
        """Ping Redis when a short wait is over: it ends waits only when it looks at its clock, ten times a second."""
        await asyncio.sleep(seconds + 0.001)
        await self._ping()

    async def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        await hang_up(wire)


def _blocking(lists: Sequence[str]) -> bytes:
    """Encode BLPOP on these lists for Redis, without the timeout; encoded once, as there may be thousands.

    >>> _blocking(["a"])
    b'*3\\r\\n$5\\r\\nBLPOP\\r\\n$1\\r\\na\\r\\n'
    """
    parts = b"".join(b"$%d\r\n%b\r\n" % _sized(part) for part in ("BLPOP", *lists))
    return b"*%d\r\n" % (len(lists) + 2) + parts


def _sized(part: str) -> tuple[int, bytes]:
    encoded = part.encode()
    return len(encoded), encoded
