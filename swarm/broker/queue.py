"""The queue: claims with leases, and what becomes of them. Delivery is at least once.

arq's job record is the form of a delivery's payload (`record`), so what travels is what arq's worker expects.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarm.broker.connection import Connection
from swarm.broker.keys import DEAD_KEPT

MAX_LOST = 3
"""Lost leases after which a delivery counts as poison."""


def record(function: str, *args: str) -> str:
    """arq's job record, as JSON: what function is called with what."""
    return json.dumps({"t": None, "f": function, "a": args, "k": {}, "et": int(time.time() * 1000)})


@dataclass(frozen=True)
class Claim:
    """A delivery that this worker holds until its lease ends. `owner` is `worker:claim_no`."""

    id: str
    queue: str
    owner: str
    record: bytes = b""
    extra: Any = field(default=None, compare=False, repr=False)
    """Raw state that the claim hands over: see `joblog.state` for `advance` and `joblog.planning` for `plan`."""

    @property
    def job(self) -> str:
        return self.id.partition(":")[0]

    @property
    def number(self) -> int:
        return int(self.owner.rpartition(":")[2])

    @property
    def key(self) -> str:
        """Unique among all claims: the same delivery may be claimed again."""
        return f"{self.id} {self.owner}"

    @property
    def args(self) -> tuple[str, str, str]:
        return self.id, self.queue, self.owner


class Queue:
    """Claims of one worker on the queues it serves. `lease` and `dead_retention` are seconds."""

    def __init__(
        self, connection: Connection, worker: str, *, lease: float = 1.5, dead_retention: float = 7 * 86_400.0
    ) -> None:
        self._connection, self.worker = connection, worker
        self._lease_ms, self._dead_ms = round(lease * 1000), round(dead_retention * 1000)

    async def claim(self, queues: Sequence[str], free: int) -> tuple[list[Claim], float | None]:
        """Up to `free` deliveries, and the seconds until the next falls due (None: nothing is due).

        Expired leases and due timers come back first; what is settled or ended is dropped.
        """
        due, raw = await self._connection.script(
            "claim", self.worker, self._lease_ms, free, MAX_LOST, DEAD_KEPT, self._dead_ms, *queues
        )
        claims = [
            Claim(id=item[0].decode(), queue=item[1].decode(), owner=item[2].decode(), record=item[3], extra=item[4])
            for item in raw
        ]
        return claims, None if int(due) < 0 else int(due) / 1000

    async def disown(self, queues: Sequence[str], known: Iterable[Claim]) -> int:
        """After a claim whose answer was lost: give back what it took. Answers how many that were."""
        owners = [claim.key for claim in known]
        return int(await self._connection.script("disown", self.worker, len(queues), *queues, *owners))

    async def renew(self, claims: Iterable[Claim], about: str = "") -> list[str]:
        """Extend the leases of `claims`; answers the ids that are no longer ours to run."""
        gone = await self._connection.script("renew", *self.renewal(claims, about))
        return [item.decode() for item in gone]

    def renewal(self, claims: Iterable[Claim], about: str) -> list[str | int]:
        """Arguments of the renew script; `about` is kept as what this worker says of itself."""
        return [self._lease_ms, self.worker, about, 4 * self._lease_ms, *(a for c in claims for a in c.args)]

    async def finish(
        self, claim: Claim, kind: str, data: str, *, body_key: str = "", body: str = "", solves: str = ""
    ) -> bool:
        """Store the body, log the event, ask for `advance` and acknowledge, in one step.

        False: the claim is not ours any more and nothing was written, or an earlier call of the same has done it.
        """
        answer = await self._connection.script("finish", *claim.args, kind, data, body_key, body, solves)
        return bool(answer == b"ok")

    async def hand_back(self, claims: Iterable[Claim], *, delay: float = 0.0, lost: bool = False) -> int:
        """Give claims back unfinished; with `lost` it counts as a lost lease and comes back after `delay` seconds."""
        args = [a for claim in claims for a in claim.args]
        if not args:
            return 0
        return int(await self._connection.script("hand_back", round(delay * 1000), "lost" if lost else "", *args))
