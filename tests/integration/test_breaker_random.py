"""The breakers of two models of one endpoint under any order of events, against a small model of one in Python."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import count

import pytest

from swarm.broker.ledger import Health, Ledger
from swarm.broker.limiters import limiters_of, model_limiters
from swarm.broker.queue import Claim
from swarm.settings import Settings
from tests.conftest import Hands, a_card

MODELS = ("box/one", "box/two")
ENDPOINT = "endpoint:box"
HEALTHS: tuple[Health, ...] = ("", "up", *("model",) * 7, *("endpoint",) * 5)
Call = tuple[str, int]
"""A claim's key, and the number of its call; 0 for one that was let in and has not reserved yet."""


@dataclass
class Breaker:
    """What a breaker should do. `over` holds the calls and claims of which nothing more is to come."""

    over: set[str | Call]
    fails: int = 0
    span: int = 0
    shut: bool = False
    probe: Call | None = None

    @property
    def open(self) -> bool:
        return self.span > 0

    def tried_by(self) -> Call | None:
        """Who tries it out, if somebody still does."""
        return None if self.probe is None or self.over & {self.probe, self.probe[0]} else self.probe

    def lets(self, call: Call) -> bool:
        return not self.open or not (self.shut or self.tried_by() not in (None, (call[0], 0)))

    def heed(self, call: Call, health: str) -> None:
        if health == "up":
            self.fails, self.span, self.shut, self.probe = 0, 0, False, None
        elif health == "down" and not self.open:
            self.fails += 1
            if self.fails == 5:
                self.fails, self.span, self.shut = 0, 5_000, True
        elif self.open and self.probe == call:
            self.probe = None
            if health == "down":
                self.span, self.shut = min(60_000, 2 * self.span), True


@dataclass
class Play:
    """Workers that claim, call, hear of their calls, end and are killed, in any order."""

    hands: Hands
    random: random.Random
    over: set[str | Call] = field(default_factory=set)
    calls: dict[Call, tuple[Claim, str]] = field(default_factory=dict)
    held: list[Claim] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)
    jobs: int = 0
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ledger, self.numbers = Ledger(self.hands.connection, Settings()), count(1)
        self.breakers = {limiter: Breaker(self.over) for limiter in (*(f"model:{name}" for name in MODELS), ENDPOINT)}
        self.words = {"run:a": model_limiters(MODELS[0]), "run:b": limiters_of(a_card("b", model=MODELS[1]))}

    def limiters(self, model: str) -> dict[str, Breaker]:
        return {limiter: self.breakers[limiter] for limiter in (f"model:{model}", ENDPOINT)}

    async def step(self) -> None:
        moves = [self.claim, self.pause_over, self.pause_over]
        moves += [self.call] * 4 + [self.end, self.kill] if self.held else []
        moves += [self.settle] * 4 if self.calls else []
        await self.random.choice(moves)()

    async def claim(self) -> None:
        """From the queue that goes on, or the one that waits for its breakers."""
        expert = self.random.choice("abb")
        self.jobs += 1
        await self.hands.submit(f"j{self.jobs}", *(f"t{i}:{expert}" for i in range(3)))
        while advances := await self.hands.claim("advance"):
            await self.hands.advance(advances[0].job, advances[0])
        limiters = self.limiters(MODELS[1]) if expert == "b" else {}
        tried = [breaker for breaker in limiters.values() if breaker.open]
        worker = self.hands.worker(self.random.choice(("w1", "w2")), lease=300)
        await self.hands.no_grace()
        found, _ = await worker.claim([f"run:{expert}"], 4, {f"run:{expert}": self.words[f"run:{expert}"]})
        # whoever comes to a queue notices who was killed there
        self.killed -= {claim.key for claim, _ in self.calls.values() if claim.queue == f"run:{expert}"}

        if any(breaker.shut or breaker.tried_by() for breaker in tried):
            assert found == []
            self.seen.add("waited")
        elif tried:
            assert len(found) == 1
            self.seen.add("let in")
            for breaker in tried:
                breaker.probe = found[0].key, 0
        else:
            assert found
        self.held += found

    async def pause_over(self) -> None:
        limiter = self.random.choice(sorted(self.breakers))
        if self.breakers[limiter].shut:
            await self.hands.call("HINCRBY", self.hands.keys.limiter(limiter), "shut", -60_001)
            self.breakers[limiter].shut = False

    async def call(self) -> None:
        claim = self.random.choice(self.held)
        model = MODELS[1] if claim.queue == "run:b" else self.random.choice(MODELS)
        number = next(self.numbers)
        call = claim.key, number
        limiters = self.limiters(model)
        lets = all(breaker.lets(call) for breaker in limiters.values())
        tries = lets and any(breaker.open for breaker in limiters.values())

        said = [await self.ledger.reserve(claim, number, None, model=model) for _ in range(self.random.randint(1, 2))]

        assert {(found.verdict, found.probe) for found in said} == {("free" if lets else "broken", tries)}
        if lets:
            self.calls[call] = claim, model
            for breaker in limiters.values():
                if breaker.open:
                    breaker.probe = call
        self.seen.add("tried" if tries else "called" if lets else "refused")

    async def settle(self) -> None:
        call = self.random.choice(sorted(self.calls))
        claim, model = self.calls.pop(call)
        health = self.random.choice(HEALTHS)
        await self.ledger.settle(claim, call[1], 0, model=model, health=health)
        if claim.key not in self.over or claim.key in self.killed:
            own, endpoint = self.limiters(model).values()
            own.heed(call, {"model": "down", "up": "up"}.get(health, ""))
            endpoint.heed(call, {"model": "up", "endpoint": "down"}.get(health, health))
        self.over.add(call)

    async def end(self) -> None:
        claim = self._pop()
        await self.hands.fail(claim, retryable=False)

    async def kill(self) -> None:
        """Its lease has run out and nobody has noticed; what its last calls came to may yet be told."""
        claim = self._pop()
        self.killed.add(claim.key)
        await self.hands.call(
            "ZADD", self.hands.keys.queue(claim.queue, "leases"), await self.hands.now() - 1, claim.id
        )

    def _pop(self) -> Claim:
        claim = self.held.pop(self.random.randrange(len(self.held)))
        self.over.add(claim.key)
        return claim

    async def check(self) -> None:
        for limiter, breaker in self.breakers.items():
            raw = await self.hands.call("HMGET", self.hands.keys.limiter(limiter), "fails", "span", "broken")
            assert len((raw[0] or b"").split()) == breaker.fails, limiter
            assert (int(raw[1] or 0), raw[2] is not None) == (breaker.span, breaker.open), limiter


@pytest.mark.parametrize("seed", range(8))
async def test_breakers_do_what_their_model_does(hands: Hands, seed: int) -> None:
    play = Play(hands, random.Random(seed))
    for _ in range(400):
        await play.step()
        await play.check()

    assert play.seen >= {"called", "tried", "refused", "waited"}
