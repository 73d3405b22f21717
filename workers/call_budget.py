"""Who pays for a delivery's model calls: its job, its tenant and the day, by the books in Redis."""

from __future__ import annotations

import asyncio
import time
from contextvars import Token
from dataclasses import dataclass
from functools import partial
from itertools import count
from types import TracebackType
from typing import Self

from swarm import logging as events
from swarm.broker.ledger import Ledger, Reserved
from swarm.broker.price_table import PriceTable
from swarm.broker.queue import Claim
from swarm.errors import ModelUnavailable, NoRoom, Unaffordable, Unpriced
from swarm.llm.metered import ACCOUNT, BudgetAccount, CallOutcome, Reservation
from swarm.router.planning import RetryWhileDown
from swarm.settings import Settings
from swarm.types.price import Price
from swarm.types.result import Usage
from swarm.types.sampling import Cap, setting_of

RUN_AHEAD = 32
"""Tokens beyond its cap that are held for an answer: what a server that ignores the cap may write before it notices
that it was hung up on. At 200 a second it has 160 ms for that."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two looks for room, in a delivery that cannot be put aside."""

NOTHING = Usage()

_log = events.get_logger("accounts")


@dataclass(frozen=True)
class Accounts:
    """Opens an account for each delivery."""

    ledger: Ledger
    prices: PriceTable
    max_output: int

    @classmethod
    def of(cls, ledger: Ledger, prices: PriceTable, settings: Settings) -> Accounts:
        return cls(ledger, prices, settings.max_output)

    def paying(self, claim: Claim, retry_while_down: RetryWhileDown, *, parks: bool = False) -> DeliveryAccount:
        """The account of the calls made inside its block."""
        return DeliveryAccount(self, claim, retry_while_down, parks=parks)


class DeliveryAccount:
    """Pays for the calls of one claim, as an async context manager; at its end all that was settled is in the books.

    What is still held when the claim ends is presumed, by the script that ends it.
    With `parks` a first call that finds no room raises NoRoom, so that the delivery is put aside, and so does every
    call after it; without, and after a first call, there is nothing to do but wait.
    """

    def __init__(self, accounts: Accounts, claim: Claim, retry_while_down: RetryWhileDown, *, parks: bool) -> None:
        self._ledger, self._prices, self._max_output = accounts.ledger, accounts.prices, accounts.max_output
        self._claim, self._retry_while_down, self._parks = claim, retry_while_down, parks
        self.no_room: NoRoom | None = None
        self._numbers = count(1)
        self._calls = 0
        self._open: dict[int, tuple[Reservation, Price | None]] = {}
        self._booking: set[asyncio.Task[int | None]] = set()
        self._used = NOTHING
        self._before: Token[BudgetAccount | None] | None = None

    async def __aenter__(self) -> Self:
        self._before = ACCOUNT.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            ACCOUNT.reset(self._before)
        if error is None:
            await self.booked()

    @property
    def called(self) -> bool:
        """Whether a model was asked."""
        return self._calls > 0

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        self._goes_on()
        until = time.monotonic() + seconds
        await self.booked()
        price = await self._retry_while_down(lambda: self._prices.price(model))
        cap = wanted or most_written(model, price, self._max_output)
        amount = None if price is None else price.greatest(sent, cap + RUN_AHEAD)
        number, pause = next(self._numbers), FIRST_PAUSE
        while True:
            left = max(0.0, until - time.monotonic())
            found = await self._retry_while_down(partial(self._reserved, number, amount, model, left))
            if found.verdict in ("ok", "free"):
                break
            if found.verdict != "full":
                raise _refusal(found, model, amount or 0, cap)
            if self._parks and not self._calls:
                self.no_room = NoRoom(found.scope, amount or 0)
                raise self.no_room
            if time.monotonic() + pause > until:
                waited = f"{model}: a call may cost {_dollars(amount or 0)}, and {seconds:.3g} s brought no room for it"
                raise Unaffordable(f"{waited} in {_named(found.scope)}; raise the limit, or let fewer run at once")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._calls += 1
        held = Reservation(number, model, cap if found.verdict == "ok" else None, amount or 0, found.probe)
        self._open[number] = held, price
        try:
            self._goes_on()  # another call may have found no room meanwhile
        except NoRoom:
            self.settle(held, CallOutcome("nothing"))
            raise
        return held

    def _goes_on(self) -> None:
        """Raises NoRoom if this delivery is to be put aside."""
        if self.no_room is not None:
            raise self.no_room

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        if held.number not in self._open:
            return Usage()
        if used.left:
            self._used += used.counted
            return Usage(presumed=held.amount)
        held, price = self._open.pop(held.number)
        cost = {"told": _cost(price, used), "nothing": 0, "unknown": None}[used.billed]
        if cost is not None and held.cap is not None and cost > held.amount:
            _log.warning(events.OVERSHOT, delivery=self._claim.id, model=held.model, held=held.amount, cost=cost)
        booking = asyncio.ensure_future(self._retry_while_down(lambda: self._settled(held, cost, used)))
        self._booking.add(booking)
        booking.add_done_callback(self._booking.discard)
        paid = Usage(presumed=held.amount) if cost is None else Usage(cost=cost)
        self._used += used.counted + paid
        return paid

    async def booked(self) -> None:
        """Wait until all that was settled is in the books."""
        while self._booking:
            await asyncio.gather(*self._booking)

    def onto(self, usage: Usage) -> Usage:
        """What all calls used and cost, which is counted here alone; `usage` as it is if there was none."""
        if not self.called:
            return usage
        unknown = self._used.presumed + sum(held.amount for held, _ in self._open.values())
        return self._used.model_copy(update={"presumed": unknown})

    async def _reserved(self, number: int, amount: int | None, model: str, seconds: float) -> Reserved:
        return await self._ledger.reserve(self._claim, number, amount, model=model, seconds=seconds)

    async def _settled(self, held: Reservation, cost: int | None, used: CallOutcome) -> int | None:
        return await self._ledger.settle(
            self._claim,
            held.number,
            cost,
            model=held.model,
            tokens=used.sent + used.received,
            limited=used.limited,
            pause=used.pause,
            health="up" if used.answered else used.down,
            why=used.why,
        )


def most_written(model: str, price: Price | None, most: int) -> Cap:
    """Tokens that an answer may have where neither card nor endpoint nor a default says: `most`, or its price's."""
    if price is not None and price.max_output and price.max_output < most:
        return Cap(price.max_output, f"the most of its price (swarm prices set {model} --max-output)")
    return Cap(most, "SWARM_MAX_OUTPUT")


def _cost(price: Price | None, used: CallOutcome) -> int:
    return 0 if price is None else price.cost(used.sent, used.received, used.cached)


def _refusal(found: Reserved, model: str, amount: int, cap: int) -> Unaffordable | Unpriced | ModelUnavailable:
    if found.verdict == "unpriced":
        remedy = (
            "run swarm prices import FILE or swarm prices set, or set SWARM_UNPRICED=count for the workers and routers"
        )
        return Unpriced(f"{model} has no price, and a budget holds; {remedy}")
    if found.verdict == "gone":
        gone = ModelUnavailable(f"{model} was not asked: this delivery is no longer wanted here")
        gone.billed = "nothing"
        return gone
    if found.verdict in ("broken", "dead", "paused"):
        return _unasked(found, model)
    left = f"{_dollars(found.left)} of {_dollars(found.limit)} are left"
    dear = f"{model}: a call may cost {_dollars(amount)}, and {left} in {_named(found.scope)}"
    return Unaffordable(f"{dear}; raise it" + (f", or lower {setting_of(cap)}" if found.left > 0 else ""))


def _unasked(found: Reserved, model: str) -> ModelUnavailable:
    kind, _, name = found.scope.partition(":")
    dead, seconds = found.verdict == "dead", found.left / 1000
    again = f"it is tried again in {seconds:.3g} s"
    last = f", the last one with: {found.why}" if found.why else ""
    why = {
        "broken": f"the {kind} {name} has failed every call of late{last}; {again}; check its server (swarm stats)",
        "dead": f"the {kind} {name} has failed every call for minutes{last}; {again}; check its server, then ask again",
        "paused": f"its server wants no calls for another {seconds:.3g} s",
    }[found.verdict]
    after = None if dead else seconds
    error = ModelUnavailable(f"{model} was not asked: {why}", retryable=not dead, retry_after=after)
    error.limited, error.broken, error.billed = not dead, found.verdict != "paused", "nothing"
    return error


def _named(scope: str) -> str:
    """A scope in words."""
    kind, _, rest = scope.partition(":")
    return {"job": "the job's budget", "day": "the day's budget"}.get(
        kind, f"the day's budget of {rest.rpartition(':')[0]}"
    )


def _dollars(micro: int) -> str:
    return f"${micro / 1_000_000:.6f}".rstrip("0").rstrip(".")
