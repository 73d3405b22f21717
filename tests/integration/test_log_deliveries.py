"""Each delivery is told in one line, whatever comes of it: what it was, how long it waited for what, how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

import workers.delivery_runner
from experts.catalog.loader import versioned
from experts.python_experts import Implementation
from swarm.broker.connection import Connection
from swarm.broker.keys import subtask_of
from swarm.broker.price_table import PriceTable
from swarm.client.client import SwarmClient
from swarm.errors import ModelUnavailable
from swarm.logging import DELIVERED, JOB_ENDED, bound
from swarm.router.router import Router
from swarm.settings import Settings
from swarm.testing.model_server import ModelServer, Received
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.billing import PRICE
from tests.integration.processes import echo, expert, publish, serving, until

Lines = list[Mapping[str, Any]]


async def never(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
    await asyncio.Event().wait()
    return ""


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


async def told(
    settings: Settings, do: Callable[[], Any], *experts: Implementation, environ: Mapping[str, str] | None = None
) -> Lines:
    """What a worker with these experts writes of deliveries and endings while something is done."""
    await publish(settings, *experts)
    with capture_logs(processors=[bound]) as lines:
        async with serving(settings, *experts, environ=environ):
            await do()
    return [line for line in lines if line["event"] in (DELIVERED, JOB_ENDED)]


def runs(lines: Lines) -> Lines:
    return [line for line in lines if "subtask" in line]


async def test_a_delivery_is_told_with_its_names_its_wait_and_its_time(settings: Settings, client: SwarmClient) -> None:
    began = time.monotonic()
    lines = await told(settings, lambda: client.ask("hello", expert="echo", timeout=40), expert("echo", echo))
    whole = (time.monotonic() - began) * 1000

    (line,) = runs(lines)
    assert (line["subtask"], line["attempt"], line["expert"], line["outcome"]) == ("t1", 1, "echo", "ok")
    assert line["queue"].startswith("run:echo@")
    assert (line["delivery"], line["claim"]) == (f"{line['job']}:t1:1", 1)
    assert 0 <= line["queue_wait_ms"] <= whole
    assert 0 < line["ms"] <= whole
    assert line["log_level"] == "info"
    assert "limited_by" not in line
    assert "calls" not in line


async def test_decisions_are_told_at_debug_and_the_jobs_end_at_info(settings: Settings, client: SwarmClient) -> None:
    lines = await told(settings, lambda: client.ask("hello", expert="echo", timeout=40), expert("echo", echo))

    assert {line["log_level"] for line in lines if line.get("queue") == "advance"} == {"debug"}
    (ended,) = (line for line in lines if line["event"] == JOB_ENDED)
    assert (ended["ending"], ended["complete"], ended["log_level"]) == ("completed", True, "info")
    assert lines[-1]["queue"] == "advance"


async def test_a_failure_is_told_with_its_reason_and_each_attempt_by_itself(
    settings: Settings, client: SwarmClient
) -> None:
    async def flaky(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        tried.append(subtask.id)
        if len(tried) == 1:
            raise ModelUnavailable("not now")
        raise ZeroDivisionError

    tried: list[str] = []
    lines = await told(settings, lambda: client.ask("hello", expert="bad", timeout=40), expert("bad", flaky))

    assert [(line["attempt"], line["outcome"]) for line in runs(lines)] == [(1, "unavailable"), (2, "bug")]


async def test_a_wait_at_a_limit_is_told_with_the_limit(settings: Settings, client: SwarmClient) -> None:
    async def nap(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        await asyncio.sleep(0.1)
        return "done"

    plan = [{"id": name, "expert": "one", "instruction": "nap"} for name in ("a", "b")]
    one = expert("one", nap, limits={"concurrency": 1})
    lines = runs(await told(settings, lambda: client.ask("hello", plan=plan, timeout=40), one))

    assert "limited_by" not in lines[0]
    assert lines[1]["limited_by"] == "expert:one"
    assert 90 <= lines[1]["limited_ms"] <= lines[1]["queue_wait_ms"]


async def test_what_is_stopped_is_told_with_what_its_call_may_have_cost(
    settings: Settings, client: SwarmClient
) -> None:
    async def hang(request: Received) -> None:
        await asyncio.Event().wait()

    async with ModelServer(hang) as server:
        card = versioned(Card(name="asker", kind="instruction", description="Asks.", model="box/small"))
        asker = replace(expert("asker", never), card=card)
        async with Connection.open(settings.redis_url or "", settings.prefix) as connection:
            await PriceTable(connection).put({"box/small": PRICE})

        async def cancel() -> None:
            job = await client.submit("hello", expert="asker")
            await until(lambda: server.open, "a call that is open")
            await job.cancel()

        lines = await told(settings, cancel, asker, environ={"SWARM_ENDPOINT_BOX_URL": server.url})

    (line,) = runs(lines)
    assert line["outcome"] == "stopped"
    assert line["presumed"] > 0
    assert [each["ending"] for each in lines if each["event"] == JOB_ENDED] == ["cancelled"]


async def test_what_a_worker_hands_back_at_its_end_is_told(settings: Settings, client: SwarmClient) -> None:
    async def begin() -> None:
        job = await client.submit("hello", expert="never")
        await until(lambda: started(job.id), "a subtask that runs")

    async def started(job: str) -> bool:
        return "started" in [event.type for event in await client.log.history(job)]

    lines = await told(settings, begin, expert("never", never))

    assert [line["outcome"] for line in runs(lines)] == ["handed_back"]


async def test_a_bug_of_ours_is_told_with_each_delivery_that_it_costs(
    settings: Settings, client: SwarmClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bug(self: Router, claim: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(workers.delivery_runner, "BUG_DELAY", 0.02)
    monkeypatch.setattr(Router, "advance", bug)
    lines = await told(settings, lambda: client.ask("hello", expert="echo", timeout=40), expert("echo", echo))

    assert {line["outcome"] for line in lines} == {"failed"}
    assert {line["queue"] for line in lines} == {"advance"}


@pytest.mark.parametrize(
    ("delivery", "queue", "expected"),
    [
        ("j:t1:2", "run:echo", ("t1", 2, "echo")),
        ("j:r1.t1#3:1", "run:echo@0af", ("r1.t1#3", 1, "echo")),
        ("j:plan", "plan", None),
        ("j:advance", "advance", None),
    ],
)
def test_what_a_delivery_is_about_stands_in_its_id_and_its_queue(
    delivery: str, queue: str, expected: tuple[str, int, str] | None
) -> None:
    assert subtask_of(delivery, queue) == expected
