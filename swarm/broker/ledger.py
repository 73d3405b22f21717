"""Money in Redis: what is reserved for model calls, what they came to, and what jobs, tenants and days may spend.

Every call is reserved for before it is made, at the most it can cost, and settled afterwards; the scripts keep the
books of the job, of its tenant on the day of its acceptance, and of that day, in one step each. All amounts are
micro-dollars.
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
"""What a call says of its server: nothing, that it answers, or which of the two is down."""


@dataclass(frozen=True)
class Reserved:
    """What a reservation came to.

    `ok`: held, and a limit holds. `free`: held, without a limit. `full`: others of `scope` are open, it may fit later.
    `never`: with none open it would not fit what is `left` of `limit`. `unpriced`: a limit holds and the model has no
    price. `gone`: the claim is not held any more, or the job has ended. `broken`: the breaker of the gate `scope` is
    open, for `left` milliseconds; `dead`: it has been for so long that nobody waits for it. `paused`: the server of
    the gate `scope` wants no calls for `left` milliseconds.
    """

    verdict: Verdict
    scope: str = ""
    left: int = 0
    limit: int = 0
    why: str = ""
    """What the last call of a broken gate said."""
    probe: bool = False
    """It is held, for the one call that is to try out what was broken."""


@dataclass(frozen=True)
class Spent:
    """What stands in the books of one scope: a job, a tenant's day or a day."""

    settled: int = 0
    presumed: int = 0
    open: int = 0
    """Held for calls under way, of jobs without a budget of their own."""
    earmarked: int = 0
    """Set aside for jobs that have a budget and have not ended, as far as they have not spent it."""
    limit: int | None = None
    tokens: int = 0
    """Sent and received, as servers told or as estimated. Not counted for a job, whose usage has them."""

    def __bool__(self) -> bool:
        return bool(self.settled or self.presumed)

    @property
    def at_end(self) -> Spent:
        """The same of a job that has ended: what is still open, of jobs below it, may cost as much."""
        return replace(self, presumed=self.presumed + self.open, open=0)

    def onto(self, usage: Usage) -> Usage:
        """`usage` with the cost as it stands here."""
        return usage.model_copy(update={"cost": self.settled, "presumed": self.presumed})


@dataclass(frozen=True)
class Tenant:
    """A tenant, as set, and what its jobs of today have spent."""

    name: str
    weight: int = 1
    budget: int | None = None
    """Micro-dollars a day; None: as the settings say."""
    today: Spent = Spent()


def micro(dollars: float | None) -> int | str:
    """US dollars as micro-dollars, as scripts take them: '' for no limit."""
    return "" if dollars is None else math.floor(dollars * 1_000_000 + 0.5)


class Ledger:
    """The books under one prefix."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection, self._keys = connection, connection.keys
        self._limits = micro(settings.tenant_budget), micro(settings.day_budget)
        self._refuses = "1" if settings.unpriced == "refuse" else ""

    async def reserve(
        self, claim: Claim, call: int, amount: int | None, *, model: str = "", seconds: float = 60.0
    ) -> Reserved:
        """Hold the most that a call may cost; None: its model has no price. May be repeated.

        `call` is its number among those of this claim; it takes `seconds` at most.
        """
        answer = await self._connection.script(
            "reserve", claim.id, claim.owner, _hold(claim, call), "" if amount is None else amount,
            *self._limits, self._refuses, _gated(model), round(seconds * 1000),
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
        """Book what a call came to; 0 gives all back, None keeps all that was held as presumed. May be repeated.

        `tokens`, `limited` (the server said: too much), `pause` (seconds for which it wants to be left alone) and
        `health`, with `why` in words, are for the gates of `model`. Answers what had been held, None if nothing was, or
        is any more.
        """
        held = await self._connection.script(
            "settle", claim.id, claim.owner, _hold(claim, call), "" if amount is None else amount,
            tokens, "1" if limited else "", round(pause * 1000), _gated(model), health, why,
        )  # fmt: skip
        return None if int(held) < 0 else int(held)

    # -- looking

    async def today(self) -> int:
        """The number of the day (UTC) by the swarm's clock, as the books name it."""
        return int(await now_ms(self._connection)) // DAY_MS

    async def day(self, day: int) -> Spent:
        """All that jobs accepted on that day have spent."""
        return spent(await self._connection.call("HMGET", self._keys.budget(f"day:{day}"), *FIELDS))

    # -- tenants

    async def tenants(self) -> list[Tenant]:
        """Those that have something set, and those that spent something today, by name."""
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
        """Set a tenant's weight, its budget for a day (US dollars), or both. TooLarge when there are too many."""
        if weight is not None and not 1 <= weight <= MAX_WEIGHT:
            raise BadInput("weight", f"{weight}", f"give 1 to {MAX_WEIGHT}")
        fields = {"weight": "" if weight is None else weight, "budget": micro(budget)}
        given = [part for item in fields.items() if item[1] != "" for part in item]
        if await self._connection.script("keep_tenant", name, TENANTS_KEPT, *given) == b"full":
            raise TooLarge("tenants", TENANTS_KEPT + 1, TENANTS_KEPT, "tenants", "drop some: swarm tenants drop NAME")

    async def drop_tenant(self, name: str) -> bool:
        """Take away what was set for a tenant; it then has what the settings give. False if there was nothing."""
        fields = f"{name}:weight", f"{name}:budget"
        had = any(await self._connection.call("HMGET", self._keys.tenants, *fields))
        if had:
            await self._connection.script("keep_tenant", name, TENANTS_KEPT, "weight", "", "budget", "")
        return had

    async def _day_of(self, tenant: str, day: int) -> Spent:
        return spent(await self._connection.call("HMGET", self._keys.budget(f"tenant:{tenant}:{day}"), *FIELDS))

    async def _spending(self, day: int) -> set[str]:
        form = re.compile(re.escape(self._keys.budget("tenant:")) + rf"(.+):{day}")
        found: set[str] = set()
        cursor: Any = 0
        while True:
            cursor, page = await self._connection.call(
                "SCAN", cursor, "MATCH", self._keys.budget(f"tenant:*:{day}"), "COUNT", 1000
            )
            found |= {match[1] for key in page if (match := form.fullmatch(key.decode()))}
            if int(cursor) == 0:
                return found


FIELDS = ("settled", "presumed", "open", "earmarked", "limit", "tokens")
"""Of a scope's books, in the order in which `spent` takes them."""


def spent(raw: Sequence[bytes | None]) -> Spent:
    """The books of a scope, out of its FIELDS."""
    settled, presumed, open_now, earmarked = (int(item or 0) for item in raw[:4])
    return Spent(settled, presumed, open_now, earmarked, None if raw[4] is None else int(raw[4]), int(raw[5] or 0))


def _gated(model: str) -> str:
    return model if has_limiters(model) else ""


def _hold(claim: Claim, call: int) -> str:
    # the whole owner: a Redis that lost its last writes gives the same number again
    return f"{claim.owner}.{call}"
