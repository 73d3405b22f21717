"""Usage is counted by one rule, whatever became of a call: in answers, receipts, statistics and the tenant's day."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from itertools import cycle

import pytest

from experts.catalog.loader import catalog_of
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.expert_stats import Stats
from swarm.broker.ledger import Ledger
from swarm.broker.price_table import PriceTable
from swarm.client.client import SwarmClient
from swarm.llm.openai.models import OpenAIModels
from swarm.settings import Settings
from swarm.testing.model_server import ModelServer, Received, Reply, Script, Stream, chunk, completion
from swarm.types.card import Card
from swarm.types.plan import Plan, Subtask
from swarm.types.price import Price
from swarm.types.result import Usage
from tests.integration.processes import serving

PRICE = Price(input=1_000_000, output=1_000_000, as_of=date(2026, 11, 1))
"""A micro-dollar a token."""
TOLD = {"prompt_tokens": 70, "completion_tokens": 30}


def error(status: int) -> Script:
    return lambda request: Reply({"error": {"message": "no"}}, status)


async def never(request: Received) -> None:
    await asyncio.Event().wait()


def halting(request: Received) -> Stream:
    async def parts() -> AsyncIterator[object]:
        yield chunk("It is on its way.")
        await asyncio.Event().wait()

    return Stream(parts())


def busy_once() -> Script:
    """Says at every second request that it was asked too often."""
    replies = cycle(
        (
            Reply({"error": {"message": "slow down"}}, 429, {"retry-after": "0.05"}),
            Reply(completion("yes", usage=TOLD)),
        )
    )
    return lambda request: next(replies)


@dataclass(frozen=True)
class Row:
    """What a call comes to: of what is not told the prompt is estimated (`sent` is None), and what came."""

    script: Script
    calls: int = 1
    sent: int | None = None
    received: int = 0
    estimated: int = 1
    unknown: int = 1
    seconds: float = 20.0
    """That the expert has."""

    @property
    def told(self) -> tuple[int | None, ...]:
        return self.calls, self.sent, self.received, self.estimated, self.unknown


NOTHING: dict[str, int] = {"calls": 0, "sent": 0, "estimated": 0, "unknown": 0}
ROWS = {
    "200": Row(lambda request: Reply(completion("yes", usage=TOLD)), sent=70, received=30, estimated=0, unknown=0),
    "200, not counted": Row(lambda request: Reply(completion("yes", usage=None)), received=1, unknown=0),
    "200, empty": Row(lambda request: Reply(completion("", usage=TOLD)), sent=70, received=30, estimated=0, unknown=0),
    "302": Row(error(302), **NOTHING),
    "400": Row(error(400), **NOTHING),
    "401": Row(error(401), **NOTHING),
    "429, quota": Row(lambda request: Reply({"error": {"code": "insufficient_quota"}}, 429), **NOTHING),
    "429, then 200": Row(busy_once(), sent=70, received=30, estimated=0, unknown=0),
    "408": Row(error(408)),
    "500": Row(error(500)),
    "503": Row(error(503)),
    "an error in a 200": Row(lambda request: Reply({"error": {"message": "upstream gone"}})),
    "late before the first byte": Row(never, seconds=2.0),
    "late in the middle": Row(halting, received=5, seconds=2.0),
    "dropped": Row(lambda request: None),
    "cut off": Row(lambda request: Stream([chunk("It is on its way.")], cut=True), received=5),
    "cut off, counted": Row(
        lambda request: Stream([chunk("It is", usage=TOLD)], cut=True), sent=70, received=30, estimated=0
    ),
    "bad body": Row(lambda request: Reply("no JSON")),
}


@contextlib.asynccontextmanager
async def swarm(settings: Settings, *, priced: bool) -> AsyncIterator[tuple[SwarmClient, Connection]]:
    """A worker, and an expert for each row, whose model behaves as it says."""
    experts = {f"e{number}": row for number, row in enumerate(ROWS.values())}
    cards = {
        name: Card(
            name=name, version="1", kind="instruction", description="chat", instruction="Answer.",
            model=f"box/{name}", timeout=row.seconds,
        )
        for name, row in experts.items()
    }  # fmt: skip
    async with (
        ModelServer(lambda request: experts[request.model].script(request)) as server,
        OpenAIModels({}) as models,
        Connection.open(settings.redis_url or "", settings.prefix) as connection,
        SwarmClient(settings=settings) as client,
    ):
        await models.warm()  # which takes as long as some of these calls have
        if priced:
            await PriceTable(connection).put({f"box/{name}": PRICE for name in experts})
        await CatalogStore(connection, 600).publish(catalog_of(cards), {})
        async with serving(settings, environ={"SWARM_ENDPOINT_BOX_URL": server.url}):
            yield client, connection


def told(usage: Usage) -> tuple[int | None, ...]:
    """What a row says; None for an estimate of the prompt."""
    sent = None if 5 < usage.input_tokens < 50 else usage.input_tokens
    return usage.calls, sent, usage.output_tokens, usage.estimated, usage.unknown


@pytest.mark.parametrize("money", ["no price", "a price", "a price and a budget"])
async def test_what_a_call_used_is_counted_alike_everywhere(settings: Settings, money: str) -> None:
    plan = [{"id": f"t{number}", "expert": f"e{number}", "instruction": "where is it?"} for number in range(len(ROWS))]
    priced, budget = money != "no price", 1.0 if money.endswith("budget") else None
    async with swarm(settings, priced=priced) as (client, connection):
        job = await client.submit("where is it?", plan=plan, attempts=1, budget=budget, tenant="acme")
        answer, receipt = await job.answer(timeout=50), await job.receipt()
        (acme,) = [each for each in await Ledger(connection, settings).tenants() if each.name == "acme"]
    async with Connection.open(settings.redis_url or "", settings.prefix) as connection:
        stats = await Stats(connection).stats([f"e{number}" for number in range(len(ROWS))])

    used = {name: [part.usage for part in receipt.parts if part.subtask == f"t{n}"] for n, name in enumerate(ROWS)}
    found = {name: sum(parts, Usage()) for name, parts in used.items()}
    assert {name: told(usage) for name, usage in found.items()} == {name: row.told for name, row in ROWS.items()}
    assert {name: (usage.cost > 0, usage.presumed > 0) for name, usage in found.items()} == {
        name: (priced and bool(row.calls) and not row.unknown, priced and bool(row.unknown))
        for name, row in ROWS.items()
    }
    assert answer.usage == receipt.usage == sum(found.values(), Usage())
    for number, usage in enumerate(found.values()):
        record = stats[f"e{number}"]
        counted = (record.calls, record.input_tokens, record.output_tokens, record.cost)
        assert counted == (usage.calls, usage.input_tokens, usage.output_tokens, usage.cost)
    assert acme.today.tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert (acme.today.settled, acme.today.presumed) == (answer.usage.cost, answer.usage.presumed)


async def test_the_calls_of_a_planner_and_a_writer_count_like_those_of_an_expert(settings: Settings) -> None:
    def script(request: Received) -> Reply:
        fails = Reply({"error": {"message": "no"}}, 500, {"retry-after": "0.05"})
        return fails if request.model == "down" else Reply(completion("yes", usage=TOLD))

    card = Card(name="chat", version="1", kind="instruction", description="chat", instruction="Go.", model="box/fine")
    plan = Plan(
        subtasks=tuple(Subtask(id=name, expert="chat", instruction="where is it?") for name in ("a", "b")),
        aggregate="synthesis",
    )
    down = settings.model_copy(update={"planner": "box/down", "synthesis": "box/down", "skip": False})
    async with (
        ModelServer(script) as server,
        Connection.open(settings.redis_url or "", settings.prefix) as connection,
        SwarmClient(settings=settings) as client,
    ):
        await CatalogStore(connection, 600).publish(catalog_of({"chat": card}), {})
        async with serving(down, environ={"SWARM_ENDPOINT_BOX_URL": server.url}):
            unplanned = (await (await client.submit("paint the fence")).answer(timeout=40)).usage
            planner = [request.model for request in server.requests].count("down")
            written = (await (await client.submit("go", plan=plan)).answer(timeout=40)).usage
            writer = [request.model for request in server.requests].count("down") - planner

    assert planner >= 1 <= writer
    assert (unplanned.calls, unplanned.estimated, unplanned.unknown) == (planner, planner, planner)
    assert (written.calls, written.estimated, written.unknown) == (2 + writer, writer, writer)
    assert (written.output_tokens, written.cost, written.presumed) == (60, 0, 0)
