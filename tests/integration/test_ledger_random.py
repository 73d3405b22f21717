"""The scripts of the books against a model that a reader can check: whatever the order, sums agree and limits hold."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog
from swarm.broker.ledger import FIELDS, Ledger, Reserved, Spent, spent
from swarm.broker.queue import Claim
from swarm.errors import AskRefused, OverBudget
from swarm.settings import Settings
from tests.conftest import Hands, a_request, run
from workers.local_redis.server import PrivateRedis

PREFIX = "money"
TENANT_LIMIT, DAY_LIMIT = 50, 80
SUBTASKS = ("t1:a", "t2:a", "t3:a")
BUDGETS = (None, 0, 12, 25)
OPS = (
    "submit",
    "submit",
    "child",
    "child",
    *["reserve"] * 4,
    *["settle", "claim", "leave"] * 2,
    "presume",
    "lose",
    "late",
    "end",
)
STEPS = st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 99), st.integers(0, 14)), min_size=5, max_size=60)
SETTINGS = Settings(prefix=PREFIX, tenant_budget=TENANT_LIMIT / 1e6, day_budget=DAY_LIMIT / 1e6)
TOKENS = 3
"""That each call used."""
LEASE = 60.0
Hold = tuple[Claim, int]


@dataclass
class JobBooks:
    """What a job's books should say."""

    tenant: str
    limit: int | None
    above: JobBooks | None = None
    """The job that it is a part of."""
    below: list[JobBooks] = field(default_factory=list)
    own: int = 0
    """What its own calls came to."""
    held: dict[tuple[str, int], tuple[Hold, int]] = field(default_factory=dict)
    presumed: dict[tuple[str, int], tuple[Hold, int]] = field(default_factory=dict)
    ended: bool = False
    asked: bool = False
    """Whether it was asked to end, by its caller or since what it is a part of has ended."""
    told: set[tuple[str, int]] = field(default_factory=set)
    """Calls whose tokens are counted."""

    @property
    def settled(self) -> int:
        return self.own + sum(job.settled for job in self.below)

    @property
    def spent(self) -> int:
        return self.own + _sum(self.presumed) + sum(job.spent for job in self.below)

    @property
    def open(self) -> int:
        return _sum(self.held) + sum(job.open for job in self.below)

    @property
    def payer(self) -> JobBooks:
        return self.above.payer if self.above else self

    @property
    def over(self) -> bool:
        """Whether no call is to be made for it any more."""
        return self.ended or self.asked or (self.above is not None and self.above.over)

    @property
    def depth(self) -> int:
        return self.above.depth + 1 if self.above else 0


def _sum(holds: Mapping[tuple[str, int], tuple[Hold, int]]) -> int:
    return sum(amount for _, amount in holds.values())


class Play:
    """Does what workers do with money, in both worlds."""

    def __init__(self, connection: Connection) -> None:
        self.ledger = Ledger(connection, SETTINGS)
        self.hands = Hands(connection, JobLog(connection, SETTINGS), CatalogStore(connection, 60))
        self.jobs: dict[str, JobBooks] = {}
        self.claims: list[Claim] = []
        self.calls = 0
        self.day = 0

    async def step(self, what: str, which: int, amount: int) -> None:
        match what:
            case "submit":
                await self.submit(("acme", "other")[which % 2], BUDGETS[which % len(BUDGETS)])
            case "child" if self.claims:
                await self.child(self.claims[which % len(self.claims)].job)
            case "reserve" if self.claims:
                await self.reserve(self.claims[which % len(self.claims)], amount)
            case "settle" | "presume" if held := self.all("held"):
                await self.settle(*held[which % len(held)], None if what == "presume" else amount)
            case "late" if presumed := self.all("presumed"):
                await self.settle(*presumed[which % len(presumed)], amount)
            case "lose" if self.claims:
                await self.lose(self.claims[which % len(self.claims)])
            case "claim":
                self.claims += await self.claim(1 + which % 3)
            case "leave" if self.claims:
                await self.leave(self.claims[which % len(self.claims)])
            case "end" if open_jobs := [name for name, job in self.jobs.items() if not job.ended]:
                await self.end(open_jobs[which % len(open_jobs)], (0, 1, 2, 99)[amount % 4])
            case "decide":
                await self.decide(1 + amount)
        await self.look()

    def all(self, kind: str) -> list[tuple[str, tuple[str, int]]]:
        return [(name, key) for name, job in self.jobs.items() for key in getattr(job, kind)]

    async def submit(self, tenant: str, limit: int | None) -> None:
        name = f"j{len(self.jobs) + 1}"
        books = JobBooks(tenant, limit)
        fits = limit is None or all(limit <= most - sum(self.taken(scope)) for scope, most in self.scopes(books))
        try:
            await self.hands.submit(name, *SUBTASKS, tenant=tenant, budget=None if limit is None else limit / 1e6)
        except OverBudget:
            assert not fits
            return
        assert fits
        self.jobs[name] = books
        await self.decide()
        self.claims += await self.claim(3)

    async def child(self, parent: str) -> None:
        """An expert asks for a job, which is a part of its own."""
        above, name = self.jobs[parent], f"j{len(self.jobs) + 1}"
        request = a_request("t1:a", "t2:a", tenant=above.tenant)
        if above.asked or above.ended or above.depth >= SETTINGS.ask_depth:
            with pytest.raises(AskRefused):
                await self.hands.log.submit(name, request, parent=parent)
            return
        await self.hands.log.submit(name, request, parent=parent)
        self.jobs[name] = JobBooks(above.tenant, None, above)
        above.below.append(self.jobs[name])
        await self.decide()
        self.claims += await self.claim(2)

    async def claim(self, free: int, worker: str = "w1") -> list[Claim]:
        """Nobody renews these, so they last as long as a play does."""
        return await self.hands.claim("run:a", self.hands.worker(worker, lease=LEASE), free=free)

    async def reserve(self, claim: Claim, amount: int) -> None:
        self.calls += 1
        job = self.jobs[claim.job]
        verdict = self.verdict(claim, job, amount)
        found = await self.ledger.reserve(claim, self.calls, amount)
        assert found.verdict == verdict
        if verdict == "full" and not any(hold[0].key == claim.key for hold, _ in job.held.values()):
            assert await self.hands.worker().park(claim, found.scope, amount) == "parked"
            self.claims.remove(claim)
        if verdict == "ok":
            job.held[claim.key, self.calls] = (claim, self.calls), amount
            assert await self.ledger.reserve(claim, self.calls, amount) == Reserved("ok")

    def verdict(self, claim: Claim, job: JobBooks, amount: int) -> str:
        if job.over:
            return "gone"
        if (payer := job.payer).limit is not None:
            rooms = [(payer.limit - payer.spent, payer.open)]
        else:
            rooms = [(most - self.taken(scope)[0], self.taken(scope)[1]) for scope, most in self.scopes(job)]
        if amount and any(amount > most for most, _ in rooms):
            return "never"
        return "full" if amount and any(amount > most - open_now for most, open_now in rooms) else "ok"

    async def settle(self, name: str, key: tuple[str, int], actual: int | None) -> None:
        job = self.jobs[name]
        was_held = key in job.held
        hold, amount = (job.held if was_held else job.presumed).pop(key)
        if actual is None:
            job.presumed[key] = hold, amount
        else:
            # what is late may only lower what was presumed; in time, no call here costs more than was held
            job.own += min(actual, amount)
            actual = min(actual, amount) if was_held else actual
        tokens = 0 if key in job.told else TOKENS
        job.told.add(key)
        assert await self.ledger.settle(*hold, actual, tokens=tokens) == amount
        assert await self.ledger.settle(*hold, None, tokens=tokens) is None

    async def lose(self, claim: Claim) -> None:
        """Its worker is gone, and another has the delivery now."""
        await self.hands.expire_lease(claim)
        self.claims.remove(claim)
        self.claims += await self.claim(99, "w2")
        self.presume(lambda held: held[0].key == claim.key)

    async def leave(self, claim: Claim) -> None:
        """It is done, and what it still held is presumed."""
        self.claims.remove(claim)
        await self.hands.solve(claim)
        self.presume(lambda held: held[0].key == claim.key)
        await self.decide()

    async def end(self, name: str, decisions: int) -> None:
        await self.hands.log.cancel(name)
        self.jobs[name].asked = True
        await self.decide(decisions)

    async def decide(self, most: int = 999) -> None:
        """So many of those that ask for a decision have one; jobs that ended have nothing in their hands any more."""
        while most and (claims := await self.hands.claim("advance")):
            await self.hands.advance(claims[0].job, claims[0])
            most -= 1
        for name, job in self.jobs.items():
            if not job.ended and await self.hands.log.answer(name) is not None:
                job.ended = True
                self.claims = [claim for claim in self.claims if claim.job != name]
                self.presume(lambda held, name=name: held[0].job == name)  # type: ignore[misc]
                for child in job.below:
                    child.asked = True

    def presume(self, lost: Callable[[Hold], bool]) -> None:
        for job in self.jobs.values():
            gone = {key: item for key, item in job.held.items() if lost(item[0])}
            job.presumed |= gone
            job.held = {key: item for key, item in job.held.items() if key not in gone}

    # -- the books

    def scopes(self, job: JobBooks) -> list[tuple[str, int]]:
        return [(job.tenant, TENANT_LIMIT), ("", DAY_LIMIT)]

    def taken(self, tenant: str) -> tuple[int, int]:
        """What a tenant's day (or the day) has spent, and what is open in it."""
        books = self.books(tenant)
        return books.settled + books.presumed, books.open + books.earmarked

    def books(self, tenant: str) -> Spent:
        jobs = [job for job in self.jobs.values() if tenant in ("", job.tenant)]
        tops = [job for job in jobs if job.above is None]
        return Spent(
            settled=sum(job.settled for job in tops),
            presumed=sum(job.spent - job.settled for job in tops),
            open=sum(job.open for job in tops if job.limit is None),
            earmarked=sum(job.limit - job.spent for job in tops if job.limit is not None and not job.ended),
            tokens=sum(TOKENS * len(job.told) for job in jobs),
        )

    async def look(self) -> None:
        for tenant in ("acme", "other", ""):
            scope = f"tenant:{tenant}:{self.day}" if tenant else f"day:{self.day}"
            now = spent(await self.hands.call("HMGET", self.hands.keys.budget(scope), *FIELDS))
            assert replace(now, limit=None) == self.books(tenant)
            assert sum(self.taken(tenant)) <= (TENANT_LIMIT if tenant else DAY_LIMIT)
        found = await asyncio.gather(*map(self.hands.log.spent, self.jobs))
        for (name, job), spent_now in zip(self.jobs.items(), found, strict=True):
            assert spent_now == Spent(job.settled, job.spent - job.settled, job.open, limit=job.limit)
            assert job.limit is None or job.spent + job.open <= job.limit
            if job.ended:
                answer = await self.hands.log.answer(name)
                assert answer is not None
                assert (answer.usage.cost, answer.usage.presumed) == (job.settled, job.spent - job.settled + job.open)
        await self.look_at_those_who_wait()

    async def look_at_those_who_wait(self) -> None:
        """Each of them waits for something: a call under way, a job's end, or one that was to go on before it."""
        opens = {f"job:{name}": job.open for name, job in self.jobs.items()}
        opens |= {f"tenant:{name}:{self.day}": self.taken(name)[1] for name in ("acme", "other")}
        opens[f"day:{self.day}"] = self.taken("")[1]
        deliveries = await self.hands.call("KEYS", self.hands.keys.delivery("*"))
        scopes = await asyncio.gather(*(self.hands.call("HGET", delivery, "parked") for delivery in deliveries))
        chosen = dict(zip(deliveries, scopes, strict=True))
        ranges = (self.hands.call("ZRANGE", self.hands.keys.parked(scope), 0, -1) for scope in opens)
        for (scope, open_now), parked in zip(opens.items(), await asyncio.gather(*ranges), strict=True):
            waiting = [name for name in parked if not self.jobs[name.decode().partition(":")[0]].over]
            keys = {self.hands.keys.delivery(name.decode()).encode() for name in parked}
            next_one = [key for key, of in chosen.items() if of == scope.encode() and key not in keys]
            assert not waiting or open_now or next_one, f"{waiting} wait for nothing in {scope}"


async def act(url: str, steps: list[tuple[str, int, int]]) -> None:
    async with Connection.open(url, PREFIX) as connection:
        await connection.call("FLUSHALL")
        play = Play(connection)
        play.day = await play.ledger.today()
        await play.hands.publish("a")
        for step in steps:
            await play.step(*step)
        for name, job in play.jobs.items():
            if not job.ended:
                await play.end(name, 999)
        assert all(job.ended for job in play.jobs.values())
        await play.look()
        for tenant in ("acme", "other", ""):
            assert play.taken(tenant)[1] == 0, "nothing is left open, nothing set aside"
        assert await connection.call("KEYS", "*:parked:*") == []
        await connection.call("FLUSHALL")


@given(STEPS)
@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_whatever_the_order_the_sums_agree_and_no_limit_is_passed(
    redis_server: PrivateRedis, steps: list[tuple[str, int, int]]
) -> None:
    run(act(redis_server.url, steps))


@pytest.mark.parametrize("seed", range(4))
def test_the_same_holds_over_long_plays_with_many_jobs_below_jobs(redis_server: PrivateRedis, seed: int) -> None:
    chance = random.Random(seed)
    often = (*OPS, *["child", "reserve"] * 4)
    steps = [(chance.choice(often), chance.randrange(100), chance.randrange(15)) for _ in range(100)]
    run(act(redis_server.url, steps))
