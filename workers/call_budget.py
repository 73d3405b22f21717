"""Charge the model calls of a delivery to the budgets of its job, its tenant and the day, in the ledger in Redis."""

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
from swarm.errors import CallFacts, ModelUnavailable, NoRoom, Unaffordable, Unpriced
from swarm.llm.metered import ACCOUNT, BudgetAccount, CallOutcome, Reservation
from swarm.router.planning import RetryWhileDown
from swarm.settings import Settings
from swarm.types.price import Price
from swarm.types.result import Usage
from swarm.types.sampling import Cap, setting_of

RUN_AHEAD = 32
"""Tokens reserved beyond an answer's cap, for a server that ignores the cap: it may write so many before it notices
that the connection was closed. At 200 tokens a second it has 160 ms for that."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two tries to reserve, in a delivery that cannot be parked."""

NOTHING = Usage()

_log = events.get_logger("accounts")


@dataclass(frozen=True)
class Accounts:
    """Opens a DeliveryAccount for each delivery."""

    ledger: Ledger
    prices: PriceTable
    max_output: int

    @classmethod
    def of(cls, ledger: Ledger, prices: PriceTable, settings: Settings) -> Accounts:
        return cls(ledger, prices, settings.max_output)

    def paying(self, claim: Claim, retry_while_down: RetryWhileDown, *, parks: bool = False) -> DeliveryAccount:
        """An account that pays for the model calls made inside its `async with` block."""
        return DeliveryAccount(self, claim, retry_while_down, parks=parks)


class DeliveryAccount:
    """Pays for the model calls of one claim. An async context manager; at its end all settled costs are in the ledger.

    The script that ends the claim charges reservations still open then as presumed cost.
    With `parks`, a first call that finds no room in a budget raises NoRoom, so that the delivery is parked, and so does
    every call after it. Without `parks`, and after a first call, a call waits for room.
    """

    def __init__(self, accounts: Accounts, claim: Claim, retry_while_down: RetryWhileDown, *, parks: bool) -> None:
        self._ledger, self._prices, self._max_output = accounts.ledger, accounts.prices, accounts.max_output
        self._claim, self._retry_while_down, self._parks = claim, retry_while_down, parks
        self.no_room: NoRoom | None = None
        self._numbers = count(1)
        self._calls = 0
        self._open: dict[int, tuple[Reservation, Price | None]] = {}
        self._writes: set[asyncio.Task[int | None]] = set()
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
            await self.written()

    @property
    def called(self) -> bool:
        """Whether a model was called."""
        return self._calls > 0

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        """Reserve the worst-case cost of a call; wait for room at most `seconds`.

        Raises NoRoom, Unaffordable, Unpriced, or ModelUnavailable for a model whose breaker is open.
        """
        self._require_room()
        until = time.monotonic() + seconds
        await self.written()
        price = await self._retry_while_down(lambda: self._prices.price(model))
        cap = wanted or largest_answer(model, price, self._max_output)
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
                waited = (
                    f"{model}: a call may cost {_dollars(amount or 0)}, and in {seconds:.3g} s no room for it came up"
                )
                raise Unaffordable(f"{waited} in {_named(found.scope)}; raise the limit, or run fewer jobs at once")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._calls += 1
        held = Reservation(number, model, cap if found.verdict == "ok" else None, amount or 0, found.probe)
        self._open[number] = held, price
        try:
            self._require_room()  # another call may have found no room meanwhile
        except NoRoom:
            self.settle(held, CallOutcome("nothing"))
            raise
        return held

    def _require_room(self) -> None:
        """Raises NoRoom if a call of this delivery found no room, so that it is parked."""
        if self.no_room is not None:
            raise self.no_room

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        """Replace a reservation with the call's cost, in the background; return the usage that this adds.

        A call of unknown cost keeps its reservation as presumed cost. Settling twice adds nothing.
        """
        if held.number not in self._open:
            return Usage()
        if used.left:
            self._used += used.counted
            return Usage(presumed=held.amount)
        held, price = self._open.pop(held.number)
        cost = {"reported": _cost(price, used), "nothing": 0, "unknown": None}[used.billed]
        if cost is not None and held.cap is not None and cost > held.amount:
            _log.warning(events.OVERSHOT, delivery=self._claim.id, model=held.model, held=held.amount, cost=cost)
        write = asyncio.ensure_future(self._retry_while_down(lambda: self._settled(held, cost, used)))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        paid = Usage(presumed=held.amount) if cost is None else Usage(cost=cost)
        self._used += used.counted + paid
        return paid

    async def written(self) -> None:
        """Wait until all settled costs are in the ledger."""
        while self._writes:
            await asyncio.gather(*self._writes)

    def onto(self, usage: Usage) -> Usage:
        """Usage of all calls of this delivery as counted here; `usage` unchanged if it made no call."""
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


def largest_answer(model: str, price: Price | None, max_output: int) -> Cap:
    """Most tokens of an answer whose card and endpoint set no cap: `max_output`, or that of its price if smaller."""
    if price is not None and price.max_output and price.max_output < max_output:
        return Cap(price.max_output, f"the max_output of its price (swarm prices set {model} --max-output)")
    return Cap(max_output, "SWARM_MAX_OUTPUT")


def _cost(price: Price | None, used: CallOutcome) -> int:
    return 0 if price is None else price.cost(used.sent, used.received, used.cached)


def _refusal(found: Reserved, model: str, amount: int, cap: int) -> Unaffordable | Unpriced | ModelUnavailable:
    if found.verdict == "unpriced":
        remedy = (
            "run swarm prices import FILE or swarm prices set, or set SWARM_UNPRICED=count for the workers and routers"
        )
        return Unpriced(f"{model} has no price, and a budget holds; {remedy}")
    if found.verdict == "gone":
        gone = f"{model} was not asked: this delivery was stopped, or another worker has it"
        return ModelUnavailable(gone, call=CallFacts("nothing", elsewhere=True))
    if found.verdict in ("broken", "dead", "paused"):
        return _not_called(found, model)
    left = f"{_dollars(found.left)} of {_dollars(found.limit)} are left"
    too_dear = f"{model}: a call may cost {_dollars(amount)}, and {left} in {_named(found.scope)}"
    return Unaffordable(f"{too_dear}; raise it" + (f", or lower {setting_of(cap)}" if found.left > 0 else ""))


def _not_called(found: Reserved, model: str) -> ModelUnavailable:
    kind, _, name = found.scope.partition(":")
    dead, seconds = found.verdict == "dead", found.left / 1000
    again = f"it is tried again in {seconds:.3g} s"
    last = f", the last one with: {found.why}" if found.why else ""
    why = {
        "broken": f"the {kind} {name} has failed every call of late{last}; {again}; check its server (swarm stats)",
        "dead": f"the {kind} {name} has failed every call for minutes{last}; {again}; check its server, then ask again",
        "paused": f"its server accepts no calls for another {seconds:.3g} s",
    }[found.verdict]
    after = None if dead else seconds
    call = CallFacts("nothing", limited=not dead, breaker_open=found.verdict != "paused", elsewhere=True)
    return ModelUnavailable(f"{model} was not asked: {why}", retryable=not dead, retry_after=after, call=call)


def _named(scope: str) -> str:
    """Words for a budget's scope."""
    kind, _, rest = scope.partition(":")
    return {"job": "the job's budget", "day": "the day's budget"}.get(
        kind, f"the day's budget of {rest.rpartition(':')[0]}"
    )


def _dollars(micro: int) -> str:
    return f"${micro / 1_000_000:.6f}".rstrip("0").rstrip(".")
