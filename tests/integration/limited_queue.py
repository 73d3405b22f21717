"""One expert's queue behind limiters, for the tests of limits: what claims bring, and what calls come to."""

from __future__ import annotations

from itertools import count

from swarm.broker.ledger import Health, Ledger
from swarm.broker.limiters import Limiters, limiters_of
from swarm.broker.queue import Claim, Queue
from swarm.settings import Settings
from swarm.types.card import Limits
from tests.conftest import Hands, a_card

MODEL = "openai/gpt-6-luna"


class Line:
    """One expert's queue behind limiters, and a job with so many subtasks waiting in it."""

    def __init__(self, hands: Hands, words: str) -> None:
        self.hands, self.words, self.key, self.model = hands, words, hands.keys.limiter, MODEL
        self.limiters = Limiters(hands.connection)
        self._ledger, self._calls = Ledger(hands.connection, Settings()), count()

    async def fill(self, count: int, job: str = "j1", expert: str = "a") -> None:
        await self.hands.begin(job, *(f"t{i}:{expert}" for i in range(count)))
        await self.hands.no_grace()

    async def come(self, free: int = 100, worker: Queue | None = None, expert: str = "a") -> tuple[list[Claim], float]:
        """What a claim brings, and the seconds until the next is due (-1: unknown)."""
        queue = f"run:{expert}"
        claims, due = await (worker or self.hands.worker(lease=300)).claim([queue], free, {queue: self.words})
        return claims, -1 if due is None else due

    async def report(
        self, claim: Claim, *, tokens: int = 0, limited: bool = False, pause: float = 0.0, health: Health = ""
    ) -> None:
        """A model call of a claim that came to this."""
        call = next(self._calls)
        await self._ledger.reserve(claim, call, None)
        await self._ledger.settle(
            claim, call, 0, model=self.model, tokens=tokens, limited=limited, pause=pause, health=health
        )

    async def set_back(self, limiter: str, **fields: float) -> None:
        """Move times of a limiter by so many milliseconds."""
        for name, by in fields.items():
            await self.hands.call("HINCRBYFLOAT", self.key(limiter), name, by)

    async def woken(self, expert: str = "a") -> bool:
        """Whether somebody was told to look at the queue since the last time."""
        return bool(await self.hands.call("DEL", self.hands.keys.queue(f"run:{expert}", "wake")))


def line(hands: Hands, **limits: int) -> Line:
    """Behind the limiter of an expert with these limits."""
    return Line(hands, limiters_of(a_card("a", limits=Limits(**limits))))
