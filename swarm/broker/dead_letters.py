"""Dead letters: deliveries that lost their worker too often. Their subtask has failed; they are kept for inspection.

The list matches the letters: a letter that is dropped or has expired is no longer listed.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog
from swarm.broker.keys import DEAD_KEPT
from swarm.errors import BadInput, JobNotFound
from swarm.types.base import Value
from swarm.types.events import Accepted, AnyEvent, CancelAsked, Ended, Started, Tick
from swarm.types.request import Request

TRACE = 50
"""Number of the job's last events that are shown with a letter."""
MOST_TOLD = 2_000
_LISTED = ("queue", "reason", "tenant", "error", "lost", "at", "losses", "retried")


class LostClaim(Value):
    """A claim whose worker was lost or gave it up."""

    worker: str
    claim: int
    lost_at: int
    started_at: int = 0
    """0: unknown, as for deliveries of the router pool."""


class DeadLetter(Value):
    """A delivery that was given up. `id` is the delivery's: `job:subtask:attempt`, or `job:plan` and the like."""

    id: str
    job: str
    tenant: str
    queue: str
    reason: str
    error: str = ""
    """Type and message of the last error; empty if its workers died."""
    tries: int = 0
    at: int
    holders: tuple[LostClaim, ...] = ()
    record: str = ""
    """The payload of the delivery."""
    retried: str = ""
    """Id of the job that a retry has submitted."""
    trace: tuple[dict[str, Any], ...] = ()
    """Events of the job's log about it, if the log is still kept."""

    @property
    def subtask(self) -> str:
        """Subtask of the delivery; empty for one of the router pool."""
        parts = self.id.split(":")
        return parts[1] if len(parts) == 3 and self.queue.startswith("run:") else ""

    @property
    def again(self) -> str:
        """Id of the job that a retry submits. All letters of a job share it, so its request is paid for once."""
        return "retry-" + hashlib.sha256(self.job.encode()).hexdigest()[:24]


class DeadLetters:
    """Dead letters under one prefix."""

    def __init__(self, connection: Connection, log: JobLog) -> None:
        self._connection, self._keys, self._log = connection, connection.keys, log

    async def all(self) -> list[DeadLetter]:
        """List all letters, newest first, without trace and payload, which may be large."""
        entries = await self._connection.call("XREVRANGE", self._keys.dead, "+", "-", "COUNT", DEAD_KEPT)
        found = await asyncio.gather(*(self._read(fields[1].decode(), _LISTED) for _, fields in entries))
        return [letter for letter in found if letter is not None]

    async def letter(self, name: str) -> DeadLetter:
        """Return one letter with its trace. Raises BadInput if it does not exist."""
        found = await self._found(name)
        try:
            log = await self._log.history(found.job)
        except JobNotFound:
            return found
        about = [event for event in log if _is_about(event, found)][-TRACE:]
        starts = {e.claim: e.at for e in about if isinstance(e, Started) and found.id.endswith(f":{e.attempt}")}
        holders = (each.model_copy(update={"started_at": starts.get(each.claim, 0)}) for each in found.holders)
        trace = tuple(event.model_dump(mode="json", exclude_defaults=True) | {"type": event.type} for event in about)
        return found.model_copy(update={"trace": trace, "holders": tuple(holders)})

    async def request(self, name: str) -> tuple[DeadLetter, Request]:
        """Return a letter and the request of its job. Raises BadInput if one of them is no longer kept."""
        found = await self._found(name)
        try:
            return found, await self._log.request(found.job)
        except JobNotFound:
            remedy = f"submit it again from where it came, and then: swarm dead drop {name}"
            raise BadInput("letter", f"the request of job {found.job} is no longer kept", remedy) from None

    async def mark(self, name: str, job: str) -> None:
        """Record the id of the job that a retry of this letter submitted."""
        await self._connection.script("mark_dead", name, job)

    async def drop(self, name: str) -> bool:
        """Delete a letter; False if there was none."""
        return bool(await self._connection.script("drop_dead", name))

    async def _found(self, name: str) -> DeadLetter:
        letter = await self._read(name, (*_LISTED, "record"))
        if letter is None:
            raise BadInput("letter", f"no dead letter {name[:200]!r}", "see: swarm dead list")
        return letter

    async def _read(self, name: str, names: Sequence[str]) -> DeadLetter | None:
        raw = await self._connection.call("HMGET", self._keys.letter(name), *names)
        fields = {key: value.decode() for key, value in zip(names, raw, strict=True) if value is not None}
        if "queue" not in fields:
            return None
        return DeadLetter(
            id=name,
            job=name.partition(":")[0],
            tenant=fields.get("tenant", ""),
            queue=fields["queue"],
            reason=fields["reason"],
            error=fields.get("error", "")[:MOST_TOLD],
            tries=int(fields["lost"]),
            at=int(fields["at"]),
            holders=tuple(_holders(fields.get("losses", "").splitlines())),
            record=fields.get("record", ""),
            retried=fields.get("retried", ""),
        )


def _holders(lines: Iterable[str]) -> Iterable[LostClaim]:
    """Parse lines such as `worker:2~NONCE 1732150000123`; older versions wrote no nonce."""
    for line in lines:
        if match := re.fullmatch(r"(.*):(\d+)(?:~\d+)? (\d+)", line):
            yield LostClaim(worker=match[1], claim=int(match[2]), lost_at=int(match[3]))


def _is_about(event: AnyEvent, letter: DeadLetter) -> bool:
    """Whether an event concerns a letter: for a subtask, its own events and the job's; else those of no subtask."""
    about = getattr(event, "subtask", "")
    if letter.subtask:
        return about == letter.subtask or isinstance(event, Accepted | Tick | CancelAsked | Ended)
    return not about
