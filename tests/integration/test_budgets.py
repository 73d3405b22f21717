"""Budgets hold, by the model server's own count of tokens: whatever the fan-out, whoever is killed, whatever is cut."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from experts.catalog.loader import catalog_of
from experts.prompt_inputs import fenced
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.ledger import Ledger
from swarm.broker.price_table import PriceTable
from swarm.client.client import SwarmClient
from swarm.llm.base import Message
from swarm.llm.metered import most_tokens
from swarm.settings import Settings
from swarm.types.answer import Answer
from swarm.types.card import Card
from tests.billing import PRICE, BilledServer, Manner
from tests.integration.processes import EXPERTS, ROUTER, Fleet, serving, until
from workers.call_budget import RUN_AHEAD

MODEL = "box/small"
CAP = 50


def a_chat(name: str, **more: Any) -> Card:
    fields = {"kind": "instruction", "description": name, "model": MODEL, "instruction": "Answer.", "timeout": 20.0}
    return Card.model_validate({"name": name, "version": "1", **fields, **more})


def fan(count: int, expert: str = "chat") -> list[dict[str, str]]:
    return [{"id": f"t{number}", "expert": expert, "instruction": f"part {number:04}"} for number in range(count)]


def held() -> int:
    """What is held for one of these calls."""
    messages = [Message("system", "Answer."), Message("user", fenced("part 0000", {}))]
    return PRICE.greatest(most_tokens(messages), CAP + RUN_AHEAD)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_output": CAP, "lease": 3.0, "slots": 20})


@contextlib.asynccontextmanager
async def swarm(
    settings: Settings, server: BilledServer, *cards: Card, workers: int = 1, priced: bool = True
) -> AsyncIterator[SwarmClient]:
    """A router and so many workers in this process, over a catalog of `cards`, and a client."""
    async with contextlib.AsyncExitStack() as opened:
        connection = await opened.enter_async_context(Connection.open(settings.redis_url or "", settings.prefix))
        await CatalogStore(connection, 600).publish(
            catalog_of({card.name: card for card in cards or [a_chat("chat")]}), {}
        )
        if priced:
            await PriceTable(connection).put({"small": PRICE})
        environ = {"SWARM_ENDPOINT_BOX_URL": server.url}
        await opened.enter_async_context(serving(settings, roles=ROUTER, environ=environ))
        for _ in range(workers):
            await opened.enter_async_context(serving(settings, roles=EXPERTS, environ=environ))
        yield await opened.enter_async_context(SwarmClient(settings.redis_url, settings=settings))


def told(what: str, server: BilledServer, answer: Answer, budget: int) -> None:
    used = answer.usage
    print(
        f"\n{what}: budget {budget:,}, billed {server.bill:,} for {len(server.requests)} requests "
        f"({server.answered} whole), booked {used.cost:,} + {used.presumed:,}, overshoot {max(0, server.bill - budget)}"
    )


@pytest.mark.parametrize("count", [8, 32, 128])
async def test_a_fan_out_never_spends_more_than_its_budget(settings: Settings, count: int) -> None:
    budget = count * held() // 8
    async with BilledServer(pause=0.001) as server, swarm(settings, server, workers=2) as client:
        answer = await client.ask("all", plan=fan(count), budget=budget / 1e6, timeout=40)

    told(f"fan-out {count}", server, answer, budget)
    assert answer.usage.presumed == 0
    assert 0 < server.bill == answer.usage.cost <= budget
    assert server.bill > budget - held(), "what is left does not hold another call"
    assert {missing.reason for missing in answer.missing} == {"over_budget"}
    assert len(answer.missing) == count - server.answered
    assert server.answered == len(server.requests)


async def test_a_server_that_ignores_the_cap_is_hung_up_on(settings: Settings) -> None:
    budget = 4 * held()
    async with BilledServer(10_000, obedient=False, pause=0.005) as server, swarm(settings, server) as client:
        answer = await client.ask("all", plan=fan(8), budget=budget / 1e6, timeout=40)
        await until(lambda: server.open == 0, "all hung up")

    told("cap ignored, fan-out 8", server, answer, budget)
    assert server.hung_up == len(server.requests) == 4
    assert server.bill <= answer.usage.presumed == budget
    assert answer.usage.cost == 0


async def test_a_server_that_tells_no_usage_is_paid_by_an_estimate_that_is_marked(settings: Settings) -> None:
    async with BilledServer(manner=lambda number: "silent") as server, swarm(settings, server) as client:
        answer = await client.ask("one", expert="chat", budget=4 * held() / 1e6, timeout=40)

    assert (answer.ending, server.answered) == ("completed", 1)
    assert (answer.usage.estimated, answer.usage.presumed) == (1, 0)
    assert answer.usage.cost > 0


async def test_refused_requests_cost_nothing_and_failed_ones_what_was_held(settings: Settings) -> None:
    manners: dict[int, Manner] = {1: "busy", 2: "broken", 3: "cut"}
    budget = 4 * held()
    async with (
        BilledServer(manner=lambda number: manners.get(number, "plain")) as server,
        swarm(settings, server) as client,
    ):
        answer = await client.ask("one", expert="chat", budget=budget / 1e6, attempts=4, timeout=40)

    told("429, 500, cut, then an answer", server, answer, budget)
    assert (answer.ending, len(server.requests)) == ("completed", 4)
    assert answer.usage.presumed > held()
    assert server.bill <= answer.usage.cost + answer.usage.presumed <= budget


async def test_an_unreachable_server_costs_nothing(settings: Settings) -> None:
    async with BilledServer() as server:
        pass
    async with swarm(settings, server) as client:
        answer = await client.ask("one", expert="chat", budget=1.0, attempts=1, timeout=40)

    assert (answer.missing[0].reason, answer.usage.cost, answer.usage.presumed) == ("unavailable", 0, 0)


async def test_two_jobs_share_the_limit_of_their_tenant_and_the_day(settings: Settings) -> None:
    limit = 6 * held()
    limited = settings.model_copy(update={"tenant_budget": limit / 1e6, "day_budget": 1.5 * limit / 1e6})
    async with BilledServer(pause=0.001) as server, swarm(limited, server, workers=2) as client:
        jobs = [await client.submit("all", plan=fan(40), tenant="acme") for _ in range(2)]
        acme = [await job.answer(40) for job in jobs]
        billed = server.bill
        other = await client.ask("all", plan=fan(40), tenant="other", timeout=40)

    cost = sum(answer.usage.cost for answer in acme)
    print(f"\ntenant limit {limit:,}: billed {billed:,}; day limit {1.5 * limit:,.0f}: billed {server.bill:,}")
    assert limit - held() < billed == cost <= limit
    assert 1.5 * limit - held() < server.bill == cost + other.usage.cost <= 1.5 * limit


async def test_what_no_budget_can_pay_delays_no_other_expert(settings: Settings) -> None:
    wide = settings.model_copy(update={"window": 1000})
    async with (
        BilledServer(5_000, obedient=False, pause=1.0) as server,
        swarm(wide, server, a_chat("chat", timeout=300), a_chat("other")) as client,
        Connection.open(settings.redis_url or "", settings.prefix) as connection,
    ):
        # one call fits and takes its time; the others wait for what it leaves
        dear = await client.submit("all", plan=fan(1000), budget=(held() + 500) / 1e6)
        parked = connection.keys.parked(f"job:{dear.id}")

        async def all_parked() -> bool:
            return bool(await connection.call("ZCARD", parked) == 999)

        await until(all_parked, "999 subtasks that wait for money")
        server.pause = 0.0
        answer = await client.ask("one", expert="other", timeout=40)

        still_parked, open_calls = await connection.call("ZCARD", parked), server.open

    assert (answer.ending, open_calls) == ("completed", 1)
    assert still_parked == 999, "it was answered while they waited"


async def test_those_that_wait_for_money_go_on_one_by_one_when_there_is_room_for_one(settings: Settings) -> None:
    count, cap = 60, 20_000
    dear = settings.model_copy(update={"max_output": cap, "window": 1000})
    messages = [Message("system", "Answer."), Message("user", fenced("part 0000", {}))]
    each = PRICE.cost(most_tokens(messages), 20)
    async with BilledServer(20) as server, swarm(dear, server) as client:
        budget = PRICE.greatest(most_tokens(messages), cap + RUN_AHEAD) + count * each
        job = await client.submit("all", plan=fan(count), budget=budget / 1e6)
        answer = await job.answer(40)
        claims = {event.subtask: event.claim async for event in job.events() if event.type == "started"}

    print(f"\n{count} calls with room for one at a time: {sum(claims.values())} claims")
    assert (answer.ending, server.answered) == ("completed", count)
    assert sum(claims.values()) < 4 * count, "a settlement wakes those that fit, not everybody"


async def test_who_cannot_be_paid_is_replaced_by_who_costs_nothing_and_the_rest_is_named(settings: Settings) -> None:
    free = {"model": "local/template", "instruction": "{{ instruction }}"}
    cards = [a_chat("dear"), a_chat("backed", fallback=("free",)), a_chat("free", **free)]
    plan = [
        {"id": "paid", "expert": "dear", "instruction": "one"},
        {"id": "after", "expert": "free", "instruction": "two", "depends_on": ["paid"]},
        {"id": "saved", "expert": "backed", "instruction": "three"},
        {"id": "alone", "expert": "free", "instruction": "four", "depends_on": ["saved"]},
    ]
    async with BilledServer() as server, swarm(settings, server, *cards) as client:
        answer = await client.ask("all", plan=plan, budget=0.00001, timeout=40)
        saved = await client.ask("all", plan=plan[2:], budget=0.00001, timeout=40)

    assert (answer.ending, answer.complete, len(server.requests)) == ("over_budget", False, 0)
    assert [(lack.subtask, lack.reason) for lack in answer.missing] == [
        ("paid", "over_budget"),
        ("after", "dependency"),
    ]
    assert "left in the job's budget" in answer.missing[0].message
    assert "four" in answer.text
    assert (saved.ending, saved.usage.cost) == ("completed", 0)


async def test_a_fallback_model_that_the_budget_pays_answers_where_the_first_is_too_dear(settings: Settings) -> None:
    spared = a_chat("spared", model="box/dear", fallback_models=("box/unpriced", MODEL))
    async with BilledServer() as server, swarm(settings, server, spared) as client:
        async with Connection.open(settings.redis_url or "", settings.prefix) as connection:
            dear = PRICE.model_copy(update={"input": 100 * PRICE.input})
            await PriceTable(connection).put({"small": PRICE, "dear": dear})
        answer = await client.ask("all", plan=fan(2, "spared"), budget=2 * held() / 1e6, timeout=40)

    assert (answer.ending, {request.model for request in server.requests}) == ("completed", {"small"})
    assert (answer.usage.calls, answer.usage.presumed) == (2, 0)
    assert server.bill == answer.usage.cost <= 2 * held()


async def test_a_model_without_a_price_is_refused_where_a_budget_holds_and_asked_where_none_does(
    settings: Settings,
) -> None:
    async with BilledServer() as server, swarm(settings, server, priced=False) as client:
        bound = await client.ask("one", expert="chat", budget=1.0, timeout=40)
        asked = len(server.requests)
        free = await client.ask("one", expert="chat", timeout=40)

    assert (bound.missing[0].reason, asked) == ("unpriced", 0)
    assert "swarm prices import" in bound.missing[0].message
    assert (free.ending, free.usage.cost, free.usage.presumed) == ("completed", 0, 0)


async def test_without_a_limit_the_cost_is_still_known(settings: Settings) -> None:
    async with BilledServer(200) as server, swarm(settings, server) as client:
        answer = await client.ask("one", expert="chat", tenant="acme", timeout=40)
        async with Connection.open(settings.redis_url or "", settings.prefix) as connection:
            (tenant,) = await Ledger(connection, settings).tenants()

    assert server.requests[0].body["max_tokens"] == CAP
    assert server.requests[0].streamed
    assert answer.usage.cost == server.bill == tenant.today.settled
    assert tenant.name == "acme"


async def test_a_planner_and_a_writer_that_cannot_be_paid_are_done_without(settings: Settings) -> None:
    given = settings.model_copy(update={"planner": MODEL, "synthesis": MODEL, "skip": False})
    template = {"model": "local/template", "instruction": "{{ instruction }}"}
    cards = [a_chat("greeter", description="Says hello to people.", **template), a_chat("other", **template)]
    async with BilledServer() as server, swarm(given, server, *cards) as client:
        job = await client.submit("Say hello to the people", budget=0.0)
        answer = await job.answer(40)
        nobody = await client.ask("Zxqv wkrj", budget=0.0, timeout=40)
        notes = [note for event in [e async for e in job.events()] if event.type == "planned" for note in event.notes]
        written = await client.ask(
            "all", plan={"subtasks": fan(2, "other"), "aggregate": "synthesis"}, budget=0.0, timeout=9
        )

    assert (answer.ending, len(server.requests)) == ("completed", 0)
    assert any(note.endswith("$0 of $0 are left in the job's budget; raise it") for note in notes), notes
    assert nobody.ending == "over_budget"
    assert written.aggregate == "join"
    assert "left in the job's budget" in written.reason


async def test_a_budget_holds_while_workers_are_killed_and_streams_are_cut(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = 24 * held()
    manners: dict[int, Manner] = {0: "cut", 1: "broken", 2: "silent"}
    async with (
        BilledServer(40, pause=0.02, manner=lambda number: manners.get(number % 9, "plain")) as server,
        Fleet(settings, tmp_path) as fleet,
    ):
        monkeypatch.setenv("SWARM_ENDPOINT_BOX_URL", server.url)
        workers = [fleet.launch("expert", slots=4) for _ in range(2)]
        async with swarm(settings, server, workers=0) as client:
            for worker in workers:
                await worker.healthy()
            job = await client.submit("all", plan=fan(32), budget=budget / 1e6, attempts=2)
            await until(lambda: server.open >= 3, "calls under way")
            for doomed in workers:
                doomed.kill()
            async with serving(settings, roles=EXPERTS, environ=os.environ):
                answer = await job.answer(40)
            await until(lambda: server.open == 0, "nothing is open")

    told("fan-out 32, two workers killed, streams cut", server, answer, budget)
    assert answer.usage.presumed > 0
    assert server.bill <= answer.usage.cost + answer.usage.presumed <= budget
