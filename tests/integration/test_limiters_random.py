"""Limiters under any order of events: who holds a place is who holds a lease, and nobody is ever too many."""

from __future__ import annotations

import random

import pytest

from swarm.broker.limiters import Limiters, limiters_of
from swarm.broker.queue import Claim
from swarm.types.card import Limits
from tests.conftest import Hands, a_card

SCOPE = "day:20000"
PLACES = 4


class Play:
    """Three experts of one model whose endpoint takes four at once, and two workers."""

    def __init__(self, hands: Hands, seed: int) -> None:
        self.hands, self.random = hands, random.Random(seed)
        self.limiters = {f"run:{name}": limiters_of(a_card(name, model="box/small")) for name in "abc"}
        self.limiters["run:a"] = limiters_of(a_card("a", model="box/small", limits=Limits(concurrency=2)))
        self.workers = [hands.worker(name, lease=30) for name in ("w1", "w2")]
        self.held: list[Claim] = []
        self.jobs = 0

    async def step(self) -> None:
        moves = [self.submit, self.claim, self.claim, self.claim]
        moves += [self.solve, self.fail, self.hand_back, self.lose, self.park, self.renew] if self.held else []
        await self.random.choice(moves)()

    async def submit(self) -> None:
        self.jobs += 1
        await self.hands.submit(f"j{self.jobs}", *(f"t{i}:{self.random.choice('abc')}" for i in range(5)))
        while claims := await self.hands.claim("advance"):
            await self.hands.advance(claims[0].job, claims[0])

    async def claim(self) -> None:
        queues = self.random.sample(sorted(self.limiters), 3)
        worker = self.random.choice(self.workers)
        found, _ = await worker.claim(queues, self.random.randint(1, 6), self.limiters)
        self.held += found

    async def solve(self) -> None:
        claim = self._pop()
        await self.hands.solve(claim)

    async def fail(self) -> None:
        await self.hands.fail(self._pop(), retryable=False)

    async def hand_back(self) -> None:
        await self.workers[0].hand_back([self._pop()])

    async def lose(self) -> None:
        claim = self._pop()
        await self.hands.expire_lease(claim)
        for limiter in self.names(claim):
            await self.hands.call(
                "ZADD", self.hands.keys.limiter(f"{limiter}:running"), await self.hands.now() - 1, claim.id
            )

    async def park(self) -> None:
        await self.workers[0].park(self._pop(), SCOPE, 5)

    async def renew(self) -> None:
        await self.workers[0].renew(self.held)

    def names(self, claim: Claim) -> list[str]:
        return [word for word in self.limiters[claim.queue].split() if word[0] not in "=!"]

    def _pop(self) -> Claim:
        return self.held.pop(self.random.randrange(len(self.held)))

    async def check(self) -> None:
        """Places are held by those whose leases run, at every limiter they went through."""
        now = await self.hands.now()
        for limiter in ("endpoint:box", "model:box/small", "expert:a"):
            key = self.hands.keys.limiter(f"{limiter}:running")
            holders = {name.decode() for name in await self.hands.call("ZRANGEBYSCORE", key, now, "+inf")}
            assert holders == {claim.id for claim in self.held if limiter in self.names(claim)}
        assert len(self.held) <= PLACES
        assert len([claim for claim in self.held if claim.queue == "run:a"]) <= 2


@pytest.mark.parametrize("seed", range(6))
async def test_places_are_held_by_leases_and_by_nobody_else(hands: Hands, seed: int) -> None:
    play = Play(hands, seed)
    await Limiters(hands.connection).set("box", Limits(concurrency=PLACES))
    await hands.call("HSET", hands.keys.budget(SCOPE), "limit", 9, "earmarked", 9)
    await hands.call("PEXPIRE", hands.keys.budget(SCOPE), 60_000)
    await hands.no_grace()
    for _ in range(120):
        await play.step()
        await play.check()

    assert play.jobs
