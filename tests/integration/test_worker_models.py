"""What a worker does about the models of its planner before anybody asks: it loads what they need, and tells what is
not set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from swarm.llm.openai.models import OpenAIModels
from swarm.logging import NO_MODEL
from swarm.settings import Settings
from tests.integration.processes import ROUTER, echo, expert, publish, serving, until
from workers.process import Roles

KEY = "secret-\n1234"
"""A key that no server takes, and that no log may show."""


@pytest.fixture
def warmed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What was loaded, without the second that it takes."""
    times: list[bool] = []

    async def warm(self: OpenAIModels) -> None:
        times.append(True)

    monkeypatch.setattr(OpenAIModels, "warm", warm)
    return times


async def told(settings: Settings, environ: Mapping[str, str], roles: Roles, **more: str) -> list[str]:
    """What a worker logs about models that are not set up."""
    with capture_logs() as lines:
        async with serving(
            settings.model_copy(update=more), expert("echo", echo), roles=roles, environ=environ
        ) as process:
            await until(lambda: process.worker.report()["healthy"], "a worker that runs")
    assert KEY not in str(lines)
    return [f"{line['variable']} {line['problem']}" for line in lines if line["event"] == NO_MODEL]


async def test_a_router_with_a_planners_model_loads_what_it_needs_at_once(
    settings: Settings, warmed: list[bool]
) -> None:
    environ = {"SWARM_ENDPOINT_BOX_URL": "http://127.0.0.1:9/v1"}

    assert await told(settings, environ, ROUTER, planner="box/planner") == []
    assert warmed == [True]


async def test_without_one_or_without_a_router_nothing_is_loaded(settings: Settings, warmed: list[bool]) -> None:
    assert await told(settings, {}, ROUTER) == []
    assert await told(settings, {}, Roles(router=False), planner="box/planner") == []
    assert warmed == []


async def test_a_model_that_is_not_set_up_is_told_when_the_worker_starts(
    settings: Settings, warmed: list[bool]
) -> None:
    environ = {"SWARM_ENDPOINT_BOX_URL": "http://127.0.0.1:9/v1", "SWARM_ENDPOINT_BOX_KEY": KEY}
    missing, unsendable = await told(settings, environ, ROUTER, planner="acme/big", synthesis="box/writer")

    assert missing.startswith("SWARM_PLANNER the endpoint 'acme' is not set up; set SWARM_ENDPOINT_ACME_URL")
    assert unsendable.startswith("SWARM_SYNTHESIS SWARM_ENDPOINT_BOX_KEY has a character")


async def test_an_expert_whose_model_is_not_set_up_is_told_when_its_worker_takes_it_up(
    settings: Settings, warmed: list[bool]
) -> None:
    card = {"implementation": None, "model": "box/small", "fallback_models": ("acme/big",)}
    written = expert("asker", echo)
    await publish(settings, replace(written, card=written.card.model_copy(update=card)))
    with capture_logs() as lines:
        async with serving(settings, environ={"SWARM_ENDPOINT_BOX_URL": "http://127.0.0.1:9/v1"}):
            await until(lambda: any(line["event"] == NO_MODEL for line in lines), "what is missing is told")

    (missing,) = [line for line in lines if line["event"] == NO_MODEL]
    assert (missing["expert"], missing["model"]) == ("asker", "acme/big")
    assert "SWARM_ENDPOINT_ACME_URL" in missing["problem"]
    assert warmed == [True]
