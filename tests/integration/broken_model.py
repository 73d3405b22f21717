"""An expert's queue before a model that may be down, and the calls of its deliveries."""

from __future__ import annotations

from itertools import count

from swarm.broker.ledger import Health, Ledger, Reserved
from swarm.broker.limiters import limiters_of, model_limiters
from swarm.broker.queue import Claim, Queue
from swarm.settings import Settings
from tests.conftest import Hands, a_card

MODEL = "box/small"
WAITS = limiters_of(a_card("a", model=MODEL))
PASSES = model_limiters(MODEL)


class Desk:
    """An expert's queue before a model that may be down, and the calls of its deliveries."""

    def __init__(self, hands: Hands, words: str = WAITS) -> None:
        self.hands, self.words = hands, words
        self.ledger, self.numbers = Ledger(hands.connection, Settings()), count(1)
        self.w1, self.w2 = hands.worker("w1", lease=300), hands.worker("w2", lease=300)

    async def fill(self, count: int, job: str = "j1") -> None:
        await self.hands.begin(job, *(f"t{i}:a" for i in range(count)))
        await self.hands.no_grace()

    async def come(self, free: int = 100, worker: Queue | None = None, words: str | None = None) -> list[Claim]:
        return (await self.look(free, worker, words))[0]

    async def look(
        self, free: int = 100, worker: Queue | None = None, words: str | None = None
    ) -> tuple[list[Claim], float | None]:
        return await (worker or self.w1).claim(["run:a"], free, {"run:a": self.words if words is None else words})

    async def reserve(self, claim: Claim, call: int | None = None, model: str = MODEL) -> tuple[int, Reserved]:
        number = next(self.numbers) if call is None else call
        return number, await self.ledger.reserve(claim, number, 0, model=model, seconds=30)

    async def call(self, claim: Claim, health: Health, model: str = MODEL) -> Reserved:
        """A whole call; a refused one is not made."""
        number, found = await self.reserve(claim, model=model)
        if found.verdict == "free":
            await self.settle(claim, number, health, model)
        return found

    async def settle(self, claim: Claim, number: int, health: Health, model: str = MODEL) -> None:
        await self.ledger.settle(claim, number, 0, model=model, health=health)

    async def opened(self, health: Health = "model") -> Claim:
        """Break what is not broken yet; the claim whose calls did that."""
        await self.fill(1, "j0")
        (claim,) = await self.come(words=PASSES)
        for _ in range(5):
            assert (await self.call(claim, health)).verdict == "free"
        return claim

    async def pass_by(self, limiter: str = f"model:{MODEL}", ms: int = 60_000) -> None:
        """Let a breaker be half open."""
        await self.hands.call("HINCRBY", self.hands.keys.limiter(limiter), "shut", -ms)

    async def field(self, name: str, limiter: str = f"model:{MODEL}") -> str | None:
        return await self.hands.field(self.hands.keys.limiter(limiter), name)
