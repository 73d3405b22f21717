"""Ledger of model calls in Redis: reservations, settled costs, and the budgets of jobs, tenants and days.

Each call is reserved at its highest possible cost before it is made, and settled afterwards. One script per step books
it to the job, to the job's tenant on the day of its acceptance, and to that day. All amounts are micro-dollars.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from swarm.broker.clock import now_ms
from swarm.broker.connection import Connection
from swarm.broker.keys import TENANTS_KEPT
from swarm.broker.limiters import has_limiters
from swarm.broker.queue import Claim
from swarm.errors import BadInput, TooLarge
from swarm.settings import Settings
from swarm.types.result import Usage

DAY_MS = 86_400_000
MAX_WEIGHT = 100

Verdict = Literal["ok", "free", "full", "never", "unpriced", "gone", "broken", "dead", "paused"]
Health = Literal["", "up", "model", "endpoint"]
"""Health of a server as shown by a call: unknown, up, or the model or the endpoint is down."""


@dataclass(frozen=True)
class Reserved:
    """Result of a reservation request.

    `ok`: reserved within a budget. `free`: reserved; no budget applies. `full`: other reservations of `scope` are open,
    it may fit later. `never`: it exceeds what is `left` of `limit` even with none open. `unpriced`: a budget applies
    and the model has no price. `gone`: the claim is lost, or the job has ended. `broken`: the breaker of `scope` is
    open, for `left` milliseconds; `dead`: it has been open for so long that calls no longer wait for it. `paused`: the
    server of `scope` accepts no calls for `left` milliseconds.
    """

    verdict: Verdict
    scope: str = ""
    left: int = 0
    limit: int = 0
    why: str = ""
    """Error text of the last call before the breaker opened."""
    probe: bool = False
    """Whether this is the one call that probes a half-open breaker."""


@dataclass(frozen=True)
class Spent:
    """Ledger entries of one scope: a job, a tenant's day, or a day."""

    settled: int = 0
    presumed: int = 0
    open: int = 0
    """Reserved for running calls of jobs without a budget of their own."""
    earmarked: int = 0
    """Unspent part of the budgets of open jobs, set aside for them."""
    limit: int | None = None
    tokens: int = 0
    """Input and output tokens, as reported by servers or estimated. Not counted for a job: its usage has them."""

    def __bool__(self) -> bool:
        return bool(self.settled or self.presumed)

    @property
    def at_end(self) -> Spent:
        """The same for an ended job: what its child jobs still have open counts as presumed."""
        return replace(self, presumed=self.presumed + self.open, open=0)

    def onto(self, usage: Usage) -> Usage:
        """Return `usage` with the cost of this entry."""
        return usage.model_copy(update={"cost": self.settled, "presumed": self.presumed})


@dataclass(frozen=True)
class Tenant:
    """Settings of a tenant, and what its jobs of today have spent."""

    name: str
    weight: int = 1
    budget: int | None = None
    """Micro-dollars a day; None: the default of the settings."""
    today: Spent = Spent()


def micro(dollars: float | None) -> int | str:
    """Convert US dollars to micro-dollars, as an argument of scripts: '' for no limit."""
    return "" if dollars is None else math.floor(dollars * 1_000_000 + 0.5)


class Ledger:
    """Ledger of all jobs, tenants and days under one prefix."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection, self._keys = connection, connection.keys
        self._limits = micro(settings.tenant_budget), micro(settings.day_budget)
        self._refuses = "1" if settings.unpriced == "refuse" else ""

    async def reserve(
        self, claim: Claim, call: int, amount: int | None, *, model: str = "", seconds: float = 60.0
    ) -> Reserved:
        """Reserve the worst-case cost of a model call; None: its model has no price. Safe to repeat.

        `call` is its number among those of this claim; it takes `seconds` at most.
        """
        answer = await self._connection.script(
            "reserve", claim.id, claim.owner, _hold(claim, call), "" if amount is None else amount,
            *self._limits, self._refuses, _if_limited(model), round(seconds * 1000),
        )  # fmt: skip
        verdict, *facts = (item.decode() for item in answer)
        if verdict in ("ok", "free"):
            return Reserved(cast(Verdict, verdict), probe=bool(facts))
        scope, left, limit, why = facts + ["", "0", "0", ""][len(facts) :]
        return Reserved(cast(Verdict, verdict), scope, int(left), int(limit), why)

    async def settle(
        self,
        claim: Claim,
        call: int,
        amount: int | None,
        *,
        model: str = "",
        tokens: int = 0,
        limited: bool = False,
        pause: float = 0.0,
        health: Health = "",
        why: str = "",
    ) -> int | None:
        """Book the cost of a call; 0 returns the reservation, None (unknown) keeps all of it as presumed. Safe to
        repeat.

        `tokens`, `limited` (the server refused because of its limits), `pause` (seconds for which it accepts no calls)
        and `health`, with `why` as its error text, update the limiters of `model`. Returns the amount that was
        reserved; None if there was no reservation, or it is settled already.
        """
        held = await self._connection.script(
            "settle", claim.id, claim.owner, _hold(claim, call), "" if amount is None else amount,
            tokens, "1" if limited else "", round(pause * 1000), _if_limited(model), health, why,
        )  # fmt: skip
        return None if int(held) < 0 else int(held)

    # -- looking

    async def today(self) -> int:
        """Return the number of the current day (UTC) by the shared clock, as used in ledger keys."""
        return int(await now_ms(self._connection)) // DAY_MS

    async def day(self, day: int) -> Spent:
        """Return the spending of all jobs that were accepted on that day."""
        return spent(await self._connection.call("HMGET", self._keys.budget(f"day:{day}"), *FIELDS))

    # -- tenants

    async def tenants(self) -> list[Tenant]:
        """List tenants with settings of their own or with spending today, by name."""
        day = await self.today()
        given: dict[str, dict[str, int]] = {}
        raw = await self._connection.call("HGETALL", self._keys.tenants)
        for field, value in zip(raw[::2], raw[1::2], strict=True):
            name, _, what = field.decode().rpartition(":")
            given.setdefault(name, {})[what] = int(value)
        names = sorted({*given, *await self._spending(day)})
        books = await asyncio.gather(*(self._day_of(name, day) for name in names))
        return [
            Tenant(name, given.get(name, {}).get("weight", 1), given.get(name, {}).get("budget"), today)
            for name, today in zip(names, books, strict=True)
        ]

    async def keep_tenant(self, name: str, *, weight: int | None = None, budget: float | None = None) -> None:
        """Set a tenant's weight, its daily budget (US dollars), or both. TooLarge: too many tenants."""
        if weight is not None and not 1 <= weight <= MAX_WEIGHT:
            raise BadInput("weight", f"{weight}", f"give 1 to {MAX_WEIGHT}")
        fields = {"weight": "" if weight is None else weight, "budget": micro(budget)}
        given = [part for item in fields.items() if item[1] != "" for part in item]
        if await self._connection.script("keep_tenant", name, TENANTS_KEPT, *given) == b"full":
            raise TooLarge("tenants", TENANTS_KEPT + 1, TENANTS_KEPT, "tenants", "drop some: swarm tenants drop NAME")

    async def drop_tenant(self, name: str) -> bool:
        """Delete the settings of a tenant, so that the defaults apply; False if it had none."""
        fields = f"{name}:weight", f"{name}:budget"
        had = any(await self._connection.call("HMGET", self._keys.tenants, *fields))
        if had:
            await self._connection.script("keep_tenant", name, TENANTS_KEPT, "weight", "", "budget", "")
        return had

    async def _day_of(self, tenant: str, day: int) -> Spent:
        return spent(await self._connection.call("HMGET", self._keys.budget(f"tenant:{tenant}:{day}"), *FIELDS))

    async def _spending(self, day: int) -> set[str]:
        pattern = re.compile(re.escape(self._keys.budget("tenant:")) + rf"(.+):{day}")
        found: set[str] = set()
        cursor: Any = 0
        while True:
            cursor, page = await self._connection.call(
                "SCAN", cursor, "MATCH", self._keys.budget(f"tenant:*:{day}"), "COUNT", 1000
            )
            found |= {match[1] for key in page if (match := pattern.fullmatch(key.decode()))}
            if int(cursor) == 0:
                return found


FIELDS = ("settled", "presumed", "open", "earmarked", "limit", "tokens")
"""Fields of a ledger entry, in the order in which `spent` takes them."""


def spent(raw: Sequence[bytes | None]) -> Spent:
    """Parse the FIELDS of a ledger entry."""
    settled, presumed, open_now, earmarked = (int(item or 0) for item in raw[:4])
    return Spent(settled, presumed, open_now, earmarked, None if raw[4] is None else int(raw[4]), int(raw[5] or 0))


def _if_limited(model: str) -> str:
    return model if has_limiters(model) else ""


def _hold(claim: Claim, call: int) -> str:
    # the whole owner: a Redis that lost its last writes issues the same claim number again
    return f"{claim.owner}.{call}"
