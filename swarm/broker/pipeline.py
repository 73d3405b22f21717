"""Pipeline of calls over one connection to Redis, and the confirmation of writes by a replica or the disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis import exceptions
from redis.asyncio import Redis

from swarm.broker.connection_errors import hang_up, read_only
from swarm.broker.durability import DISK_MS, waits_for_disk
from swarm.broker.half_open_connection import watched
from swarm.errors import BadInput

hiredis: Any
try:
    import hiredis
except ImportError:
    hiredis = None

BATCH = 256
"""Calls in one pipeline, at most."""
LATE = 3.0
"""Seconds beyond the longest wait for the disk within which Redis must reply."""


class ScriptCall(NamedTuple):
    """A command in its wire form, and the future of its reply."""

    packed: bytes
    answer: asyncio.Future[Any]


class Unconfirmed(exceptions.RedisError):
    """No replica has confirmed a write."""


class Stale(exceptions.TimeoutError):
    """A connection that worked before no longer replies: the other side may have forgotten it."""


class Pipeline:
    """One connection that pipelines the calls of one event loop iteration.

    `ending`, if given, follows each batch: a write that every replica receives, and a WAIT, whose count confirms the
    batch. That write makes WAIT cover earlier writes too, also those over another connection.
    """

    def __init__(
        self, client: Redis, lost: Callable[[], None], ending: tuple[bytes, ...] | None = None, *, disk: str = ""
    ) -> None:
        self._client, self._lost, self._ending, self._where = client, lost, ending, disk
        self._write = ending[0] if ending else b""
        self._confirm_timeout: float | None = None
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
                _fail(batch, Stale(str(error)) if self._proven and is_silent(error) else error)
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
            confirmed = await self._wire.read_response(timeout=self._confirm_timeout)
        if not (confirmed[0] if isinstance(confirmed, list) else confirmed):
            raise Unconfirmed
        for call, answer in answers:
            if not call.answer.done():
                call.answer.set_result(answer)

    async def _reach_disk(self) -> None:
        waits = await waits_for_disk(self._wire, self._where)
        self._confirm_timeout = DISK_MS / 1000 + LATE
        self._ending = (self._write, packed(("WAITAOF", 1, 0, DISK_MS))) if waits else ()

    async def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        await hang_up(wire)


def is_silent(error: BaseException | None) -> bool:
    return isinstance(error, exceptions.TimeoutError | TimeoutError)


def _closed(wire: Any) -> bool:
    """Whether the other side has closed the connection."""
    reader = wire._reader
    return bool(reader is None or reader.at_eof() or reader.exception() is not None)


def packed(command: tuple[Any, ...]) -> bytes:
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
