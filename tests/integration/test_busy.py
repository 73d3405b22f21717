"""A full swarm says when to come again, from how fast its jobs end; and a patient caller gets in."""

from __future__ import annotations

import asyncio

import pytest

from swarm.client.client import SwarmClient
from swarm.errors import BadInput, Busy
from swarm.settings import Settings
from tests.conftest import Hands, a_request
from tests.integration.processes import until

pytestmark = pytest.mark.usefixtures("held_clock")


async def ends(hands: Hands, job: str) -> None:
    await hands.log.cancel(job)
    for claim in await hands.claim("advance", free=10):
        await hands.advance(claim.job, claim)


async def paced(hands: Hands, scope: str, gap: float, *, seconds_ago: float = 0.0) -> None:
    """As if one job had ended every `gap` ms, the last one so long ago."""
    since = await hands.now() - seconds_ago * 1000
    await hands.call("SET", f"{hands.keys.prefix}:pace{scope}", f"{since:.0f} 0 0 {gap}", "PX", 60_000)


async def refused(hands: Hands, job: str, tenant: str = "default", *, busy_timeout: float = 0.0) -> Busy:
    with pytest.raises(Busy) as caught:
        await hands.log.submit(job, a_request("t1:a", tenant=tenant), busy_timeout=busy_timeout)
    return caught.value


@pytest.fixture
def settings(redis_url: str, prefix: str) -> Settings:
    return Settings(redis_url=redis_url, prefix=prefix, max_open=3, max_open_tenant=2, max_age=600, retention=600)


# -- the estimate ------------------------------------------------------------------------------------------------------


async def test_nothing_measured_is_told_as_the_settings_say(hands: Hands) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")

    busy = await refused(hands, "k")

    assert (busy.scope, busy.limit, busy.retry_after) == ("for tenant default", 2, 2.0)


async def test_the_scope_that_is_full_gives_the_pace(hands: Hands) -> None:
    for tenant in ("one", "two", "three"):
        await hands.submit(f"j-{tenant}", "t1:a", tenant=tenant)
    await paced(hands, "", 4_000)
    await paced(hands, ":one", 9_000)

    busy = await refused(hands, "k", "one")

    assert (busy.scope, busy.retry_after) == ("in all", 4.0)


async def test_each_that_waits_is_told_a_later_time_and_keeps_it_when_it_asks_again(hands: Hands) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    await paced(hands, ":default", 1_000)

    told = [(await refused(hands, f"k{number}", busy_timeout=60)).retry_after for number in range(4)]
    again = (await refused(hands, "k3", busy_timeout=60)).retry_after

    assert told == [1.0, 2.0, 3.0, 4.0]
    assert again == pytest.approx(4.0, abs=0.5)


async def test_who_does_not_wait_does_not_lengthen_what_others_are_told(hands: Hands) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    await paced(hands, ":default", 1_000)

    told = [(await refused(hands, f"k{number}")).retry_after for number in range(4)]
    assert told == [pytest.approx(1.0, abs=0.3)] * 4

    await refused(hands, "gone", busy_timeout=60)
    assert (await refused(hands, "k")).retry_after == pytest.approx(2.0, abs=0.3)
    await hands.call("ZADD", f"{hands.keys.prefix}:asked:default", "XX", await hands.now() - 1, "gone")
    assert (await refused(hands, "k")).retry_after == pytest.approx(1.0, abs=0.3)
    assert await hands.call("ZCARD", f"{hands.keys.prefix}:waiting:default") == 0


async def test_a_free_place_is_kept_for_a_patient_caller_whose_time_has_come(hands: Hands) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    await paced(hands, ":default", 50)
    await refused(hands, "patient", busy_timeout=5)
    await ends(hands, "j0")
    await paced(hands, ":default", 50)

    assert (await refused(hands, "newcomer")).open_jobs == 1
    await hands.log.submit("patient", a_request("t1:a"), busy_timeout=5)

    assert (await refused(hands, "newcomer")).open_jobs == 2


async def test_a_place_is_not_kept_for_one_that_does_not_come_or_has_no_busy_timeout(hands: Hands) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    await paced(hands, ":default", 50)
    await refused(hands, "gone", busy_timeout=5)
    await refused(hands, "brief", busy_timeout=0.01)
    await refused(hands, "single")
    key = f"{hands.keys.prefix}:waiting:default"
    assert await hands.call("ZRANGE", key, 0, -1) == [b"gone"]
    await hands.call("ZADD", key, "XX", await hands.now() - 1_100, "gone")
    await ends(hands, "j0")
    await paced(hands, ":default", 50)

    assert await hands.submit("newcomer", "t1:a")


async def test_as_many_as_are_too_many_must_end_first(hands: Hands) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    await paced(hands, ":default", 1_000)
    # somebody with greater limits was there before
    for number in range(4):
        await hands.call("ZADD", hands.keys.open + ":default", await hands.now() + 60_000, f"x{number}")

    assert (await refused(hands, "k")).retry_after == 5.0


@pytest.mark.parametrize(("gap", "told"), [(0.5, 0.05), (400_000.0, 300.0)])
async def test_it_is_never_less_than_a_moment_nor_more_than_five_minutes(hands: Hands, gap: float, told: float) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    await paced(hands, ":default", gap)

    assert (await refused(hands, "k")).retry_after == told


async def test_a_pace_that_has_stopped_is_not_believed(hands: Hands) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    await paced(hands, ":default", 100, seconds_ago=20)

    assert (await refused(hands, "k")).retry_after == pytest.approx(20, abs=1)


async def test_the_pace_is_measured_while_jobs_are_open_and_has_a_lifetime(hands: Hands) -> None:
    await hands.submit("slow", "t1:a")
    await hands.call("HSET", hands.keys.job("slow"), "accepted", int(await hands.now() - 3_000))
    await ends(hands, "slow")
    kept = (await hands.call("GET", f"{hands.keys.prefix}:pace:default")).decode().split()
    assert kept[:3] == ["0", "0", "0"], "nothing is open: the time until the next job does not count"
    assert float(kept[3]) == pytest.approx(3_000, rel=0.2)

    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    assert (await refused(hands, "k", busy_timeout=60)).retry_after == pytest.approx(3, rel=0.2)
    for key in ("pace", "pace:default", "waiting:default", "asked:default"):
        assert await hands.call("PTTL", f"{hands.keys.prefix}:{key}") > 0


async def test_who_got_in_waits_no_more(hands: Hands) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    await paced(hands, ":default", 1_000)
    await refused(hands, "k1", busy_timeout=5)
    await ends(hands, "j0")

    await hands.log.submit("k1", a_request("t1:a"))

    for name in ("waiting", "asked"):
        assert await hands.call("ZCARD", f"{hands.keys.prefix}:{name}:default") == 0


async def test_a_patient_submit_does_not_sleep_through_room_that_comes_early(hands: Hands, settings: Settings) -> None:
    for number in range(2):
        await hands.submit(f"j{number}", "t1:a")
    await paced(hands, ":default", 3_600_000)
    async with SwarmClient(settings=settings) as client:
        waits = asyncio.create_task(client.submit("go", expert="a", busy_timeout=3_600))
        await until(lambda: hands.call("EXISTS", f"{hands.keys.prefix}:asked:default"), "a caller that waits")
        await ends(hands, "j0")
        await asyncio.wait_for(waits, 40)


@pytest.mark.parametrize("busy_timeout", ["x", -1, float("nan"), float("inf"), True, None])
async def test_a_busy_timeout_that_is_no_time_is_refused_as_other_arguments_are(
    settings: Settings, busy_timeout: float
) -> None:
    async with SwarmClient(settings=settings) as client:
        with pytest.raises(BadInput, match=r"^busy_timeout: .* is no time; give seconds") as caught:
            await client.submit("go", expert="a", busy_timeout=busy_timeout)
    assert caught.value.field == "busy_timeout"


async def test_who_asks_again_at_the_time_given_gets_in_when_places_come_free_at_the_pace(hands: Hands) -> None:
    """The nth caller that waits is given the time of the nth place, so its second try gets in."""
    taken = ["j0", "j1"]
    for job in taken:
        await hands.submit(job, "t1:a")
    await paced(hands, ":default", 10_000)
    given = {f"k{number}": (await refused(hands, f"k{number}", busy_timeout=600)).retry_after for number in range(6)}

    in_turn = sorted(given, key=lambda name: given[name])
    for place, name in enumerate(in_turn, start=1):
        assert given[name] == pytest.approx(place * 10, rel=0.1), "as many places are free by then as callers are ahead"
        await ends(hands, taken.pop(0))
        assert await hands.submit(name, "t1:a")
        taken.append(name)
        with pytest.raises(Busy):
            await hands.submit("late", "t1:a")
