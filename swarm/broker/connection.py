"""Connection to one Redis, and its scripts.

Calls of one event loop iteration are pipelined: concurrent callers cost one round trip. Only commands that read are
retried when the connection breaks. A caller who does not know whether a script arrived may retry it (`repeated`), since
every script is idempotent.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from redis import exceptions
from redis.asyncio import Redis

from swarm.broker.address import open_client, shown
from swarm.broker.connection_errors import translated
from swarm.broker.durability import DISK_MS
from swarm.broker.keys import Keys
from swarm.broker.pipeline import Pipeline, Stale, Unconfirmed, is_silent, packed
from swarm.errors import BrokerError, BrokerUnavailable, BrokerUnconfirmed, BrokerUntrusted

WAIT_MS = 1000
"""Milliseconds that a durable write may take to reach a replica."""

LIBRARY = ("_base", "_clock", "_ledger", "_breaker", "_limits", "_queue", "_jobs")
"""Shared parts that precede every script; each may use those before it."""


@cache
def source(name: str) -> str:
    """Return the text of a script: the shared parts, then its own."""
    folder = files("swarm.broker") / "scripts"
    return "".join((folder / f"{part}.lua").read_text() for part in (*LIBRARY, name))


@cache
def digest(name: str) -> str:
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


READS = frozenset(
    "DBSIZE EXISTS GET HGET HGETALL HLEN HMGET HVALS INFO LLEN MEMORY PING PTTL SCAN SISMEMBER TIME XLEN XRANGE "
    "XREVRANGE ZCARD ZRANGE ZREVRANGE".split()
)
"""Commands that only read, so that they may be retried."""
PAUSES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Seconds before each retry of a call whose connection broke. A count, no deadline: each may take long."""

Durable = bool | Literal["disk"]
"""Whether a write waits for a replica, or for the disk."""

T = TypeVar("T")


class Connection:
    """Runs scripts and commands on one Redis. Writes that a replica or the disk must confirm have connections of their
    own.

    Raises only the `BrokerError`s of `swarm.errors`.
    """

    def __init__(self, client: Redis, keys: Keys, where: str) -> None:
        self.client, self.keys, self.where = client, keys, where
        self._closed = False
        self._plain = Pipeline(client, self.suspect)
        # a connection that waits for replicas delays later commands, which must not be claims or heartbeats
        confirm = (packed(("PUBLISH", keys.confirmed, "")), packed(("WAIT", 1, WAIT_MS)))
        self._safe = Pipeline(client, self.suspect, ending=confirm)
        self._disk = Pipeline(client, self.suspect, ending=confirm, disk=where)

    @classmethod
    def open(cls, url: str, prefix: str = "swarm") -> Self:
        """Create a connection that connects on first use."""
        return cls(open_client(url), Keys(prefix), shown(url))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; pending calls fail."""
        self._closed = True
        await self._plain.aclose()
        await self._safe.aclose()
        await self._disk.aclose()
        with contextlib.suppress(Exception):  # a broken connection counts as closed
            await self.client.aclose()

    @property
    def made(self) -> int:
        """Number of connects so far. When it changes, facts learnt about the server must be read again."""
        return self._plain.made

    async def reach_disk(self) -> None:
        """Raise BrokerUndurable if Redis cannot confirm that writes reached its disk."""
        await self._call(("PING",), "disk")

    async def script(self, name: str, *args: Any, durable: Durable = False, repeats: bool = False) -> Any:
        """Run one of our scripts; with `repeats`, retry it when the connection breaks.

        With `durable`, the reply is returned once a replica (or the disk) has all writes before it. Raises
        BrokerUnconfirmed if none has them within a second: the write stands, and a retry waits for a replica again.
        """
        if repeats:
            return await self.repeated(lambda: self.script(name, *args, durable=durable))
        try:
            return await self._call(("EVALSHA", digest(name), 1, self.keys.prefix, *args), durable)
        except BrokerError as error:
            if not isinstance(error.__cause__, exceptions.NoScriptError):
                raise
        return await self._call(("EVAL", source(name), 1, self.keys.prefix, *args), durable)

    async def call(self, *command: Any) -> Any:
        """Run one command and return its raw reply (bytes, numbers, lists). Commands that only read are retried."""
        if command[0] in READS:
            return await self.repeated(lambda: self._call(command, False))
        return await self._call(command, False)

    async def repeated(self, call: Callable[[], Awaitable[T]]) -> T:
        """Retry an idempotent call for about 0.6 s while its connection breaks; then raise the last error.

        A Redis that accepts a new connection and does not reply is not retried: the timeout has taken long enough.
        """
        pauses = iter(PAUSES)
        while True:
            try:
                return await call()
            except BrokerUnconfirmed:
                raise
            except (BrokerUnavailable, BrokerUntrusted) as error:
                cause = error.__cause__
                stale = isinstance(cause, Stale)
                pause = next(pauses, None)
                if self._closed or pause is None or (is_silent(cause) and not stale):
                    raise
            await asyncio.sleep(pause)

    def suspect(self) -> None:
        """Reconnect before the next call, on all connections: if one finds a master that hangs, none waits for it."""
        self._plain.suspect = self._safe.suspect = self._disk.suspect = True

    async def _call(self, command: tuple[Any, ...], durable: Durable) -> Any:
        wired = packed(command)
        with translated(self.where):
            try:
                return await self._pipeline(durable).call(wired)
            except Unconfirmed as error:
                if durable == "disk":
                    raise BrokerUnconfirmed(self.where, DISK_MS / 1000, on="disk") from error
                raise BrokerUnconfirmed(self.where, WAIT_MS / 1000) from error

    def _pipeline(self, durable: Durable) -> Pipeline:
        return self._disk if durable == "disk" else self._safe if durable else self._plain
