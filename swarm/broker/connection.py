"""Connection to one Redis, and its scripts.

Calls of one event loop iteration are pipelined: concurrent callers cost one round trip. Only commands that read are
retried when the connection breaks. A caller who does not know whether a script arrived may retry it (`repeated`), since
every script is idempotent.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeVar

from redis import exceptions
from redis.asyncio import Redis

from swarm.broker.address import open_client, shown
from swarm.broker.connection_errors import hang_up, read_only, translated
from swarm.broker.durability import DISK_MS, waits_for_disk
from swarm.broker.half_open_connection import watched
from swarm.broker.keys import Keys
from swarm.errors import BadInput, BrokerError, BrokerUnavailable, BrokerUnconfirmed, BrokerUntrusted

hiredis: Any
try:
    import hiredis
except ImportError:
    hiredis = None

BATCH = 256
"""Calls in one pipeline, at most."""
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

LATE = 3.0
"""Seconds beyond the longest wait for the disk within which Redis must reply."""

Durable = bool | Literal["disk"]
"""Whether a write waits for a replica, or for the disk."""

T = TypeVar("T")


class ScriptCall(NamedTuple):
    """A command in its wire form, and the future of its reply."""

    packed: bytes
    answer: asyncio.Future[Any]


class Connection:
    """Runs scripts and commands on one Redis. Writes that a replica or the disk must confirm have connections of their
    own.

    Raises only the `BrokerError`s of `swarm.errors`.
    """

    def __init__(self, client: Redis, keys: Keys, where: str) -> None:
        self.client, self.keys, self.where = client, keys, where
        self._closed = False
        self._plain = _Wire(client, self.suspect)
        # a connection that waits for replicas delays later commands, which must not be claims or heartbeats
        confirm = (_packed(("PUBLISH", keys.confirmed, "")), _packed(("WAIT", 1, WAIT_MS)))
        self._safe = _Wire(client, self.suspect, ending=confirm)
        self._disk = _Wire(client, self.suspect, ending=confirm, disk=where)

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
                stale = isinstance(cause, _Stale)
                pause = next(pauses, None)
                if self._closed or pause is None or (_silent(cause) and not stale):
                    raise
            await asyncio.sleep(pause)

    def suspect(self) -> None:
        """Reconnect before the next call, on all connections: if one finds a master that hangs, none waits for it."""
        self._plain.suspect = self._safe.suspect = self._disk.suspect = True

    async def _call(self, command: tuple[Any, ...], durable: Durable) -> Any:
        packed = _packed(command)
        with translated(self.where):
            try:
                return await self._wire(durable).call(packed)
            except _Unconfirmed as error:
                if durable == "disk":
                    raise BrokerUnconfirmed(self.where, DISK_MS / 1000, on="disk") from error
                raise BrokerUnconfirmed(self.where, WAIT_MS / 1000) from error

    def _wire(self, durable: Durable) -> _Wire:
        return self._disk if durable == "disk" else self._safe if durable else self._plain


class _Unconfirmed(exceptions.RedisError):
    """No replica has confirmed a write."""


class _Stale(exceptions.TimeoutError):
    """A connection that worked before no longer replies: the other side may have forgotten it."""


class _Wire:
    """One connection that pipelines the calls of one event loop iteration.

    `ending`, if given, follows each batch: a write that every replica receives, and a WAIT, whose count confirms the
    batch. That write makes WAIT cover earlier writes too, also those over another connection.
    """

    def __init__(
        self, client: Redis, lost: Callable[[], None], ending: tuple[bytes, ...] | None = None, *, disk: str = ""
    ) -> None:
        self._client, self._lost, self._ending, self._where = client, lost, ending, disk
        self._write = ending[0] if ending else b""
        self._patience: float | None = None
        """Seconds that a confirmation may take; None: the usual reply timeout."""
        self.suspect = False
        """Whether to reconnect before the next batch."""
        self._waiting: list[ScriptCall] = []
        self._sender: asyncio.Task[None] | None = None
        self._wire: Any = None
        self.made = 0
        self._proven = False
        """Whether Redis has replied on this connection."""
        self._heard = 0
        """Replies so far."""

    async def aclose(self) -> None:
        _fail(self._waiting, exceptions.ConnectionError("closed"))
        while self._sender is not None and not self._sender.done():
            self._sender.cancel()
            # asyncio.wait_for, inside the library, may miss a cancel before Python 3.12
            await asyncio.wait((self._sender,), timeout=0.05)
        _fail(self._waiting, exceptions.ConnectionError("closed"))
        self._waiting.clear()
        await self._hang_up()

    def call(self, packed: bytes) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(ScriptCall(packed, future))
        if self._sender is None or self._sender.done():
            self._start()
        return future

    def _start(self) -> None:
        self._sender = asyncio.create_task(self._send())
        self._sender.add_done_callback(self._stopped)

    def _stopped(self, sender: asyncio.Task[None]) -> None:
        """Start another sender for pending calls, if this one was cancelled along with every task of the loop."""
        if sender.cancelled() and any(not call.answer.done() for call in self._waiting):
            self._start()

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                await self._exchange(batch)
            except Exception as error:  # of whatever class: the connection is in an unknown state
                _fail(batch, _Stale(str(error)) if self._proven and _silent(error) else error)
                await self._hang_up()
                self._lost()
            except asyncio.CancelledError:
                await self._hang_up()  # a late reply must not reach the next caller
                raise
            finally:
                # no caller may wait for a reply that will not come
                _fail(batch, exceptions.ConnectionError("closed"))

    async def _exchange(self, batch: Sequence[ScriptCall]) -> None:
        if self._wire is not None and (self.suspect or _closed(self._wire)):
            await self._hang_up()  # Redis restarted; nothing of this batch is sent yet, so nothing is sent twice
        self.suspect = False
        if self._wire is None:
            self._wire = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            self._proven = False
            self.made += 1
            await self._wire.connect()
            if self._where:
                await self._reach_disk()
        await self._wire.send_packed_command(b"".join((*(call.packed for call in batch), *(self._ending or ()))))
        # only a connection that has worked is given up early: a new one may be slow because of a large batch
        async with watched(self._client, lambda: self._heard) if self._proven else contextlib.nullcontext():
            moved, answers = await self._read(batch)
        if self._ending is not None:
            await self._confirm(answers)
        self._proven = True
        if moved:
            await self._hang_up()  # this is no longer the master; the next call looks up the new one

    async def _read(self, batch: Sequence[ScriptCall]) -> tuple[bool, list[tuple[ScriptCall, Any]]]:
        """Read the reply of each call; return whether the master has moved, and the replies still to be confirmed."""
        moved, answers = False, []
        for call in batch:
            try:
                answer = await self._wire.read_response()
            except exceptions.ResponseError as error:
                moved = moved or read_only(error)
                if not call.answer.done():
                    call.answer.set_exception(error)
            else:
                if self._ending is not None:
                    answers.append((call, answer))
                elif not call.answer.done():
                    call.answer.set_result(answer)
            self._heard += 1
        return moved, answers

    async def _confirm(self, answers: Sequence[tuple[ScriptCall, Any]]) -> None:
        """Deliver the replies once a replica or the disk has confirmed the batch."""
        confirmed: Any = 1
        for _ in self._ending or ():
            confirmed = await self._wire.read_response(timeout=self._patience)
        if not (confirmed[0] if isinstance(confirmed, list) else confirmed):
            raise _Unconfirmed
        for call, answer in answers:
            if not call.answer.done():
                call.answer.set_result(answer)

    async def _reach_disk(self) -> None:
        waits = await waits_for_disk(self._wire, self._where)
        self._patience = DISK_MS / 1000 + LATE
        self._ending = (self._write, _packed(("WAITAOF", 1, 0, DISK_MS))) if waits else ()

    async def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        await hang_up(wire)


def _silent(error: BaseException | None) -> bool:
    return isinstance(error, exceptions.TimeoutError | TimeoutError)


def _closed(wire: Any) -> bool:
    """Whether the other side has closed the connection."""
    reader = wire._reader
    return bool(reader is None or reader.at_eof() or reader.exception() is not None)


def _packed(command: tuple[Any, ...]) -> bytes:
    """Encode a command in the Redis protocol; hiredis, if installed, is ten times as fast."""
    try:
        if hiredis is not None:
            return bytes(hiredis.pack_command(command))
        words = [word if isinstance(word, bytes) else _text(word).encode() for word in command]
    except UnicodeEncodeError:
        raise BadInput("text", "it is not valid Unicode", "send UTF-8 text") from None
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _text(word: object) -> str:
    if not isinstance(word, str | int | float):
        raise TypeError(f"{type(word).__name__} cannot be sent to Redis")
    return str(word)


def _fail(batch: Sequence[ScriptCall], error: Exception) -> None:
    for call in batch:
        if not call.answer.done():
            call.answer.set_exception(error)
