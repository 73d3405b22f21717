"""`swarm.toml` before real workers: a model named by its endpoint alone, limits and prices put on record, mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from swarm.broker.limiters import Limiters
from swarm.broker.price_table import PriceTable
from swarm.client.client import SwarmClient
from swarm.errors import BadInput
from swarm.logging import CALLED, NO_MODEL, RECORDED
from swarm.settings import Settings
from swarm.testing.model_server import ModelServer, Received, Reply
from swarm.testing.openai_payloads import listing
from swarm.types.card import Catalog, Limits
from swarm.types.events import Planned
from swarm.types.price import Price, PriceStep
from tests.conftest import Hands, a_card
from tests.integration.processes import EXPERTS, ROUTER, echo, expert, publish, serving, until

WHOLE = """
[endpoints.box]
url = "{url}"
key_env = "BOX_KEY"
model = "small"
limits = {{ concurrency = 4 }}
prices = {{ input = 2.5, output = 10 }}
"""


def written(folder: Path, text: str) -> dict[str, str]:
    """The environment of a worker with this file."""
    path = folder / "swarm.toml"
    path.write_text(text)
    return {"SWARM_CONFIG": str(path), "BOX_KEY": "k"}


async def recorded(settings: Settings, environ: dict[str, str]) -> list[dict[str, Any]]:
    """What a router says of what it put on record."""
    with capture_logs() as lines:
        async with serving(settings, expert("echo", echo), roles=ROUTER, environ=environ) as process:
            await until(lambda: process.worker.report()["healthy"], "a router that runs")
    return [dict(line) for line in lines if line["event"] == RECORDED]


async def test_limits_and_prices_are_written_once_and_only_where_they_differ(
    settings: Settings, hands: Hands, tmp_path: Path
) -> None:
    limiters, book = Limiters(hands.connection), PriceTable(hands.connection)
    environ = written(tmp_path, WHOLE.format(url="http://127.0.0.1:9/v1"))
    del environ["BOX_KEY"]  # who routes needs no keys
    today = datetime.now(UTC).date()

    [line] = await recorded(settings, environ)
    assert (line["limits"], line["prices"]) == (["box"], ["box/small"])
    assert await limiters.limits() == {"box": Limits(concurrency=4)}
    price = Price(input=2_500_000, output=10_000_000, source="swarm.toml", as_of=today)
    assert await book.all() == {"box/small": price}

    assert await recorded(settings, environ) == []
    await limiters.set("box", Limits(concurrency=9))
    [line] = await recorded(settings, environ)
    assert (line["limits"], line["prices"]) == (["box"], [])


async def test_what_the_file_does_not_say_of_a_price_stays(settings: Settings, hands: Hands, tmp_path: Path) -> None:
    book, day = PriceTable(hands.connection), date(2026, 1, 1)
    steps = (PriceStep(above=1_000, input=9_000_000, output=1),)
    before = Price(input=1, output=1, cached=7, max_output=99, steps=steps, source="file", as_of=day)
    await book.put({"box/small": before, "box/other": before})
    environ = written(tmp_path, WHOLE.format(url="http://127.0.0.1:9/v1"))

    await recorded(settings, environ)

    found = await book.all()
    assert found["box/other"] == before
    assert found["box/small"].model_dump(include={"input", "cached", "max_output", "source"}) == {
        "input": 2_500_000, "cached": 7, "max_output": 99, "source": "swarm.toml",
    }  # fmt: skip
    assert found["box/small"].steps == (PriceStep(above=1_000, input=9_000_000, output=10_000_000),)


async def test_who_does_not_route_puts_nothing_on_record(settings: Settings, hands: Hands, tmp_path: Path) -> None:
    environ = written(tmp_path, WHOLE.format(url="http://127.0.0.1:9/v1"))
    async with serving(settings, expert("echo", echo), roles=EXPERTS, environ=environ) as process:
        await publish(settings, expert("echo", echo))
        await until(lambda: process.worker.report()["healthy"], "a worker that runs")

    assert await Limiters(hands.connection).limits() == {}
    assert await PriceTable(hands.connection).all() == {}


async def test_a_card_that_names_an_endpoint_alone_has_the_limiters_the_price_and_the_name_of_its_model(
    settings: Settings, hands: Hands, tmp_path: Path
) -> None:
    card = a_card("asker", model="box", instruction="Answer.")
    await hands.catalog_store.publish(Catalog(version="v2", cards={"asker": card}), {})
    async with ModelServer(lambda request: f"{request.model} answers") as server:
        environ = written(tmp_path, WHOLE.format(url=server.url))
        async with serving(settings, environ=environ) as process, SwarmClient(settings=settings) as client:
            await until(lambda: process.runs.served.limiters, "the limiters of the expert")
            with capture_logs() as lines:
                answer = await (await client.submit("go", expert="asker", budget=1.0)).answer(40)
            limiters = dict(process.runs.served.limiters)

    assert limiters == {"run:asker": "! model:box/small endpoint:box"}
    assert answer.text == "small answers"
    assert answer.usage.cost == 70, "12 tokens of 2.5 and 4 of 10 dollars a million"
    assert [line["model"] for line in lines if line["event"] == CALLED] == ["box/small"]


async def test_an_endpoint_without_a_default_model_is_told_with_what_it_offers(
    settings: Settings, hands: Hands, tmp_path: Path
) -> None:
    card = a_card("asker", model="box", instruction="Answer.")
    await hands.catalog_store.publish(Catalog(version="v2", cards={"asker": card}), {})

    def script(request: Received) -> Reply | str:
        return Reply(listing(["small", "large"])) if request.route == "models" else "hello"

    async with ModelServer(script) as server:
        environ = written(tmp_path, f'[endpoints.box]\nurl = "{server.url}"\n')
        planned = settings.model_copy(update={"planner": "box"})
        with capture_logs() as lines:
            async with serving(planned, environ=environ), SwarmClient(settings=settings) as client:
                answer = await (await client.submit("go", expert="asker", budget=1.0)).answer(40)
                await until(lambda: any(line["event"] == NO_MODEL for line in lines), "a warning")

    assert answer.ending == "failed"
    assert "has no default model" in str(answer.model_dump())
    assert "it offers small, large" in str(answer.model_dump())
    told = next(line for line in lines if line["event"] == NO_MODEL)
    assert (told["variable"], told["model"]) == ("SWARM_PLANNER", "box")
    assert "it offers small, large" in told["problem"]
    assert all(request.route == "models" for request in server.requests)


async def test_a_planner_may_be_named_by_its_endpoint_alone(settings: Settings, hands: Hands, tmp_path: Path) -> None:
    plan = '{"subtasks": [{"id": "t1", "expert": "a", "instruction": "go"}]}'
    async with ModelServer(lambda request: plan) as server:
        environ = written(tmp_path, WHOLE.format(url=server.url))
        planned = settings.model_copy(update={"planner": "box", "skip": False})
        async with serving(planned, environ=environ), SwarmClient(settings=settings) as client:
            job = await client.submit("a b c")
            found = {event.planner async for event in job.events() if isinstance(event, Planned)}

    assert found == {"box/small"}


async def test_a_broken_file_is_one_error_before_anything_is_opened(settings: Settings, tmp_path: Path) -> None:
    environ = written(tmp_path, '[endpoints.box]\nurl = "http://a/v1"\nmodle = "m"\n')

    with pytest.raises(BadInput, match=r"\[endpoints.box\] modle: unknown; did you mean 'model'\?"):
        async with serving(settings, expert("echo", echo), environ=environ):
            pass


@pytest.mark.parametrize(
    "command", [["worker", "--redis", "redis://127.0.0.1:9"], ["up", "--redis", "redis://127.0.0.1:9"]]
)
def test_a_command_tells_of_a_broken_file_before_it_waits_for_redis(tmp_path: Path, command: list[str]) -> None:
    environ = {**os.environ, **written(tmp_path, "[endpoints.box]\nkey = 'sk-1234567890'\n")}
    done = subprocess.run(
        [sys.executable, "-m", "swarm.cli", *command],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 2
    assert "[endpoints.box] key: unknown; no secret stands in this file" in " ".join(done.stderr.split())
    assert "sk-1234567890" not in done.stderr
