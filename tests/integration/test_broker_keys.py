"""The table in keys.py is true: a life of the queue leaves these keys, of these types, and no others."""

from __future__ import annotations

import re
from datetime import date

import pytest
from redis.asyncio import Redis

from swarm.broker import keys as listed
from swarm.broker.expert_stats import Stats
from swarm.broker.job_log import JobLog
from swarm.broker.job_records import Decision, decode_state
from swarm.broker.ledger import Ledger
from swarm.broker.limiters import Limiters, model_limiters
from swarm.broker.plan_store import PlanStore
from swarm.broker.price_table import PriceTable
from swarm.broker.queue import MAX_LOST
from swarm.errors import Busy
from swarm.settings import Settings
from swarm.types.card import Blob, Catalog, Limits
from swarm.types.price import Price
from tests.conftest import Hands, a_card, a_request

ROW = re.compile(r"^    PREFIX:(\S+) +(hash|stream|string|zset|set|list) ", re.MULTILINE)
FORMS = [
    (r"job:[^:]+(:log|:bodies|:live|:deltas|:money|:children)?", r"job:ID\1"),
    (r"delivery:.+", "delivery:ID"),
    (r"catalog:[^:]+(:blobs)?", r"catalog:VERSION\1"),
    (r"blob:.+", "blob:SHA256"),
    (r"worker:.+", "worker:ID"),
    (r"dead:.+", "dead:ID"),
    (r"queue:.+:(ready|later|leases|wake|turns)", r"queue:NAME:\1"),
    (r"open:.+", "open:TENANT"),
    (r"stats:.+", "stats:NAME"),
    (r"plans:.+", "plans:TENANT:VERSION"),
    (r"budget:tenant:.+", "budget:tenant:NAME:DAY"),
    (r"budget:day:.+", "budget:day:DAY"),
    (r"gate:.+:running", "gate:LIMITER:running"),
    (r"gate:.+", "gate:LIMITER"),
    (r"parked:.+", "parked:SCOPE"),
    (r"held:.+", "held:TENANT"),
    (r"(pace|waiting|asked):.+", r"\1:TENANT"),
]
CHANNELS = [(r"(events|over|deltas):.+", r"\1:JOB"), (r"stop:.+", "stop:WORKER"), (r"published", "published")]


def form(name: str, forms: list[tuple[str, str]]) -> str:
    for pattern, replacement in forms:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name).replace("None", "")
    return name


async def test_the_scripts_write_the_keys_of_the_table_and_no_others(hands: Hands, redis_url: str) -> None:
    found: dict[str, str] = {}

    async def look() -> None:
        for key in await hands.call("KEYS", f"{hands.keys.prefix}:*"):
            kind = (await hands.call("TYPE", key)).decode()
            if kind == "none":
                continue  # its short life has ended meanwhile
            name = form(key.decode().partition(":")[2], FORMS)
            assert found.setdefault(name, kind) == kind

    client = Redis.from_url(redis_url)
    channels = client.pubsub()
    async with client, channels:
        await channels.psubscribe(f"{hands.keys.prefix}:*")
        await hands.catalog_store.publish(
            Catalog(
                version="v2",
                cards={"a": a_card("a", blobs=(Blob(path="x.md", sha256="feed", size=1),)), "b": a_card("b")},
            ),
            {"feed": b"x"},
        )
        await hands.log.submit("j1", a_request("t1:a", "t2:b<-t1", tenant="acme", budget=0.5))
        await look()
        await hands.advance("j1")
        claim = await hands.run("a")
        await hands.worker().renew([claim], about="{}")
        async with hands.log.deltas.writing(claim, "t1") as show:
            show.add("a piece")
        await look()
        await hands.fail(claim, after=60)
        await hands.settle("j1")
        await look()
        await hands.fall_due("run:a", "j1:t1:2")
        await hands.solve(await hands.run("a"))
        await look()
        await hands.settle("j1")
        for _ in range(MAX_LOST):
            await hands.expire_lease(await hands.run("b"))
        await hands.claim("run:b")
        await look()
        now = decode_state((claim := await hands.take("advance")).extra)
        decided = hands.decision("j1", now)
        await hands.write(claim, now, Decision(decided.progress, decided.cursor, ask_answer=True))
        await hands.submit("j2")
        await hands.take("plan")
        for job in ("j1", "j2"):
            await hands.log.cancel(job)
        for _ in range(2):
            claim = await hands.take("advance")
            await hands.advance(claim.job, claim)
        await hands.begin("j4", "t1:a")
        for full in ({"max_open": 1}, {"max_open_tenant": 1}):
            log = JobLog(hands.connection, Settings.model_validate(full))
            with pytest.raises(Busy):
                await log.submit("j5", a_request("t1:b"), busy_timeout=3_600)
        await Stats(hands.connection).add({"a": {"attempts": 1}})
        plans = PlanStore(hands.connection)
        await plans.add("acme", "v2", b"a plan")
        await plans.count(hit=True)
        await PriceTable(hands.connection).put({"small": Price(input=1, as_of=date(2026, 11, 1))})
        await Ledger(hands.connection, Settings()).keep_tenant("acme", weight=2)
        await Limiters(hands.connection).set("box", Limits(requests_per_minute=60))
        await hands.begin("j3", "t1:b", budget=0.5)
        (claim,), _ = await hands.worker().claim(["run:b"], 1, {"run:b": model_limiters("box/small")})
        await hands.log.submit("j6", a_request("t1:a"), parent="j3")
        await look()
        await hands.call("HINCRBY", hands.keys.money("j3"), "open", 10)
        assert await hands.worker().park(claim, "job:j3", 500_000) == "parked"
        await look()

        await hands.call("PUBLISH", f"{hands.keys.prefix}:that is all", "")
        heard = set()
        async for message in channels.listen():
            name = message["channel"].decode().partition(":")[2]
            if name == "that is all":
                break
            heard.add(form(name, CHANNELS))

    table = dict(ROW.findall(listed.__doc__ or ""))
    assert found == table
    assert heard - {"*"} == {"events:JOB", "over:JOB", "deltas:JOB", "stop:WORKER", "published"}
