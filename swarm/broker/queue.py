"""Queue of deliveries: claims with leases, renewal, completion and return. Delivery is at least once.

The payload of a delivery (`record`) is an arq job record, so arq's worker can run it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic_core import to_json

from swarm.broker.clock import MeasuredClock
from swarm.broker.connection import Connection
from swarm.broker.keys import DEAD_KEPT
from swarm.broker.served_queues import ServedQueues
from swarm.settings import MAX_RESULTS

MAX_LOST = 3
"""Lost leases after which a delivery counts as poison."""

FINISHED_AT_ONCE = 64
"""Deliveries of one job that one call finishes, at most."""


def record(function: str, *args: str) -> str:
    """Return an arq job record as JSON: the function and its arguments."""
    return to_json({"t": None, "f": function, "a": args, "k": {}, "et": int(time.time() * 1000)}).decode()


@dataclass(frozen=True, slots=True)
class Wait:
    """Milliseconds from when a delivery was due until its claim, and how many of them a limiter held it back."""

    ms: int = 0
    limited_by: str = ""
    """The limiter that held it back longest; `budget:KIND` for a full budget."""
    limited_ms: int = 0


@dataclass(frozen=True)
class Claim:
    """A delivery that this worker holds until its lease expires.

    `owner` is `worker:number~nonce`; older versions wrote `worker:number`.
    """

    id: str
    queue: str
    owner: str
    record: bytes = b""
    extra: Any = field(default=None, compare=False, repr=False)
    """Raw state from the claim: `job_records.decode_state` for `advance`, `decode_planning` for `plan`."""
    wait: Wait = field(default=Wait(), compare=False, repr=False)

    @cached_property
    def job(self) -> str:
        return self.id.partition(":")[0]

    @property
    def number(self) -> int:
        return int(self.owner.rpartition(":")[2].partition("~")[0])

    @cached_property
    def key(self) -> str:
        """Key that is unique among all claims, also of one delivery."""
        return f"{self.id} {self.owner}"

    @property
    def args(self) -> tuple[str, str, str]:
        return self.id, self.queue, self.owner


class Queue:
    """Claims of one worker. `lease` and `dead_retention` are seconds."""

    def __init__(
        self,
        connection: Connection,
        worker: str,
        *,
        lease: float = 1.5,
        dead_retention: float = 7 * 86_400.0,
        max_results: int = MAX_RESULTS,
    ) -> None:
        self._connection, self.worker, self._most = connection, worker, max_results
        self._lease_ms, self._dead_ms = round(lease * 1000), round(dead_retention * 1000)
        self._measured = MeasuredClock()
        self._finishing: dict[str, tuple[list[tuple[str, ...]], asyncio.Task[list[bytes]]]] = {}
        """Job -> deliveries that finish in this iteration of the event loop, and the call that will write them."""

    async def claim(
        self,
        queues: Sequence[str] | ServedQueues,
        free: int,
        limiters: Mapping[str, str] | None = None,
        *,
        first: int = 0,
        also: str = "",
    ) -> tuple[list[Claim], float | None]:
        """Claim up to `free` deliveries; also return the seconds until the next is due (None: none is).

        Queues are visited in order, beginning with number `first`. Expired leases and due timers become ready first;
        deliveries of settled subtasks or ended jobs are dropped. A queue that one of its `limiters` (see limiters.py)
        holds back is passed over. Queues not recorded as holding deliveries are skipped, except for the queue `also`,
        or all with `*`: processes of an older version do not record them.
        """
        served = queues if isinstance(queues, ServedQueues) else ServedQueues(queues, limiters)
        due, raw, now = await self._connection.script(
            "claim",
            self.worker,
            self._lease_ms,
            free,
            MAX_LOST,
            DEAD_KEPT,
            self._dead_ms,
            self._measured.now(),
            also,
            served.place(first),
            served.text,
        )
        self._measured.heard(float(now))
        return [_claim(*item) for item in raw], None if int(due) < 0 else int(due) / 1000

    async def disown(self, queues: Sequence[str], known: Iterable[Claim]) -> int:
        """Return the deliveries of a claim whose reply was lost to their queues; return their number."""
        owners = [claim.key for claim in known]
        return int(await self._connection.script("disown", self.worker, len(queues), *queues, *owners))

    async def renew(self, claims: Iterable[Claim], about: str = "") -> list[str]:
        """Extend the leases of `claims`; return the ids of those that are lost or to be stopped."""
        return self.renewed(await self._connection.script("renew", *self.renewal(claims, about)))

    def renewal(self, claims: Iterable[Claim], about: str) -> list[str | int]:
        """Return the arguments of the renew script; `about` is stored as the description of this worker."""
        held = (a for c in claims for a in c.args)
        return [self._lease_ms, self.worker, self._measured.now(), about, 4 * self._lease_ms, *held]

    def renewed(self, answer: Any) -> list[str]:
        """Return the ids of lost or stopped claims from the reply of the renew script."""
        now, gone = answer
        self._measured.heard(float(now))
        return [item.decode() for item in gone]

    async def finish(
        self, claim: Claim, kind: str, data: str, *, body_key: str = "", body: str = "", solves: str = ""
    ) -> bool:
        """Store the body, log the event, request `advance` and acknowledge the delivery, atomically.

        False: the claim is lost and nothing was written, or an earlier identical call has written it. Deliveries of one
        job that finish in the same iteration of the event loop are written by one call of the script.
        """
        job = claim.job
        if job not in self._finishing:
            self._finishing[job] = [], asyncio.create_task(self._finish(job))
        together, writing = self._finishing[job]
        together.append((*claim.args, kind, data, body_key, body, solves))
        number = len(together) - 1
        # shielded: it also writes for others, so the cancellation of one caller must not stop it
        verdicts = await asyncio.shield(writing)
        return verdicts[number] == b"ok"

    async def _finish(self, job: str) -> list[bytes]:
        together, _ = self._finishing.pop(job)
        verdicts: list[bytes] = []
        for start in range(0, len(together), FINISHED_AT_ONCE):
            some = together[start : start + FINISHED_AT_ONCE]
            verdicts += await self._connection.script("finish", self._most, *(part for args in some for part in args))
        return verdicts

    async def hand_back(self, claims: Iterable[Claim], *, delay: float = 0.0, lost: bool = False, why: str = "") -> int:
        """Return claims unfinished. With `lost`, each counts as a lost lease and is ready again after `delay` seconds.

        `why` becomes the error of the dead letter, should there be one.
        """
        args = [a for claim in claims for a in claim.args]
        if not args:
            return 0
        answer = await self._connection.script("hand_back", round(delay * 1000), "lost" if lost else "", why, *args)
        return int(answer)

    def unused(self, claims: Iterable[Claim]) -> list[str | int]:
        """Return the arguments of the hand_back script for claims that were not begun."""
        return [0, "unused", "", *(a for claim in claims for a in claim.args)]

    async def moved(self, claim: Claim) -> bool:
        """Whether a claimed delivery is now queued or claimed elsewhere. False: this claim holds it, or it is done."""
        key = self._connection.keys.delivery(claim.id)
        owner, record = await self._connection.call("HMGET", key, "owner", "record")
        return record is not None and owner != claim.owner.encode()

    async def park(self, claim: Claim, scope: str, need: int) -> str:
        """Park a claim until `need` micro-dollars may fit the budget `scope`; it costs no attempt.

        Returns `parked`, `ready` (it fits by now, or never will: it is queued again), or `gone`.
        """
        return bytes(await self._connection.script("park", *claim.args, scope, need)).decode()


def _claim(
    name: bytes, queue: bytes, owner: bytes, record: bytes, extra: Any, waited: int, limited_by: bytes, limited_ms: int
) -> Claim:
    wait = Wait(waited, limited_by.decode(), limited_ms)
    return Claim(id=name.decode(), queue=queue.decode(), owner=owner.decode(), record=record, extra=extra, wait=wait)
