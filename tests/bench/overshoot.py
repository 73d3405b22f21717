"""Whether a budget holds: many calls at once, workers killed and streams cut, against the model server's own count."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

from experts.catalog.loader import versioned
from swarm.broker.price_table import PriceTable
from swarm.settings import Settings
from swarm.testing.model_server import DONE, ModelServer, Received, Stream, chunk
from swarm.types.answer import Answer
from swarm.types.card import Card
from swarm.types.price import Price
from tests.bench.report import Metric, Samples
from tests.bench.rig import ROUTER, BenchError, Rig, naps, rig, until
from tests.bench.serve import Pool

FAN = (8, 32, 128)
PRICE = Price(input=1_000_000, output=4_000_000, as_of=date(2026, 11, 1))
"""1 and 4 micro-dollars a token."""
EACH = 500
"""Micro-dollars of a budget for each subtask: less than one call can cost at the most, so not all calls fit."""
CAP = 60
"""Tokens that an answer may have."""
CUT, DEAF = 0.1, 0.05
"""Shares of calls whose stream is cut, and for which the server does not heed the cap."""
TOKEN_SECONDS = 0.003
WRITER_CARD = versioned(Card(name="writer", kind="instruction", description="Writes.", model="bench/writer"))
METRICS = {
    f"{name}_{count}": metric
    for count in FAN
    for name, metric in (
        ("over", Metric("micro-dollars", "0", row=f"budget overshoot at fan-out {count}, kills and cut streams on")),
        ("untold", Metric("micro-dollars", "0")),
        ("spent", Metric("% of budget")),
        ("told", Metric("% of budget")),
        ("calls", Metric("calls")),
    )
}


async def overshoot(rounds: int) -> Samples:
    """What a job's calls cost by the model server's count, over its budget; at fan-out 8, 32 and 128.

    One of two workers is killed while both have calls open. Tokens count as the server reads and writes them. `untold`
    is what the server counted beyond what the answer owns up to, settled and presumed; `spent` and `told` are those two
    in per cent of the budget.
    """
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    counter = Counter()
    async with ModelServer(counter) as server:
        for count in FAN:
            pool = Pool(slots=count // 2, environ={"SWARM_ENDPOINT_BENCH_URL": server.url})
            settings = Settings(window=count, max_output=CAP)
            async with rig(ROUTER, pool, pool, settings=settings, cards=[WRITER_CARD]) as bench:
                await PriceTable(bench.connection).put({WRITER_CARD.model: PRICE})
                for _ in range(rounds):
                    counter.clear()
                    answer = await _spent(bench, server, counter, pool, count)
                    budget, told = EACH * count, answer.usage.cost + answer.usage.presumed
                    found[f"over_{count}"].append(max(0.0, counter.cost - budget))
                    found[f"untold_{count}"].append(max(0.0, counter.cost - told))
                    found[f"spent_{count}"].append(100 * counter.cost / budget)
                    found[f"told_{count}"].append(100 * told / budget)
                    found[f"calls_{count}"].append(counter.calls)
    return found


async def _spent(bench: Rig, server: ModelServer, counter: Counter, pool: Pool, count: int) -> Answer:
    """Run one job, and kill a worker in the middle of its calls; returns when no call is open."""

    async def under_way() -> bool:
        return counter.calls >= count // 4 and server.open > 0

    async def over() -> bool:
        return not server.open

    plan = naps(*[0.0] * count, expert=WRITER_CARD.name)
    job = await bench.client.submit("a bench", plan=plan, budget=EACH * count / 1e6)
    await until(under_way, "calls are open")
    _, *_ = await asyncio.gather(bench.kill(bench.pids[-1]), bench.start(pool))
    answer = await job.answer(120)
    await until(over, "no call is open")
    if answer.ending not in ("completed", "partial", "over_budget") or not answer.usage.cost:
        raise BenchError(f"a job ended {answer.ending} and cost {answer.usage.cost}: {answer.reason}")
    return answer


class Counter:
    """The script of a `ModelServer` that counts what its calls cost. A token is four bytes of a request, one piece of
    an answer."""

    def __init__(self) -> None:
        self._chance = random.Random(0)
        self.clear()

    def clear(self) -> None:
        self.calls = 0
        self.cost = 0.0
        """Micro-dollars."""

    def __call__(self, request: Received) -> Stream:
        self.calls += 1
        sent = -(-len(json.dumps(request.body["messages"])) // 4)
        self._pay(sent, 0)
        cap = int(request.body.get("max_completion_tokens") or request.body.get("max_tokens") or 2 * CAP)
        most = 2 * cap if self._chance.random() < DEAF else cap
        broken = self._chance.random() < CUT
        return Stream(self.written(sent, self._chance.randint(most // 2, most), broken), cut=broken)

    async def written(self, sent: int, tokens: int, broken: bool) -> AsyncIterator[Any]:
        """The answer, counted as it goes out: half of it and no end if it is `broken`."""
        for _ in range(tokens // 2 if broken else tokens):
            await asyncio.sleep(TOKEN_SECONDS)
            self._pay(0, 1)
            yield chunk("word")
        if not broken:
            yield chunk(finish_reason="stop")
            usage = {"prompt_tokens": sent, "completion_tokens": tokens, "total_tokens": sent + tokens}
            yield chunk(choices=[], usage=usage)
            yield DONE

    def _pay(self, sent: int, received: int) -> None:
        self.cost += PRICE.cost(sent, received)
