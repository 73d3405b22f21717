"""A model server that keeps its own bill: every byte of a prompt is a token to it, and every piece that it writes.

It is the dearest tokenizer there can be, so what is held for a call is nearly all that the call can cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import date
from itertools import count
from typing import Any, Literal

from swarm.llm.metered import PER_MESSAGE
from swarm.testing.model_server import DONE, ModelServer, Received, Reply, Stream, chunk, completion
from swarm.types.price import Price

Manner = Literal["plain", "cut", "silent", "broken", "busy", "hang"]
"""How a request is answered: in full, cut in the middle, without a usage, with 500, with 429, or never."""

PRICE = Price(input=1_000_000, output=4_000_000, as_of=date(2026, 11, 1))
"""A micro-dollar for a token of a prompt, four for one of an answer."""


class BilledServer(ModelServer):
    """Writes `length` tokens for each request, or as many as it is asked for at most if it is `obedient`.

    `manner` says how the request with that number, counted from 1, is answered; `bill` is in micro-dollars.
    """

    def __init__(
        self,
        length: int = 20,
        *,
        obedient: bool = True,
        pause: float = 0.0,
        manner: Callable[[int], Manner] = lambda number: "plain",
    ) -> None:
        super().__init__(self._answer)
        self.length, self.obedient, self.pause, self.manner = length, obedient, pause, manner
        self.bill = 0
        self.answered = 0
        self._numbers = count(1)

    async def _answer(self, request: Received) -> Reply | Stream:
        manner = self.manner(next(self._numbers))
        if manner == "busy":
            return Reply({"error": {"message": "slow down"}}, 429, {"retry-after": "0.05"})
        sent = sum(len(m["content"].encode()) + PER_MESSAGE for m in request.body["messages"])
        self.bill += PRICE.cost(sent, 0)
        if manner == "hang":
            await asyncio.sleep(60)
        if manner == "broken":
            self.bill += PRICE.cost(0, self.length)
            return Reply({"error": {"message": "out of order"}}, 500)
        cap = request.body.get("max_tokens") if self.obedient else None
        length = min(self.length, cap or self.length)
        finish = "stop" if length == self.length else "length"
        usage = {"prompt_tokens": sent, "completion_tokens": length, "total_tokens": sent + length}
        if not request.streamed:
            self.bill += PRICE.cost(0, length)
            self.answered += 1
            return Reply(completion("".join(f"word{n} " for n in range(length)), finish_reason=finish, usage=usage))
        last = chunk(finish_reason=finish, usage=None if manner == "silent" else usage)
        cut = manner == "cut"
        return Stream(self._written(length // 2 if cut else length, [] if cut else [last, DONE]), cut=cut)

    async def _written(self, length: int, last: list[Any]) -> AsyncIterator[Any]:
        pause = self.pause  # a test may let later answers be quicker
        for number in range(length):
            self.bill += PRICE.cost(0, 1)
            yield chunk(f"word{number} ")
            await asyncio.sleep(pause)
        for part in last:
            yield part
        self.answered += bool(last)
