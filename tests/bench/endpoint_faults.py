"""What becomes of a job when its model's server fails, in each way that a server can: a job for each row of a table."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from itertools import count

from experts.catalog.loader import versioned
from swarm.broker.price_table import PriceTable
from swarm.testing.model_server import DONE, Answer, ModelServer, Received, Reply, Stream
from swarm.testing.openai_payloads import USAGE, chunk, completion, error
from swarm.types.answer import Ending
from swarm.types.card import Card
from swarm.types.events import Started
from swarm.types.price import Price
from tests.bench.report import Found, Metric
from tests.bench.rig import ROUTER, BenchError, Rig, rig
from tests.bench.serve import Pool

HANGS = 1.0
"""Seconds that an attempt may take."""
DEADLINE = 4.0
"""Seconds after which the one job ends that would go on."""
CLOSED = "http://127.0.0.1:9/v1"
"""Nothing listens there."""
PRICE = Price(input=1_000_000, output=4_000_000, as_of=date(2026, 11, 1))
METRICS = {
    "differ": Metric("faults", "0", row="one job for each fault of a model server: another ending than expected"),
    "seconds": Metric("s", row="the same, the longest"),
    "calls": Metric("calls"),
}

Says = Callable[[int], Answer | Awaitable[Answer]]
"""What the server says to the call with that number, counted from 1."""


@dataclass(frozen=True)
class Row:
    """A fault, and what is to become of a job that meets it: also the requests to the server, None for any number, and
    the seconds that it may take."""

    name: str
    says: Says | None
    """None: the server is not there."""
    ending: Ending = "failed"
    reason: str = ""
    calls: int | None = 1
    within: float = 1.5
    timeout: float = 10.0
    deadline: float | None = None
    streamed: bool = False
    """A budget holds, so that the answer is streamed and hung up on when it gets too long."""
    estimated: int = 0


@dataclass(frozen=True)
class Became:
    """What became of a job. `calls`: requests that came to the server."""

    ending: str
    reason: str
    attempts: int
    calls: int
    seconds: float
    estimated: int

    def wrong(self, row: Row) -> bool:
        calls = self.calls if row.calls is None else row.calls
        told = (self.ending, self.reason, self.calls, self.estimated)
        return told != (row.ending, row.reason, calls, row.estimated) or self.seconds > row.within


def always(answer: Answer) -> Says:
    return lambda number: answer


def once_more(answer: Answer, times: int = 2) -> Says:
    """So many times, and then a whole answer."""
    return lambda number: answer if number <= times else Reply(completion("fine"))


async def _hang() -> Answer:
    await asyncio.Event().wait()
    return None


def failed(status: int, message: str, code: str = "", **headers: str) -> Reply:
    return Reply(error(message, code or "server_error", code or None), status, headers)


BUSY = failed(429, "Rate limit reached", "rate_limit_exceeded", **{"retry-after": "0.2"})
BROKEN = failed(500, "The server had an error")
BEGUN = [chunk("so far "), chunk("so good")]
STOP, COUNTED = chunk(finish_reason="stop"), chunk(choices=[], usage=USAGE)
ROWS = (
    Row("rate limited, then fine", once_more(BUSY), "completed", calls=3, within=3),
    Row("rate limited for good", always(BUSY), "deadline", "unavailable", calls=None,
        within=DEADLINE + 1, deadline=DEADLINE),
    Row("5xx, then fine", once_more(BROKEN), "completed", calls=3, within=3, estimated=2),
    Row("5xx for good", always(BROKEN), reason="unavailable", calls=3, within=3, estimated=3),
    Row("unreachable", None, reason="unavailable", calls=0, within=3),
    Row("hangs", lambda number: _hang(), reason="timeout", calls=3, within=3 * HANGS + 2, timeout=HANGS,
        estimated=3),
    Row("context too long", always(failed(400, "too many tokens", "context_length_exceeded")), reason="too_long"),
    Row("content refused", always(failed(400, "our policy forbids it", "content_filter")), reason="content_refused"),
    Row("content refused in a 200", always(Reply(completion(None, finish_reason="content_filter"))),
        reason="content_refused"),
    Row("cut by length", always(Reply(completion("so far", finish_reason="length"))), "completed"),
    Row("model gone", always(failed(404, "The model `x` does not exist", "model_not_found")), reason="model_gone"),
    Row("wrong key", always(failed(401, "Incorrect API key provided", "invalid_api_key")), reason="wrong_key"),
    Row("quota spent", always(failed(429, "You exceeded your current quota", "insufficient_quota")),
        reason="quota_spent"),
    Row("error inside a 200", always(Reply(error("upstream went away", "server_error"))), reason="unavailable", calls=3,
        within=3, estimated=3),
    Row("error inside a stream", always(Stream([*BEGUN, error("upstream went away", "server_error")])),
        reason="unavailable", calls=3, within=3, streamed=True, estimated=3),
    Row("stream breaks off", always(Stream(BEGUN, cut=True)), reason="unavailable", calls=3, within=3, streamed=True,
        estimated=3),
    Row("stream ends with no finish", always(Stream(BEGUN)), reason="unavailable", calls=3, within=3, streamed=True,
        estimated=3),
    Row("stream without [DONE]", always(Stream([*BEGUN, STOP, COUNTED])), "completed", streamed=True),
    Row("usage missing", always(Reply(completion("fine", usage=None))), "completed", estimated=1),
    Row("usage missing in a stream", always(Stream([*BEGUN, STOP, DONE])), "completed", streamed=True, estimated=1),
    Row("HTML", always(Reply("<html>hello</html>", 200, {"content-type": "text/html"})), reason="bad_output", calls=3,
        within=3, estimated=3),
    Row("HTML with a 502", always(Reply("<html>bad gateway</html>", 502, {"content-type": "text/html"})),
        reason="unavailable", calls=3, within=3, estimated=3),
    Row("garbage", always(Reply(b"\xff\xfe\x00garbage")), reason="bad_output", calls=3, within=3, estimated=3),
    Row("gzip that is none", always(Reply(b"garbage", 200, {"content-encoding": "gzip"})), reason="unavailable",
        calls=3, within=3, estimated=3),
    Row("empty answer", always(Reply(completion(""))), reason="bad_output", calls=3, within=3),
    Row("hangs up at once", always(None), reason="unavailable", calls=3, within=3, estimated=3),
)  # fmt: skip


async def endpoint_faults(rounds: int) -> Found:
    """For each row one job of one subtask, at an endpoint of its own; the rows one after the other.

    Raises BenchError unless each job ended as it should, for the reason that it should, with as many calls, in time.
    """
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    lines: list[str] = []
    server = Faulty()
    async with ModelServer(server) as model:
        environ = {
            f"SWARM_ENDPOINT_F{number}_URL": CLOSED if row.says is None else model.url
            for number, row in enumerate(ROWS)
        }
        cards = [_card(number, row) for number, row in enumerate(ROWS)]
        async with rig(
            ROUTER, Pool(environ={**environ, "SWARM_ENDPOINT_FINE_URL": model.url}), cards=[FINE, *cards]
        ) as bench:
            await PriceTable(bench.connection).put({card.model: PRICE for card in cards})
            await bench.client.ask("Answer.", expert=FINE.name, timeout=60)  # loads what a call needs
            for _ in range(rounds):
                server.begin()
                became = [await _became(bench, server, card, row) for card, row in zip(cards, ROWS, strict=True)]
                lines = [_line(row, each) for row, each in zip(ROWS, became, strict=True)]
                differ = [line for row, each, line in zip(ROWS, became, lines, strict=True) if each.wrong(row)]
                if differ:
                    raise BenchError("\n".join(["not as expected:", TITLE, *differ]))
                found["differ"].append(0)
                found["seconds"].append(max(each.seconds for each in became))
                found["calls"].append(sum(each.calls for each in became))
    return Found(found, (TITLE, *lines))


TITLE = f"{'fault':<26} {'ending':<10} {'reason':<16} {'attempts':>8} {'calls':>6} {'seconds':>8}"
FINE = versioned(Card(name="fine", kind="instruction", description="Answers.", model="fine/fine"))


class Faulty:
    """The script of all endpoints: the model that is asked says which row is played."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.calls = {row.name: count(1) for row in ROWS}
        self.came = dict.fromkeys(self.calls, 0)

    async def __call__(self, request: Received) -> Answer:
        if request.model == "fine":
            return "fine"
        row = ROWS[int(request.model)]
        self.came[row.name] += 1
        if row.says is None:
            return None
        said = row.says(next(self.calls[row.name]))
        return await said if inspect.isawaitable(said) else said


def _card(number: int, row: Row) -> Card:
    model = f"f{number}/{number}"
    return versioned(
        Card(name=f"f{number}", kind="instruction", description=row.name, model=model, timeout=row.timeout)
    )


async def _became(bench: Rig, server: Faulty, card: Card, row: Row) -> Became:
    begun = time.perf_counter()
    budget = 1.0 if row.streamed else None
    job = await bench.client.submit("Answer.", expert=card.name, budget=budget, deadline=row.deadline)
    answer = await job.answer(30)
    seconds = time.perf_counter() - begun
    starts = [event async for event in job.events() if isinstance(event, Started)]
    return Became(
        ending=answer.ending,
        reason=answer.missing[0].reason if answer.missing else "",
        attempts=max((start.attempt for start in starts), default=0),
        calls=server.came[row.name],
        seconds=seconds,
        estimated=answer.usage.estimated,
    )


def _line(row: Row, became: Became) -> str:
    told = (became.ending, became.reason or "-", became.attempts, became.calls, f"{became.seconds:.2f}")
    return f"{row.name:<26} {told[0]:<10} {told[1]:<16} {told[2]:>8} {told[3]:>6} {told[4]:>8}"
