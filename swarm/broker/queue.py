"""The queue: claims with leases, and what becomes of them. Delivery is at least once.

arq's job record is the form of a delivery's payload (`record`), so what travels is what arq's worker expects.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic_core import to_json

from swarm.broker.clock import Measured
from swarm.broker.connection import Connection
from swarm.broker.keys import DEAD_KEPT
from swarm.broker.served_queues import Served
from swarm.settings import MAX_RESULTS

MAX_LOST = 3
"""Lost leases after which a delivery counts as poison."""

FINISHED_AT_ONCE = 64
"""Deliveries of one job that one call writes at most."""


def record(function: str, *args: str) -> str:
    """arq's job record, as JSON: what function is called with what."""
    return to_json({"t": None, "f": function, "a": args, "k": {}, "et": int(time.time() * 1000)}).decode()


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a delivery was due before it was claimed, in milliseconds, and how much of that a gate held it up."""

    ms: int = 0
    gate: str = ""
    """Of those that did, the one that held it up longest; `budget:KIND` for a budget without room."""
    gated: int = 0


@dataclass(frozen=True)
class Claim:
    """A delivery that this worker holds until its lease ends.

    `owner` is `worker:number~nonce`, of an older version `worker:number`.
    """

    id: str
    queue: str
    owner: str
    record: bytes = b""
    extra: Any = field(default=None, compare=False, repr=False)
    """Raw state that the claim hands over: see `joblog.state` for `advance` and `joblog.planning` for `plan`."""
    wait: Wait = field(default=Wait(), compare=False, repr=False)

    @cached_property
    def job(self) -> str:
        return self.id.partition(":")[0]

    @property
    def number(self) -> int:
        return int(self.owner.rpartition(":")[2].partition("~")[0])

    @cached_property
    def key(self) -> str:
        """Unique among all claims: the same delivery may be claimed again."""
        return f"{self.id} {self.owner}"

    @property
    def args(self) -> tuple[str, str, str]:
        return self.id, self.queue, self.owner


class Queue:
    """Claims of one worker on the queues it serves. `lease` and `dead_retention` are seconds."""

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
        self._measured = Measured()
        self._finishing: dict[str, tuple[list[tuple[str, ...]], asyncio.Task[list[bytes]]]] = {}
        """Job -> what of it finishes in this turn of the event loop, and the call that will write it."""

    async def claim(
        self,
        queues: Sequence[str] | Served,
        free: int,
        gates: Mapping[str, str] | None = None,
        *,
        first: int = 0,
        also: str = "",
    ) -> tuple[list[Claim], float | None]:
        """Up to `free` deliveries, and the seconds until the next falls due (None: nothing is due).

        They are taken from one queue after the other, from the one with the number `first` on.

        Expired leases and due timers come back first; what is settled or ended is dropped. A queue that one of its
        `gates` (see limiters.py) holds up is passed over. Queues not noted to hold deliveries are skipped, except
        for the queue `also`, or all with `*`: processes of an older version make no such notes.
        """
        served = queues if isinstance(queues, Served) else Served(queues, gates)
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
        """After a claim whose answer was lost: give back what it took. Answers how many that were."""
        owners = [claim.key for claim in known]
        return int(await self._connection.script("disown", self.worker, len(queues), *queues, *owners))

    async def renew(self, claims: Iterable[Claim], about: str = "") -> list[str]:
        """Extend the leases of `claims`; answers the ids that are no longer ours to run."""
        return self.renewed(await self._connection.script("renew", *self.renewal(claims, about)))

    def renewal(self, claims: Iterable[Claim], about: str) -> list[str | int]:
        """Arguments of the renew script; `about` is kept as what this worker says of itself."""
        held = (a for c in claims for a in c.args)
        return [self._lease_ms, self.worker, self._measured.now(), about, 4 * self._lease_ms, *held]

    def renewed(self, answer: Any) -> list[str]:
        """The ids that are no longer ours to run, out of what the renew script answered."""
        now, gone = answer
        self._measured.heard(float(now))
        return [item.decode() for item in gone]

    async def finish(
        self, claim: Claim, kind: str, data: str, *, body_key: str = "", body: str = "", solves: str = ""
    ) -> bool:
        """Store the body, log the event, ask for `advance` and acknowledge, in one step.

        False: the claim is not ours any more and nothing was written, or an earlier call of the same has done it.
        What finishes of one job in the same turn of the event loop is written by one call of the script.
        """
        job = claim.job
        if job not in self._finishing:
            self._finishing[job] = [], asyncio.create_task(self._finish(job))
        together, writing = self._finishing[job]
        together.append((*claim.args, kind, data, body_key, body, solves))
        number = len(together) - 1
        # the others' call, too: who stops waiting does not stop it
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
        """Give claims back unfinished; with `lost` it counts as a lost lease and comes back after `delay` seconds.

        `why` it was lost stands in the dead letter, should it become one.
        """
        args = [a for claim in claims for a in claim.args]
        if not args:
            return 0
        answer = await self._connection.script("hand_back", round(delay * 1000), "lost" if lost else "", why, *args)
        return int(answer)

    def unused(self, claims: Iterable[Claim]) -> list[str | int]:
        """Arguments of the hand_back script for claims with which nothing was begun."""
        return [0, "unused", "", *(a for claim in claims for a in claim.args)]

    async def moved(self, claim: Claim) -> bool:
        """Whether a delivery that was claimed waits or runs elsewhere by now. False: held by this claim, or over."""
        key = self._connection.keys.delivery(claim.id)
        owner, record = await self._connection.call("HMGET", key, "owner", "record")
        return record is not None and owner != claim.owner.encode()

    async def park(self, claim: Claim, scope: str, need: int) -> str:
        """Put a claim aside until `need` micro-dollars may fit the budget `scope`, without burning a try.

        Answers `parked`, `ready` (there is room by now, or there will be none: it is queued again), or `gone`.
        """
        return bytes(await self._connection.script("park", *claim.args, scope, need)).decode()


def _claim(
    name: bytes, queue: bytes, owner: bytes, record: bytes, extra: Any, waited: int, gate: bytes, gated: int
) -> Claim:
    wait = Wait(waited, gate.decode(), gated)
    return Claim(id=name.decode(), queue=queue.decode(), owner=owner.decode(), record=record, extra=extra, wait=wait)
