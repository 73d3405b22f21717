"""The plan cache over a real Redis: what is kept, for whom, how long, and what a failure costs."""

import asyncio

import pytest
from structlog.testing import capture_logs

from swarm.broker.connection import Connection
from swarm.broker.keys import PLANS_KEPT, Keys
from swarm.broker.plan_store import MAX_ENTRY, CacheCount
from swarm.logging import PLAN_CACHE
from swarm.router import plan_cache
from swarm.router.plan_cache import RedisPlanCache
from swarm.types.card import Card, Catalog
from swarm.types.events import Planned
from swarm.types.plan import Plan, Subtask
from swarm.types.request import Request

CARDS = {
    name: Card(name=name, kind="instruction", description=text, model="local/template")
    for name, text in {
        "parcels": "Tracks parcels of an order.",
        "reply-writer": "Writes a reply.",
    }.items()
}
CATALOG = Catalog(version="v1", cards=CARDS)


def a_request(order: int, **more: object) -> Request:
    return Request.model_validate({"text": f"Track the parcel of order {order} and write a reply.", **more})


def a_plan(order: int) -> Planned:
    track = Subtask(id="a", expert="parcels", instruction=f"Track the parcel of order {order}")
    reply = Subtask(id="b", expert="reply-writer", instruction="write a reply with ${a}", depends_on=("a",))
    return Planned(subtasks=(track, reply), planner="m/planner", why={"a": f"order {order}"})


@pytest.fixture
def cache(connection: Connection) -> RedisPlanCache:
    return RedisPlanCache(connection, planner="m/planner")


async def test_a_plan_that_one_process_kept_another_finds_bound_to_its_own_request(
    cache: RedisPlanCache, redis_url: str, prefix: str
) -> None:
    async with Connection.open(redis_url, prefix) as other:
        reader = RedisPlanCache(other, planner="m/planner")
        assert (await reader.find(a_request(7), CATALOG))[0] is None
        await cache.keep(a_request(7), CATALOG, a_plan(7))
        planned, note = await reader.find(a_request(8), CATALOG)

    assert planned is not None
    assert planned.subtasks[0].instruction == "Track the parcel of order 8"
    assert planned.why == dict.fromkeys(("a", "b"), planned.why["a"])
    assert "7" not in planned.why["a"].partition("similarity")[0]
    assert note.startswith("plan cache: hit, similarity ")


async def test_a_plan_of_one_model_is_not_found_for_another(cache: RedisPlanCache, connection: Connection) -> None:
    other = RedisPlanCache(connection, planner="m/other")
    await cache.keep(a_request(7), CATALOG, a_plan(7))
    await other.keep(a_request(7), CATALOG, a_plan(7))  # whose it is not
    missed, note = await other.find(a_request(8), CATALOG)
    await other.keep(a_request(7), CATALOG, a_plan(7).model_copy(update={"planner": "m/other"}))

    assert missed is None
    assert note.startswith("plan cache: miss, nearest 0.00 of 0")
    assert (await other.find(a_request(8), CATALOG))[0] is not None
    assert (await cache.find(a_request(8), CATALOG))[0] is not None


async def test_hits_and_misses_are_counted(cache: RedisPlanCache) -> None:
    await cache.find(a_request(7), CATALOG)
    await cache.keep(a_request(7), CATALOG, a_plan(7))
    await cache.find(a_request(8), CATALOG)
    await cache.find(Request(text="What is the weather?"), CATALOG)

    assert await cache.stats() == CacheCount(hits=1, misses=2)


async def test_every_look_is_logged_with_the_counts_and_no_word_of_a_request(cache: RedisPlanCache) -> None:
    with capture_logs() as lines:
        await cache.find(a_request(7), CATALOG)
        await cache.keep(a_request(7), CATALOG, a_plan(7))
        await cache.find(a_request(8), CATALOG)

    asked = [line for line in lines if line["event"] == PLAN_CACHE]
    assert [(line["hit"], line["hits"], line["misses"]) for line in asked] == [(False, 0, 1), (True, 1, 1)]
    assert asked[1]["why"].startswith("plan cache: hit, similarity ")
    assert "parcel" not in str(asked)


async def test_a_long_request_is_not_planned_by_examples(cache: RedisPlanCache) -> None:
    await cache.keep(a_request(7), CATALOG, a_plan(7))
    text = a_request(7).text + " x" * 490_000
    planned, note = await cache.imitate(Request(text=text), CATALOG)

    assert planned is None
    assert note == "examples: not used, the request has more than 4,000 characters"


@pytest.mark.parametrize("other", [{"tenant": "other"}, {"version": "v2"}])
async def test_nothing_crosses_tenants_or_catalogs(cache: RedisPlanCache, other: dict[str, str]) -> None:
    await cache.keep(a_request(7), CATALOG, a_plan(7))
    catalog = CATALOG.model_copy(update={"version": other.get("version", "v1")})

    assert (await cache.find(a_request(7, tenant=other.get("tenant", "default")), catalog))[0] is None


async def test_what_the_caller_planned_is_neither_kept_nor_looked_up(cache: RedisPlanCache) -> None:
    own = Plan.read([{"id": "a", "expert": "parcels", "instruction": "x"}])
    await cache.keep(a_request(7, plan=own), CATALOG, a_plan(7))
    await cache.keep(a_request(7, expert="parcels"), CATALOG, a_plan(7))

    assert (await cache.find(a_request(7), CATALOG))[0] is None
    assert (await cache.find(a_request(7, expert="parcels"), CATALOG))[1] == (
        "plan cache: not used, the caller chose the plan or expert"
    )


async def test_a_plan_that_is_too_long_is_passed_over(cache: RedisPlanCache) -> None:
    long = a_plan(7).subtasks[0].model_copy(update={"instruction": "x" * MAX_ENTRY})
    await cache.keep(a_request(7), CATALOG, a_plan(7).model_copy(update={"subtasks": (long,)}))

    assert (await cache.find(a_request(7), CATALOG))[0] is None


async def test_at_most_so_many_are_kept_and_each_use_prolongs_their_life(
    cache: RedisPlanCache, connection: Connection, keys: Keys
) -> None:
    for order in range(PLANS_KEPT + 3):
        await cache.keep(a_request(order), CATALOG, a_plan(order))
    key = keys.plans("default", "v1")
    assert await connection.call("XLEN", key) == PLANS_KEPT
    await connection.call("PEXPIRE", key, 5_000)
    planned, _ = await cache.find(a_request(9_999), CATALOG)

    assert planned is not None
    assert await connection.call("PTTL", key) > 6 * 86_400_000


async def test_a_process_forgets_what_redis_has_dropped(
    cache: RedisPlanCache, connection: Connection, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_cache, "_OVERGROWN", 3)
    for order in range(3):
        await cache.keep(a_request(order), CATALOG, a_plan(order))
    await cache.find(a_request(0), CATALOG)
    await connection.call("XTRIM", keys.plans("default", "v1"), "MAXLEN", 1)
    await cache.keep(a_request(3), CATALOG, a_plan(3))
    await cache.find(a_request(0), CATALOG)

    (read,) = cache._read.values()
    assert [kept.text for kept in read.kept.values()] == [a_request(2).text, a_request(3).text]


async def test_plans_that_redis_lost_are_used_no_more(
    cache: RedisPlanCache, connection: Connection, keys: Keys
) -> None:
    await cache.keep(a_request(7), CATALOG, a_plan(7))
    assert (await cache.find(a_request(8), CATALOG))[0] is not None
    await connection.call("DEL", keys.plans("default", "v1"))

    assert (await cache.find(a_request(8), CATALOG))[0] is None


async def test_of_one_request_planned_twice_the_later_plan_counts(cache: RedisPlanCache) -> None:
    await cache.keep(a_request(7), CATALOG, a_plan(7))
    shorter = a_plan(7).model_copy(update={"subtasks": a_plan(7).subtasks[:1]})
    await cache.keep(a_request(7), CATALOG, shorter)
    planned, _ = await cache.find(a_request(7), CATALOG)

    assert planned is not None
    assert len(planned.subtasks) == 1


async def test_an_entry_of_another_version_of_the_program_is_passed_over(
    cache: RedisPlanCache, connection: Connection, keys: Keys
) -> None:
    await cache.keep(a_request(7), CATALOG, a_plan(7))
    await connection.call("XADD", keys.plans("default", "v1"), "*", "plan", '{"text": 7}')

    assert (await cache.find(a_request(8), CATALOG))[0] is not None


async def test_a_process_holds_the_plans_of_few_tenants(cache: RedisPlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_cache, "TENANTS", 2)
    for tenant in ("a", "b", "c"):
        await cache.find(a_request(7, tenant=tenant), CATALOG)

    assert list(cache._read) == [("b", "v1"), ("c", "v1")]


async def test_many_at_once_read_the_plans_once_each(cache: RedisPlanCache) -> None:
    await cache.keep(a_request(7), CATALOG, a_plan(7))
    found = await asyncio.gather(*(cache.find(a_request(order), CATALOG) for order in range(20)))

    assert [planned.subtasks[0].instruction for planned, _ in found if planned] == [
        f"Track the parcel of order {order}" for order in range(20)
    ]
    (read,) = cache._read.values()
    assert (read.entries, len(read.examples)) == (1, 1)


async def test_without_redis_there_is_a_note_and_nothing_else(prefix: str) -> None:
    async with Connection.open("unix:///nowhere/redis.sock", prefix) as nowhere:
        cache = RedisPlanCache(nowhere, planner="m/planner")
        await cache.keep(a_request(7), CATALOG, a_plan(7))
        planned, note = await cache.find(a_request(7), CATALOG)
        imitated, why = await cache.imitate(a_request(7), CATALOG)

    assert planned is imitated is None
    assert note.startswith("plan cache: not used (")
    assert why.startswith("examples: not used (")


async def test_similar_requests_give_a_plan_where_none_can_be_bound(cache: RedisPlanCache) -> None:
    for order in range(3):
        await cache.keep(a_request(order), CATALOG, a_plan(order))
    request = Request(text="Where is the parcel of my order? Write them a reply.")
    planned, note = await cache.imitate(request, CATALOG)

    assert planned is not None
    assert [(s.expert, s.depends_on) for s in planned.subtasks] == [("parcels", ()), ("reply-writer", ("t1",))]
    assert all(request.text in s.instruction for s in planned.subtasks)
    assert "3 similar requests" in note
