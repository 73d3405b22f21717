"""Streamed texts: pieces of model output on a capped stream beside the job's log, for live display.

Losing pieces harms nothing: the whole text comes with the answer. A writer never waits for Redis, and a late reader
gets what the stream still holds. Each piece names its subtask, attempt and claim, since a new attempt or claim replaces
the text of the one before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from swarm.broker.connection import Connection
from swarm.broker.queue import Claim
from swarm.errors import BrokerError
from swarm.types.base import Value

ANSWER = "answer"
"""Subtask id in pieces of the job's own answer."""
KEPT = 1_000
"""Approximate number of entries in one job's stream."""
PIECE = 1_000
"""Characters of one entry: at most 4 kB."""
MAX_SHOWN = 250_000
"""Characters of one text that are streamed, at most."""
PAUSE = 0.05
"""Seconds between two entries that are not full. It grows with their number, so that KEPT entries span minutes."""
SLOWER = 200
AWAY = 0.5
"""Seconds until the next try while Redis refuses writes."""
CLOSING = 0.5
"""Seconds to write the rest when the text is complete."""
AT_ONCE = 200


class Delta(Value):
    """A piece of a text that is being written. The pieces of one `subtask`, in order, are its text so far.

    `reset`: discard the earlier text of this subtask, since another claim or attempt has taken over. `subtask` is
    `answer` for the job's own answer, whose pieces carry no source markers; the final answer has its segments.
    """

    id: str
    subtask: str
    attempt: int = 1
    claim: int = 1
    text: str = ""
    reset: bool = False


class Deltas:
    """Streamed texts in one Redis."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def writing(self, claim: Claim, subtask: str = ANSWER, attempt: int = 1) -> DeltaWriter:
        """Open a stream for the holder of `claim`. Use it as an async context manager."""
        return DeltaWriter(self._connection, claim, subtask, attempt)

    async def after(self, job: str, seen: str) -> list[tuple[str, dict[str, str]]]:
        """Return at most 200 entries after the one with id `seen`; `0-0` is before all."""
        key = self._connection.keys.deltas(job)
        raw = await self._connection.call("XREAD", "COUNT", AT_ONCE, "STREAMS", key, seen)
        return [(entry.decode(), _decoded(fields)) for _, entries in raw or () for entry, fields in entries]


def _decoded(fields: list[bytes]) -> dict[str, str]:
    words = [word.decode("utf-8", "replace") for word in fields]
    return dict(zip(words[::2], words[1::2], strict=False))


class DeltaReader:
    """Last attempt that one reader has seen of each subtask; decides when to send `reset`.

    `resumed`: the reader had seen entries in an earlier connection.
    """

    def __init__(self, *, resumed: bool = False) -> None:
        self._resumed = resumed
        self._seen: dict[str, tuple[int, int]] = {}

    def delta(self, entry: str, fields: Mapping[str, str]) -> Delta:
        """Turn an entry into a Delta for this reader."""
        subtask = fields["subtask"]
        attempt, claim = int(fields["attempt"]), int(fields["claim"])
        known, start = self._seen.get(subtask), bool(fields["start"])
        self._seen[subtask] = (attempt, claim)
        reset = start and self._resumed if known is None else start or known != (attempt, claim)
        return Delta(id=entry, subtask=subtask, attempt=attempt, claim=claim, text=fields["text"], reset=reset)


class DeltaWriter:
    """Writes one text to the stream in the background. `begin` and `add` never wait, and never raise.

    If it is unknown whether a piece arrived, the text is sent again from its start, so no reader sees a gap or a
    repeat.
    """

    def __init__(self, connection: Connection, claim: Claim, subtask: str, attempt: int) -> None:
        self._connection, self._claim = connection, claim
        self._who = (subtask, attempt, claim.number)
        self._waiting: list[str] = []
        self._written: list[str] = []
        self._length = self._pending = self._entries = 0
        self._start, self._seen = True, False
        self._turn = 0
        self._news, self._hurry = asyncio.Event(), asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the rest within half a second. A cancelled writer stops at once."""
        self._closing = True
        self._news.set()
        self._hurry.set()
        task = self._task
        if task is None:
            return
        try:
            if not isinstance(error, asyncio.CancelledError):
                await asyncio.wait({task}, timeout=CLOSING)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def begin(self) -> None:
        """Start the text again; discard what was written of it."""
        self._waiting, self._written = [], []
        self._length = self._pending = 0
        self._start, self._turn = True, self._turn + 1
        self._news.set()

    def add(self, text: str) -> None:
        """Append to the text."""
        text = text[: MAX_SHOWN - self._length].encode("utf-8", "replace").decode()
        if not text:
            return
        self._waiting.append(text)
        self._length += len(text)
        self._pending += len(text)
        self._news.set()
        if self._pending >= PIECE:
            self._hurry.set()

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._pending or (self._start and self._seen):
                if not await self._entry():
                    return
            if self._closing:
                return

    async def _entry(self) -> bool:
        """Write one entry and wait until the next is due. False: the claim is no longer held."""
        turn, start, piece = self._turn, self._start, self._taken()
        try:
            answer = await self._connection.script(
                "delta", self._claim.id, self._claim.owner, *self._who, "1" if start else "", piece, KEPT
            )
        except BrokerError:
            self._again(turn, piece)
            await asyncio.sleep(AWAY)
            return True
        if answer == b"gone":
            return False
        self._seen = True
        self._entries += 1
        if turn == self._turn:
            self._start = False
            self._written.append(piece)
        await self._pause()
        return True

    def _taken(self) -> str:
        whole = "".join(self._waiting)
        piece, rest = whole[:PIECE], whole[PIECE:]
        self._waiting, self._pending = [rest] if rest else [], len(rest)
        if self._pending < PIECE and not self._closing:
            self._hurry.clear()
        return piece

    def _again(self, turn: int, piece: str) -> None:
        """Queue the whole text again, since it is unknown whether `piece` arrived."""
        if turn == self._turn:
            self._waiting = [*self._written, piece, *self._waiting]
            self._pending, self._written = self._length, []
            self._start = self._seen = True

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE * (1 + self._entries // SLOWER)):
                await self._hurry.wait()
