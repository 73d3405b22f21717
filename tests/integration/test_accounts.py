"""A delivery's account: what it does about prices, caps, room and repeated settlements, over the books in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from swarm.broker.connection import Connection
from swarm.broker.ledger import Ledger, Reserved, Spent
from swarm.broker.price_table import PriceTable
from swarm.broker.queue import Claim
from swarm.errors import CallFacts, ModelUnavailable, NoRoom, TooLarge, Unaffordable, Unpriced
from swarm.llm.metered import CallOutcome
from swarm.logging import OVERSHOT
from swarm.settings import Settings
from swarm.types.price import Price
from swarm.types.result import Usage
from tests.conftest import Hands
from workers.call_budget import RUN_AHEAD, Accounts, DeliveryAccount

T = TypeVar("T")
PRICE = Price(input=1_000_000, output=1_000_000, as_of=date(2026, 11, 1))
"""A micro-dollar for each token."""


@pytest.fixture
async def book(connection: Connection) -> PriceTable:
    book = PriceTable(connection)
    await book.put({"small": PRICE, "box/short": PRICE.model_copy(update={"max_output": 8})})
    return book


@pytest.fixture
def accounts(connection: Connection, settings: Settings, book: PriceTable) -> Accounts:
    return Accounts.of(Ledger(connection, settings), book, settings.model_copy(update={"max_output": 68}))


async def once(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


def paying(accounts: Accounts, claim: Claim, *, parks: bool = False) -> DeliveryAccount:
    return accounts.paying(claim, once, parks=parks)


async def test_the_cap_is_that_of_the_caller_the_model_or_the_settings(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    async with paying(accounts, await hands.run("a")) as account:
        held = [
            await account.reserve("box/small", 100, None, 1.0),
            await account.reserve("box/short", 100, None, 1.0),
            await account.reserve("box/small", 100, 20, 1.0),
        ]

    assert [one.cap for one in held] == [68, 8, 20]
    assert [one.amount for one in held] == [100 + cap + RUN_AHEAD for cap in (68, 8, 20)]
    assert (await hands.log.spent("j1")).open == sum(one.amount for one in held)


async def test_without_a_limit_no_cap_is_forced(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a")
    async with paying(accounts, await hands.run("a")) as account:
        assert (await account.reserve("box/small", 100, None, 1.0)).cap is None
        assert (await account.reserve("box/unknown", 100, None, 1.0)).amount == 0


async def test_what_was_settled_is_in_the_books_at_the_end_of_the_block(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    async with paying(accounts, await hands.run("a")) as account:
        first, second, third = [await account.reserve("box/small", 100, None, 1.0) for _ in range(3)]
        assert account.settle(first, CallOutcome("reported", 40, 2)) == Usage(cost=42)
        assert account.settle(first, CallOutcome("reported", 40, 2)) == Usage()
        assert account.settle(second, CallOutcome("nothing")) == Usage()
        assert account.settle(third, CallOutcome("unknown")) == Usage(presumed=200)

    assert await hands.log.spent("j1") == Spent(settled=42, presumed=200, limit=10_000)
    counted = Usage(calls=2, input_tokens=40, output_tokens=2, cost=42, presumed=200, unknown=1)
    assert account.onto(Usage()) == account.onto(Usage(calls=3, input_tokens=7)) == counted


async def test_what_is_still_held_counts_as_presumed_in_the_outcome(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    claim = await hands.run("a")
    async with paying(accounts, claim) as account:
        await account.reserve("box/small", 100, None, 1.0)
    await hands.solve(claim)

    assert account.onto(Usage()).presumed == (await hands.log.spent("j1")).presumed == 200


@pytest.mark.usefixtures("held_clock")
async def test_a_model_that_is_known_to_fail_is_not_asked_and_nothing_is_held(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    async with paying(accounts, await hands.run("a")) as account:
        for _ in range(5):
            account.settle(await account.reserve("box/small", 1, 9, 1.0), CallOutcome("nothing", down="endpoint"))
        with pytest.raises(ModelUnavailable, match=r"box/short was not asked: the endpoint box has failed") as caught:
            await account.reserve("box/short", 1, 9, 1.0)
        error = caught.value
        assert error.call == CallFacts("nothing", limited=True, breaker_open=True, elsewhere=True)
        assert error.retry_after == pytest.approx(5, abs=0.002)
        assert (await hands.log.spent("j1")).open == 0

        await hands.call("HINCRBY", hands.keys.limiter("endpoint:box"), "shut", -60_000)
        assert (await account.reserve("box/short", 1, 9, 1.0)).probe


async def test_a_model_that_has_failed_for_minutes_is_not_waited_for(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    async with paying(accounts, await hands.run("a")) as account:
        for _ in range(5):
            account.settle(await account.reserve("box/small", 1, 9, 1.0), CallOutcome("nothing", down="model"))
        await account.written()
        await hands.call("HINCRBY", hands.keys.limiter("model:box/small"), "broken", -300_000)
        dead = r"^box/small was not asked: the model box/small has failed every call for minutes; it is"
        with pytest.raises(ModelUnavailable, match=dead) as caught:
            await account.reserve("box/small", 1, 9, 1.0)

    error = caught.value
    assert not error.retryable
    assert error.call == CallFacts("nothing", breaker_open=True, elsewhere=True)
    assert await hands.log.spent("j1") == Spent(limit=10_000)


@pytest.mark.usefixtures("held_clock")
async def test_a_model_whose_server_wants_no_calls_is_not_asked_meanwhile(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    async with paying(accounts, await hands.run("a")) as account:
        account.settle(await account.reserve("box/small", 1, 9, 1.0), CallOutcome("nothing", limited=True, pause=9))
        paused = r"^box/small was not asked: its server accepts no calls for another \d"
        with pytest.raises(ModelUnavailable, match=paused) as caught:
            await account.reserve("box/small", 1, 9, 1.0)

    error = caught.value
    assert error.retryable
    assert error.call == CallFacts("nothing", limited=True, elsewhere=True)
    assert error.retry_after == pytest.approx(9, abs=0.002)
    assert await hands.log.spent("j1") == Spent(limit=10_000)


async def test_a_first_call_without_room_puts_the_delivery_aside_whatever_is_made_of_it(
    hands: Hands, accounts: Accounts
) -> None:
    await hands.begin("j1", "t1:a", "t2:a", budget=0.00025)
    first, second = await hands.claim("run:a", free=2)
    async with paying(accounts, first) as holder:
        held = await holder.reserve("box/small", 100, None, 1.0)
        async with paying(accounts, second, parks=True) as account:
            for _ in range(2):
                with pytest.raises(NoRoom) as full:
                    await account.reserve("box/small", 100, None, 1.0)
        holder.settle(held, CallOutcome("nothing"))

    assert account.no_room is full.value
    assert (full.value.scope, full.value.need) == ("job:j1", 200)
    assert not account.called


@pytest.mark.parametrize("kind", ["plan", "a later call"])
async def test_who_cannot_be_put_aside_waits_for_room(hands: Hands, accounts: Accounts, kind: str) -> None:
    await hands.begin("j1", "t1:a", "t2:a", budget=0.00045)
    first, second = await hands.claim("run:a", free=2)
    async with paying(accounts, first) as holder, paying(accounts, second, parks=kind != "plan") as account:
        held = await holder.reserve("box/small", 200, None, 1.0)
        if kind != "plan":
            account.settle(await account.reserve("box/small", 1, 9, 1.0), CallOutcome("nothing"))
        waiting = asyncio.ensure_future(account.reserve("box/small", 200, None, 5.0))
        await asyncio.sleep(0.12)
        assert not waiting.done()
        holder.settle(held, CallOutcome("reported", 10, 1))
        assert (await waiting).amount == 300


async def test_waiting_for_room_has_an_end(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", "t2:a", budget=0.00045)
    first, second = await hands.claim("run:a", free=2)
    async with paying(accounts, first) as holder, paying(accounts, second) as account:
        await holder.reserve("box/small", 200, None, 1.0)
        with pytest.raises(
            Unaffordable, match=r"box/small: a call may cost \$0.0003, and in 0.2 s no room for it came up"
        ):
            await account.reserve("box/small", 200, None, 0.2)


async def test_what_can_never_be_paid_is_refused_with_what_is_left(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.0001)
    async with paying(accounts, await hands.run("a"), parks=True) as account:
        left = r"\$0.0002, and \$0.0001 of \$0.0001 are left in the job's budget; raise it, or lower SWARM_MAX_OUTPUT"
        with pytest.raises(Unaffordable, match=left):
            await account.reserve("box/small", 100, None, 1.0)
        with pytest.raises(Unpriced, match="SWARM_UNPRICED=count for the workers and routers"):
            await account.reserve("box/unknown", 100, None, 1.0)


async def test_who_lost_its_claim_asks_no_model(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    claim = await hands.run("a")
    await hands.worker().hand_back([claim])
    async with paying(accounts, claim) as account:
        with pytest.raises(ModelUnavailable, match="this delivery was stopped, or another worker has it"):
            await account.reserve("box/small", 100, None, 1.0)


async def test_calls_of_one_delivery_at_the_same_time_are_held_for_each(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    async with paying(accounts, await hands.run("a")) as account:
        held = await asyncio.gather(*(account.reserve("box/small", 100, None, 1.0) for _ in range(5)))
        assert (await hands.log.spent("j1")).open == 5 * 200
        for one in held:
            account.settle(one, CallOutcome("reported", 1, 1))

    assert await hands.log.spent("j1") == Spent(settled=10, limit=10_000)


async def test_a_call_beside_one_that_found_no_room_is_given_back(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", "t2:a", budget=0.0005)
    first, second = await hands.claim("run:a", free=2)
    held, told = asyncio.Event(), asyncio.Event()

    async def late(call: Callable[[], Awaitable[T]]) -> T:
        found = await call()
        if found == Reserved("ok"):
            held.set()
            await told.wait()
        return found

    async with paying(accounts, first) as holder, accounts.paying(second, late, parks=True) as account:
        await holder.reserve("box/small", 100, None, 1.0)
        small = asyncio.ensure_future(account.reserve("box/small", 20, None, 1.0))
        await held.wait()
        with pytest.raises(NoRoom):
            await account.reserve("box/small", 300, None, 1.0)
        told.set()
        with pytest.raises(NoRoom):
            await small
        await account.written()
        assert (await hands.log.spent("j1")).open == 200


async def test_a_call_that_costs_more_than_was_held_is_charged_whole_and_told(hands: Hands, accounts: Accounts) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    with capture_logs() as lines:
        async with paying(accounts, await hands.run("a")) as account:
            account.settle(await account.reserve("box/small", 100, None, 1.0), CallOutcome("reported", 400, 2))

    (line,) = [line for line in lines if line["event"] == OVERSHOT]
    assert (line["held"], line["cost"]) == (200, 402)
    assert await hands.log.spent("j1") == Spent(settled=402, limit=10_000)


async def test_a_price_that_changes_is_known_to_workers_soon(connection: Connection, book: PriceTable) -> None:
    now = 100.0
    worker = PriceTable(connection, lambda: now)
    assert await worker.price("other/small") == PRICE
    await book.put({"other/small": PRICE.model_copy(update={"input": 5})})

    assert await worker.price("other/small") == PRICE
    now += 11
    changed = await worker.price("other/small")
    assert changed is not None
    assert changed.input == 5


async def test_the_book_of_prices_is_bounded(book: PriceTable) -> None:
    with pytest.raises(TooLarge, match="10,001 models, at most 10,000 are accepted; drop some: swarm prices drop"):
        await book.put({f"m{number}": PRICE for number in range(9_999)})
    assert list(await book.all("*short")) == ["box/short"]
    assert await book.drop(["small", "nix"]) == 1
