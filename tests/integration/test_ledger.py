"""The books: what is set aside, held, settled and presumed, for a job, its tenant's day and the day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog
from swarm.broker.ledger import FIELDS, Ledger, Reserved, Spent, Tenant, spent
from swarm.broker.queue import Claim
from swarm.errors import BadInput, OverBudget
from swarm.settings import Settings
from swarm.types.events import Ended
from tests.conftest import Hands

Books = Callable[[str], "asyncio.Future[Spent]"]


@pytest.fixture
def ledger(connection: Connection, settings: Settings) -> Ledger:
    return Ledger(connection, settings)


def limited(connection: Connection, settings: Settings, **limits: object) -> tuple[JobLog, Ledger]:
    """A log and a ledger of a swarm with these settings."""
    given = settings.model_copy(update=limits)
    return JobLog(connection, given), Ledger(connection, given)


async def day_of(hands: Hands, tenant: str = "") -> Spent:
    """The books of today, or of one tenant's today."""
    day = await Ledger(hands.connection, Settings()).today()
    scope = f"tenant:{tenant}:{day}" if tenant else f"day:{day}"
    return spent(await hands.call("HMGET", hands.keys.budget(scope), *FIELDS))


async def claimed(hands: Hands, count: int) -> list[Claim]:
    return await hands.claim("run:a", free=count)


async def test_a_budget_is_set_aside_at_submit_and_its_rest_given_back_at_the_end(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", tenant="acme", budget=0.01)
    assert await day_of(hands, "acme") == await day_of(hands) == Spent(earmarked=10_000)

    claim = await hands.run("a")
    assert await ledger.reserve(claim, 1, 6_000) == Reserved("ok")
    assert await ledger.settle(claim, 1, 1_500) == 6_000
    assert await day_of(hands, "acme") == Spent(settled=1_500, earmarked=8_500)
    await hands.solve(claim)
    await hands.settle("j1")

    assert await day_of(hands, "acme") == await day_of(hands) == Spent(settled=1_500)
    assert await hands.log.spent("j1") == Spent(settled=1_500, limit=10_000)


async def test_the_answer_and_the_ending_say_what_the_job_cost(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    claim = await hands.run("a")
    await ledger.reserve(claim, 1, 6_000)
    await ledger.settle(claim, 1, 1_500)
    await ledger.reserve(claim, 2, 2_000)
    await hands.solve(claim)
    await hands.settle("j1")

    answer = await hands.log.answer("j1")
    (ended,) = [event for event in await hands.log.events("j1") or [] if isinstance(event, Ended)]

    assert answer is not None
    assert (answer.usage.cost, answer.usage.presumed) == (ended.settled, ended.presumed) == (1_500, 2_000)
    assert [(job.cost, job.presumed) for job in await hands.log.jobs()] == [(1_500, 2_000)]


async def test_a_late_settlement_lowers_what_was_presumed_and_never_raises_it(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", tenant="acme", budget=0.01)
    claim = await hands.run("a")
    for call in (1, 2):
        await ledger.reserve(claim, call, 3_000)
    await hands.log.cancel("j1")
    await hands.settle("j1")
    assert await hands.log.spent("j1") == Spent(presumed=6_000, limit=10_000)

    assert await ledger.settle(claim, 1, 400) == 3_000
    assert await ledger.settle(claim, 2, 9_000) == 3_000
    assert await ledger.settle(claim, 2, 9_000) is None

    assert await hands.log.spent("j1") == Spent(settled=3_400, limit=10_000)
    assert await day_of(hands, "acme") == Spent(settled=3_400)


async def test_a_repeated_reservation_or_settlement_counts_once(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    claim = await hands.run("a")

    assert [await ledger.reserve(claim, 1, 6_000) for _ in range(3)] == [Reserved("ok")] * 3
    assert (await hands.log.spent("j1")).open == 6_000
    assert [await ledger.settle(claim, 1, 100) for _ in range(3)] == [6_000, None, None]
    assert await hands.log.spent("j1") == Spent(settled=100, limit=10_000)


async def test_tokens_are_counted_once_for_the_tenant_and_the_day(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", tenant="acme")
    claim = await hands.run("a")
    for call, cost in ((1, 100), (2, None)):
        await ledger.reserve(claim, call, 6_000)
        for _ in range(3):
            await ledger.settle(claim, call, cost, tokens=40)

    assert (await day_of(hands, "acme")).tokens == (await day_of(hands)).tokens == 80


async def test_a_hold_that_redis_lost_is_settled_all_the_same(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    claim = await hands.run("a")
    await ledger.reserve(claim, 1, 6_000)
    fields = [name for name in await hands.call("HKEYS", hands.keys.money("j1")) if name.startswith(b"h:")]
    await hands.call("HDEL", hands.keys.money("j1"), *fields)
    await hands.call("HSET", hands.keys.money("j1"), "open", 0)

    assert [await ledger.settle(claim, 1, 70) for _ in range(2)] == [0, None]
    assert await ledger.reserve(claim, 1, 6_000) == Reserved("ok")
    assert await hands.log.spent("j1") == Spent(settled=70, limit=10_000)


async def test_a_claim_that_redis_forgot_and_counts_again_settles_its_own_calls_and_not_those_of_the_next(
    hands: Hands, ledger: Ledger
) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    first = await hands.run("a", hands.worker("w1"))
    delivery, queue = hands.keys.delivery(first.id), hands.keys.queue(first.queue, "ready")
    # Redis comes back as it was before the claim
    await hands.call("HDEL", delivery, "owner", "claims")
    await hands.call("ZREM", hands.keys.queue(first.queue, "leases"), first.id)
    await hands.call("ZADD", queue, await hands.field(delivery, "score"), first.id)
    second = await hands.run("a", hands.worker("w1"))
    assert (first.number, second.number) == (1, 1)
    await ledger.reserve(second, 1, 6_000)

    assert await ledger.settle(first, 1, 300) == 0, "it was spent, and what held it is lost"
    assert await hands.log.spent("j1") == Spent(settled=300, open=6_000, limit=10_000)
    assert await ledger.settle(second, 1, 1_500) == 6_000
    assert await hands.log.spent("j1") == Spent(settled=1_800, limit=10_000)


async def test_a_hold_of_a_version_before_is_presumed_and_shown_as_any(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    claim = await hands.run("a")
    for hold in ("1.1", "1.2"):  # by claim number and call alone
        await hands.connection.script("reserve", claim.id, claim.owner, hold, 2_000, "", "", "1", "", 1_000)
    await hands.connection.script("settle", claim.id, claim.owner, "1.1", 70, 0, "", 0, "", "")
    await ledger.reserve(claim, 3, 3_000)
    assert await hands.log.spent("j1") == Spent(settled=70, open=5_000, limit=10_000)

    await hands.log.cancel("j1")
    await hands.settle("j1")

    assert await hands.log.spent("j1") == Spent(settled=70, presumed=5_000, limit=10_000)
    assert [part.usage.presumed for part in (await hands.log.receipt("j1")).parts] == [5_000]


async def test_a_lost_claim_presumes_what_it_held_and_reserves_no_more(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    claim = await hands.run("a")
    await ledger.reserve(claim, 1, 6_000)

    await hands.expire_lease(claim)
    again = await hands.run("a", hands.worker("w2"))

    assert await hands.log.spent("j1") == Spent(presumed=6_000, limit=10_000)
    assert await ledger.reserve(claim, 2, 1) == Reserved("gone")
    assert await ledger.reserve(again, 1, 4_000) == Reserved("ok")
    assert (await ledger.reserve(again, 2, 1)).verdict == "full"
    assert await ledger.settle(claim, 1, 0) == 6_000
    assert await ledger.reserve(again, 2, 1) == Reserved("ok")


async def test_no_call_is_begun_for_a_job_once_its_cancel_was_asked(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j", "t1:a", budget=0.01)
    (claim,) = await claimed(hands, 1)
    await hands.log.cancel("j")

    assert (await ledger.reserve(claim, 1, 4_000)).verdict == "gone"


async def test_what_does_not_fit_waits_for_others_and_is_refused_without_them(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", "t2:a", budget=0.01)
    first, second = await claimed(hands, 2)

    assert await ledger.reserve(first, 1, 7_000) == Reserved("ok")
    assert await ledger.reserve(second, 1, 4_000) == Reserved("full", "job:j1")
    assert await ledger.reserve(second, 1, 10_001) == Reserved("never", "job:j1", 10_000, 10_000)
    await ledger.settle(first, 1, 6_500)
    assert await ledger.reserve(second, 1, 4_000) == Reserved("never", "job:j1", 3_500, 10_000)
    assert await ledger.reserve(second, 1, 3_500) == Reserved("ok")


async def test_a_settlement_wakes_those_that_fit_and_those_that_never_will(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", "t2:a", "t3:a", "t4:a", "t5:a", budget=0.01)
    first, second, small, large, larger = await claimed(hands, 5)
    await ledger.reserve(first, 1, 5_000)
    await ledger.reserve(second, 1, 4_000)
    worker = hands.worker()
    assert await worker.park(small, "job:j1", 2_000) == "parked"
    assert await worker.park(large, "job:j1", 6_000) == "parked"
    assert await worker.park(larger, "job:j1", 9_000) == "parked"
    assert await hands.claim("run:a", free=9) == []

    await ledger.settle(second, 1, 3_000)
    assert [claim.id for claim in await hands.claim("run:a", free=9)] == [small.id]
    await ledger.settle(first, 1, 500)
    assert [claim.id for claim in await hands.claim("run:a", free=9)] == [large.id, larger.id]


async def test_who_is_put_aside_after_the_room_was_made_is_not_forgotten(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", "t2:a", budget=0.01)
    first, second = await claimed(hands, 2)
    await ledger.reserve(first, 1, 9_000)
    assert (await ledger.reserve(second, 1, 4_000)).verdict == "full"
    await ledger.settle(first, 1, 1_000)

    assert await hands.worker().park(second, "job:j1", 4_000) == "ready"


async def test_a_submit_beyond_its_tenant_or_the_day_is_refused_with_what_is_left(
    hands: Hands, connection: Connection, settings: Settings
) -> None:
    hands.log, _ = limited(connection, settings, tenant_budget=1.0, day_budget=1.5)
    await hands.submit("j1", "t1:a", tenant="acme", budget=0.8)
    await hands.submit("j2", "t1:a", tenant="other", budget=0.5)

    with pytest.raises(OverBudget) as tenant:
        await hands.submit("j3", "t1:a", tenant="acme", budget=0.3)
    with pytest.raises(OverBudget) as day:
        await hands.submit("j4", "t1:a", tenant="third", budget=0.3)

    assert (tenant.value.scope, tenant.value.left, tenant.value.limit) == ("tenant acme", 0.2, 1.0)
    assert (day.value.scope, day.value.left, day.value.limit) == ("the day", 0.2, 1.5)
    assert [job.id for job in await hands.log.jobs()] == ["j2", "j1"]
    assert await hands.submit("j1", "t1:a", tenant="acme", budget=0.8) is False


async def test_jobs_without_a_budget_share_what_is_left_of_their_tenant(
    hands: Hands, connection: Connection, settings: Settings
) -> None:
    hands.log, ledger = limited(connection, settings, tenant_budget=0.01)
    await hands.begin("j1", "t1:a", tenant="acme", budget=0.004)
    await hands.begin("j2", "t1:a", tenant="acme")
    await hands.begin("j3", "t1:a", tenant="acme")
    _, two, three = await claimed(hands, 3)
    scope = f"tenant:acme:{await ledger.today()}"

    assert await ledger.reserve(two, 1, 5_000) == Reserved("ok")
    assert await ledger.reserve(three, 1, 5_000) == Reserved("full", scope)
    await hands.worker().park(three, scope, 5_000)
    await ledger.settle(two, 1, 1_000)
    assert await hands.claim("run:a") != []

    assert await day_of(hands, "acme") == Spent(settled=1_000, earmarked=4_000, limit=10_000)


async def test_the_end_of_a_job_makes_room_for_others_of_its_tenant(
    hands: Hands, connection: Connection, settings: Settings
) -> None:
    hands.log, ledger = limited(connection, settings, tenant_budget=0.01)
    await hands.begin("j1", "t1:a", tenant="acme", budget=0.009)
    await hands.begin("j2", "t1:a", tenant="acme")
    one, two = await claimed(hands, 2)
    found = await ledger.reserve(two, 1, 5_000)
    assert found.verdict == "full"
    await hands.worker().park(two, found.scope, 5_000)

    await hands.solve(one)
    await hands.settle("j1")

    (again,) = await hands.claim("run:a")
    assert again.id == two.id
    assert await ledger.reserve(again, 1, 5_000) == Reserved("ok")


async def test_without_a_limit_calls_are_booked_and_nothing_is_refused(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", tenant="acme")
    claim = await hands.run("a")

    assert await ledger.reserve(claim, 1, 10**11) == Reserved("free")
    assert await day_of(hands, "acme") == Spent(open=10**11)
    await ledger.settle(claim, 1, 70)
    assert await day_of(hands, "acme") == await day_of(hands) == Spent(settled=70)


async def test_a_model_without_a_price_is_refused_where_a_limit_holds(
    hands: Hands, connection: Connection, settings: Settings, ledger: Ledger
) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    await hands.begin("j2", "t1:a")
    bound, free = await claimed(hands, 2)
    _, counting = limited(connection, settings, unpriced="count")

    assert await ledger.reserve(bound, 1, None) == Reserved("unpriced")
    assert await ledger.reserve(free, 1, None) == Reserved("free")
    assert await counting.reserve(bound, 1, None) == Reserved("free")
    assert await counting.settle(bound, 1, 0) == 0


async def test_a_tenants_own_budget_goes_before_the_settings_and_a_higher_one_wakes_who_waits(
    hands: Hands, connection: Connection, settings: Settings
) -> None:
    hands.log, ledger = limited(connection, settings, tenant_budget=5.0)
    await ledger.keep_tenant("acme", weight=3, budget=0.01)
    await hands.begin("j1", "t1:a", "t2:a", tenant="acme")
    first, second = await claimed(hands, 2)
    await ledger.reserve(first, 1, 9_000)
    found = await ledger.reserve(second, 1, 5_000)
    assert found.verdict == "full"
    await hands.worker().park(second, found.scope, 5_000)

    await ledger.keep_tenant("acme", budget=0.02)

    assert [claim.id for claim in await hands.claim("run:a")] == [second.id]
    (tenant,) = await ledger.tenants()
    assert tenant == Tenant("acme", 3, 20_000, Spent(open=9_000, limit=20_000))
    assert [await ledger.drop_tenant("acme") for _ in range(2)] == [True, False]
    assert (await ledger.tenants())[0].weight == 1


async def test_a_higher_budget_wakes_who_waits_on_a_day_that_is_over(
    hands: Hands, connection: Connection, settings: Settings
) -> None:
    _, ledger = limited(connection, settings, tenant_budget=0.01)
    await hands.begin("j1", "t1:a", "t2:a", tenant="acme")
    yesterday = await ledger.today() - 1
    await hands.call("HSET", hands.keys.job("j1"), "accepted", yesterday * 86_400_000 + 5)
    first, second = await claimed(hands, 2)
    await ledger.reserve(first, 1, 9_000)
    found = await ledger.reserve(second, 1, 5_000)
    assert found == Reserved("full", f"tenant:acme:{yesterday}")
    await hands.worker().park(second, found.scope, 5_000)

    await ledger.keep_tenant("acme", budget=0.02)

    assert [claim.id for claim in await hands.claim("run:a")] == [second.id]


async def test_a_weight_that_is_none_is_refused(ledger: Ledger) -> None:
    with pytest.raises(BadInput, match="give 1 to 100"):
        await ledger.keep_tenant("acme", weight=101)


async def test_all_is_booked_on_the_day_of_the_jobs_acceptance(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", tenant="acme")
    yesterday = await ledger.today() - 1
    await hands.call("HSET", hands.keys.job("j1"), "accepted", yesterday * 86_400_000 + 5)
    claim = await hands.run("a")

    await ledger.reserve(claim, 1, 500)
    await ledger.settle(claim, 1, 70)

    assert await ledger.day(yesterday) == Spent(settled=70)
    assert await day_of(hands) == await day_of(hands, "acme") == Spent()


async def test_a_full_redis_refuses_no_reservation_and_no_settlement(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", budget=0.01)
    claim = await hands.run("a")
    try:
        await hands.call("CONFIG", "SET", "maxmemory", "1")
        assert await ledger.reserve(claim, 1, 100) == Reserved("ok")
        assert await ledger.settle(claim, 1, 60) == 100
    finally:
        await hands.call("CONFIG", "SET", "maxmemory", "0")
