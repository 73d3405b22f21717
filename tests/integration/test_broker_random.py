"""Three workers do things in any order, also what only a zombie would do: what must hold, holds after every step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog, new_token
from swarm.broker.job_records import Decision, JobState, decode_state
from swarm.broker.keys import ETERNAL, WAKE_TOKENS
from swarm.broker.queue import MAX_LOST, Claim
from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.settings import Settings
from swarm.types.answer import Answer
from swarm.types.events import Planned
from tests.builders import subtasks
from tests.conftest import Hands, run
from workers.local_redis.server import PrivateRedis

QUEUES = ("advance", "plan", "answer", "run:a", "run:b")
PLANS = (("t1:a",), ("t1:a", "t2:b<-t1"), ("t1:a", "t2:a", "t3:b<-t1,t2"), ())
PREFIX = "random"

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["submit", "claim", "claim", "claim", "finish", "finish", "fail", "renew", "hand_back", "lost", "expire",
             "outage", "step", "due", "cancel", "append", "append", "decide", "decide", "decide_late", "decide_again",
             "repeat"]
        ),
        st.integers(0, 7),
        st.integers(0, 7),
    ),
    min_size=5,
    max_size=60,
)  # fmt: skip


class Play:
    """What the workers remember; a dead one's claims stay here and are tried later, as a zombie would."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.log = JobLog(connection, Settings(max_age=600, retention=600, window=2))
        self.hands = Hands(connection, self.log, CatalogStore(connection, 600))
        self.claims: list[Claim] = []
        self.written: list[tuple[Claim, JobState, Decision, str]] = []
        self.jobs: list[str] = []

    # -- steps: each takes two numbers that choose

    async def step(self, name: str, one: int, two: int) -> None:
        do: Callable[[int, int], Awaitable[None]] = getattr(self, f"do_{name}")
        await do(one, two)

    def pick(self, one: int, kind: Callable[[Claim], bool] = lambda claim: True) -> Claim | None:
        fitting = [claim for claim in self.claims if kind(claim)]
        return fitting[-1 - one % len(fitting)] if fitting else None

    async def do_submit(self, one: int, two: int) -> None:
        job = f"j{one % len(PLANS)}"
        plan = PLANS[one % len(PLANS)]
        assert await self.hands.submit(job, *plan, attempts=2) == (job not in self.jobs)
        if job not in self.jobs:
            self.jobs.append(job)

    async def do_claim(self, one: int, two: int) -> None:
        queues = list(QUEUES) if two > 4 else [QUEUES[two]]
        claims, _ = await self.hands.worker(f"w{one % 3}").claim(queues, 1 + one % 3)
        self.claims += claims

    async def do_finish(self, one: int, two: int) -> None:
        if claim := self.pick(one, lambda claim: claim.queue != "advance"):
            await self.finish(claim)

    async def finish(self, claim: Claim) -> bool:
        if claim.queue.startswith("run:"):
            return await self.hands.solve(claim)
        if claim.queue == "answer":
            body = Answer(job=claim.job, ending="completed", complete=True).model_dump_json()
            data = '{"body":"answer"}'
            return await self.hands.worker().finish(claim, "answered", data, body_key="answer", body=body)
        number = int(claim.extra[0])
        planned = Planned(round=number, subtasks=subtasks(f"r{number}.s:b"), again=True)
        data = planned.model_dump_json(exclude={"id", "type"}, exclude_defaults=True)
        return await self.hands.worker().finish(claim, "planned", data)

    async def do_append(self, one: int, two: int) -> None:
        """A planner that publishes what its whole plan has, or what it then has not."""
        if claim := self.pick(one, lambda claim: claim.queue == "plan"):
            number = int(claim.extra[0])
            piece = subtasks(f"r{number}.{'sq'[two % 2]}:b")
            held = await self.hands.field(self.connection.keys.delivery(claim.id), "owner") == claim.owner
            assert await self.log.append(claim, Planned(round=number, subtasks=piece, closed=False)) == held

    async def do_fail(self, one: int, two: int) -> None:
        if claim := self.pick(one, lambda claim: claim.queue.startswith("run:")):
            await self.hands.fail(claim, retryable=two % 2 == 0)

    async def do_renew(self, one: int, two: int) -> None:
        await self.hands.worker(f"w{one % 3}").renew(self.claims[-1 - one :], about="{}")

    async def do_hand_back(self, one: int, two: int) -> None:
        if claim := self.pick(one):
            await self.hands.worker().hand_back([claim])

    async def do_lost(self, one: int, two: int) -> None:
        if claim := self.pick(one):
            await self.hands.worker().hand_back([claim], delay=60.0 * two, lost=True)

    async def do_expire(self, one: int, two: int) -> None:
        if claim := self.pick(one):
            await self.hands.expire_lease(claim)

    async def do_outage(self, one: int, two: int) -> None:
        await self.hands.outage(10)

    async def do_step(self, one: int, two: int) -> None:
        """The clock of the host of Redis steps, mostly back: forward, a job may be over its greatest age."""
        await self.hands.step_clock((one - 6) * 10.0**two / 1_000)

    async def do_due(self, one: int, two: int) -> None:
        for queue in QUEUES[two % len(QUEUES) :]:
            for delivery in (await self.hands.stands(queue)).get("later", [])[:1]:
                await self.hands.fall_due(queue, delivery)

    async def do_cancel(self, one: int, two: int) -> None:
        if self.jobs and two == 0:
            await self.log.cancel(self.jobs[one % len(self.jobs)])

    async def do_decide(self, one: int, two: int) -> None:
        """A router that claims and decides at once."""
        claims, _ = await self.hands.worker(f"w{one % 3}").claim(["advance"], 1)
        for claim in claims:
            self.claims.append(claim)
            assert await self.decide(claim) in ("done", "again")

    async def do_decide_late(self, one: int, two: int) -> None:
        """A router that read long ago, whether it still holds its claim or not."""
        if claim := self.pick(one, lambda claim: claim.queue == "advance"):
            await self.decide(claim)

    async def decide(self, claim: Claim) -> str:
        now, token = decode_state(claim.extra), new_token()
        decided = self.hands.decision(claim.job, now)
        self.written.append((claim, now, decided, token))
        return await self.hands.write(claim, now, decided, token)

    async def do_decide_again(self, one: int, two: int) -> None:
        """The same once more, because the reply was lost."""
        if self.written:
            await self.hands.write(*self.written[-1 - one % len(self.written)])

    async def do_repeat(self, one: int, two: int) -> None:
        if claim := self.pick(one, lambda claim: claim.queue != "advance"):
            await self.finish(claim)
            assert not await self.finish(claim)

    async def drain(self) -> None:
        """Now all behave: claim, work, decide. Every job must come to its ending."""
        await self.hands.no_grace()
        for _ in range(200):
            for queue in QUEUES:
                for delivery in (await self.hands.stands(queue)).get("leases", []):
                    key = self.connection.keys.queue(queue, "leases")
                    await self.hands.call("ZADD", key, "XX", 1, delivery)
                for delivery in (await self.hands.stands(queue)).get("later", []):
                    if ":timer:" not in delivery:
                        await self.hands.fall_due(queue, delivery)
            await self.hands.no_grace()
            claims, _ = await self.hands.worker().claim(QUEUES, 5)
            if not claims:
                return
            for claim in claims:
                await (self.decide(claim) if claim.queue == "advance" else self.finish(claim))
        pytest.fail("the jobs do not come to an end")


SNAPSHOT = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do
  local name, kind = string.sub(key, #ARGV[1] + 2), redis.call('TYPE', key).ok
  local value = false
  if kind == 'hash' then
    value = redis.call('HGETALL', key)
  elseif kind == 'zset' then
    value = redis.call('ZRANGE', key, 0, -1)
  elseif kind == 'stream' then
    value = redis.call('XRANGE', key, '-', '+')
  elseif kind == 'set' then
    value = redis.call('SMEMBERS', key)
  elseif kind == 'list' then
    value = redis.call('LLEN', key)
  end
  table.insert(found, {name, redis.call('PTTL', key), value})
end
return cjson.encode(found)
"""


def check(found: list[tuple[str, int, Any]]) -> None:
    """What holds after every script."""
    kept = {name: value for name, _, value in found}
    assert not [
        name
        for name, life, _ in found
        if life == -1 and not ETERNAL.fullmatch(name) and name not in ("catalog:v1", "catalog:v1:blobs")
    ]
    assert max(kept.get(f"queue:{queue}:wake", 0) for queue in QUEUES) <= WAKE_TOKENS
    places: dict[str, list[str]] = {}
    parts: dict[str, str] = {}
    for queue in QUEUES:
        for part in ("ready", "later", "leases"):
            for delivery in kept.get(f"queue:{queue}:{part}", ()):
                places.setdefault(delivery, []).append(queue)
                parts[delivery] = part
    holding = {queue for queues in places.values() for queue in queues}
    assert holding <= set(kept.get("queues", ())), "a queue that holds deliveries is noted"
    live: dict[str, str] = {}
    for name, value in kept.items():
        if name.startswith("job:") and name.endswith(":live"):
            live |= fields(value)
    for name, queue in live.items():
        if "aside" in fields(kept[f"delivery:{name}"]):
            assert "cancel" in fields(kept[f"job:{name.split(':')[0]}"])
            places.setdefault(name, []).append(queue)
    assert places == {name: [queue] for name, queue in live.items()}, "a delivery stands in one place, of its queue"
    assert {name.removeprefix("delivery:") for name in kept if name.startswith("delivery:")} == set(live)
    for name, part in parts.items():
        delivery = fields(kept[f"delivery:{name}"])
        assert ("owner" in delivery) == (part == "leases"), name
        assert int(delivery.get("lost", 0)) < MAX_LOST
    for name in kept:
        if name.startswith("job:") and name.endswith(":log"):
            check_job(name.split(":")[1], kept, set(live))


def fields(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def check_job(job: str, kept: dict[str, Any], live: set[str]) -> None:
    now, log = fields(kept[f"job:{job}"]), kept[f"job:{job}:log"]
    kinds = [entry[0] for _, entry in log]
    assert [int(entry_id.split("-")[0]) for entry_id, _ in log] == list(range(1, len(log) + 1))
    assert int(now["seq"]) == len(log)
    assert kinds.count("ended") == (1 if "ending" in now else 0)
    assert (job in kept.get("open", ())) == ("ending" not in now)
    assert (job in kept.get("ended", ())) == ("ending" in now)
    assert (f"{job}:advance" in live) == ("advance" in now)
    if "ending" in now:
        assert kinds[-1] == "ended"
        assert not [name for name in live if name.split(":")[0] == job]
    for kind in ("accepted", "tick", "answered", "cancel_asked"):
        assert kinds.count(kind) <= 1
    assert int(now.get("cursor", 0)) <= len(log)


async def check_events(play: Play) -> None:
    """Nothing is released, settled or written down twice, and the kept progress is the fold of the log."""
    for job in play.jobs:
        events = await play.log.events(job) or []
        for kind in ("released", "outcome", "withdrawn"):
            seen = Counter((e.subtask, e.attempt) for e in events if e.type == kind)
            assert not seen or max(seen.values()) == 1, f"{kind} twice: {seen}"
        released = {(e.subtask, e.attempt) for e in events if e.type == "released"}
        assert {(e.subtask, e.attempt) for e in events if e.type in ("started", "outcome")} <= released
        raw = await play.hands.call("HMGET", play.connection.keys.job(job), "progress", "cursor", "graph")
        if raw[0] is not None:
            now = decode_state([None, raw[2], raw[0], raw[1], None, None, None, []])
            assert now.progress == fold(Progress(), events[: now.cursor])


async def act(url: str, steps: list[tuple[str, int, int]]) -> None:
    async with Connection.open(url, PREFIX) as connection:
        await connection.call("FLUSHALL")
        play = Play(connection)

        async def look() -> None:
            check(json.loads(await connection.call("EVAL", SNAPSHOT, 0, PREFIX)))
            await check_events(play)

        await play.hands.publish("a", "b")
        for step in steps:
            await play.step(*step)
            await look()
        await play.drain()
        await look()
        for job in play.jobs:
            assert await play.log.answer(job), f"{job} has not ended: {await play.hands.history(job)}"
        await connection.call("FLUSHALL")


@given(STEPS)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_whatever_the_order_nothing_is_lost_and_nothing_is_doubled(
    redis_server: PrivateRedis, steps: list[tuple[str, int, int]]
) -> None:
    run(act(redis_server.url, steps))
