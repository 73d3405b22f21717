"""Bugs: in an expert they cost one subtask, in a function of ours one job, and never a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

import workers.delivery_runner
from swarm.broker.queue import Claim
from swarm.client.client import SwarmClient
from swarm.router.router import Router
from swarm.settings import Settings
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.processes import ROUTER, echo, expert, publish, serving

HEAVY = [{"id": name, "expert": "echo", "instruction": name * 150_000} for name in ("a", "b")]


async def broken(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
    raise ZeroDivisionError("the expert is broken")


@pytest.fixture
async def client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SwarmClient]:
    monkeypatch.setattr(workers.delivery_runner, "BUG_DELAY", 0.02)
    async with SwarmClient(settings=settings) as client:
        yield client


async def test_a_bug_in_an_expert_fails_one_subtask(settings: Settings, client: SwarmClient) -> None:
    bad, good = expert("bad", broken), expert("good", echo)
    await publish(settings, bad, good)
    plan = [{"id": name, "expert": name, "instruction": "hello"} for name in ("bad", "good")]
    with capture_logs() as logs:
        async with serving(settings, bad, good) as process:
            answer = await client.ask("go", plan=plan, timeout=40)
            again = await client.ask("still there", expert="good", timeout=40)
            failed = process.worker.runner.failed

    assert (answer.ending, answer.text) == ("partial", "hello")
    assert [(missing.subtask, missing.reason) for missing in answer.missing] == [("bad", "bug")]
    assert "ZeroDivisionError" in answer.missing[0].message
    assert [type(line["exc_info"]) for line in logs if line["event"] == "expert_bug"] == [ZeroDivisionError]
    assert again.text == "still there"
    assert failed == 0


@pytest.mark.parametrize(("function", "ending"), [("advance", "failed"), ("plan", "rejected"), ("answer", "completed")])
async def test_a_bug_in_the_router_ends_one_job_and_no_worker(
    settings: Settings, client: SwarmClient, monkeypatch: pytest.MonkeyPatch, function: str, ending: str
) -> None:
    """After three tries there is a dead letter. Without `answer` the next decision makes the answer itself."""
    done = expert("echo", echo)
    await publish(settings, done)
    real: Any = getattr(Router, function)

    async def sometimes(self: Router, claim: Claim, *patience: Any) -> Any:
        if claim.job == "unlucky":
            raise ZeroDivisionError("the router is broken")
        return await real(self, claim, *patience)

    monkeypatch.setattr(Router, function, sometimes)
    options: dict[str, Any] = {} if function == "plan" else {"plan": HEAVY}
    with capture_logs():
        async with serving(settings, done) as process:
            answer = await (await client.submit("the test's echo", job_id="unlucky", **options)).answer(40)
            other = await (await client.submit("the test's echo", job_id="lucky", **options)).answer(40)
            failed = process.worker.runner.failed
    letters = await client.log._connection.call("XRANGE", f"{settings.prefix}:dead", "-", "+")

    assert answer.ending == ending
    assert other.ending == "completed"
    assert failed == 3
    assert [fields[1] for _, fields in letters] == [f"unlucky:{function}".encode()]
    assert "3 times" in answer.reason
    assert "ZeroDivisionError: the router is broken" in answer.reason
    if ending == "completed":
        assert answer.text == other.text


async def test_a_delivery_that_cannot_be_read_is_buried(settings: Settings, client: SwarmClient) -> None:
    """Such as one that a process of another version wrote."""
    done = expert("echo", echo)
    await publish(settings, done)
    async with serving(settings, done, roles=ROUTER):
        job = await client.submit("go", plan=[{"id": "t1", "expert": "echo", "instruction": "x"}])
        async for event in job.events():
            if event.type == "released":
                break
    await client.log._connection.call("HSET", f"{settings.prefix}:delivery:{job.id}:t1:1", "record", "not JSON")
    async with serving(settings, done):
        answer = await job.answer(40)
        other = await client.ask("still there", expert="echo", timeout=40)

    assert (answer.ending, answer.missing[0].reason) == ("failed", "poison")
    assert other.text == "still there"
