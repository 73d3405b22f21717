"""A Redis user that has what a swarm needs, on its own keys and channels, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import redis

from swarm.broker.acl import DIRECT, rule, scripted
from swarm.broker.connection import Connection
from swarm.broker.ledger import Ledger
from swarm.broker.limiters import Limiters
from swarm.broker.price_table import PriceTable
from swarm.cli.app import main
from swarm.client.client import SwarmClient
from swarm.errors import BrokerDenied
from swarm.settings import Settings
from swarm.types.card import Limits
from tests.billing import BilledServer
from tests.conftest import StartRedis
from tests.integration.processes import echo, expert, publish, serving, until
from tests.integration.test_budgets import CAP, fan, held, swarm

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def limited(start_redis: StartRedis) -> AsyncIterator[Settings]:
    """A Redis whose every other user is gone, and a swarm that knows the one it may be."""
    server = await start_redis()
    path = server.url.removeprefix("unix://")
    with redis.Redis(unix_socket_path=path) as client:
        client.execute_command("ACL", "SETUSER", *rule("t", password="sesame").split())
        client.execute_command("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
        client.execute_command("ACL", "SETUSER", "default", "off")
    yield Settings(redis_url=f"unix://swarm:sesame@{path}", prefix="t", max_age=600, retention=600)
    with redis.Redis(unix_socket_path=path, username="admin", password="admin") as client:
        denied = [(entry["reason"], entry["object"]) for entry in client.acl_log()]
        client.execute_command("ACL", "SETUSER", "default", "on", "nopass", "+@all")
    assert [entry for entry in denied if entry[1] not in EXPECTED] == []


EXPECTED = ("other:key", "keys", "other:channel", "flushall", "config|get", "config")
"""What the test below tries and must not do."""


async def test_the_whole_flow_works_with_these_rights_alone(limited: Settings) -> None:
    await publish(limited, expert("echo", echo), expert("late", echo))
    async with SwarmClient(settings=limited) as client, serving(limited, expert("echo", echo)):
        answer = await client.ask("hello", expert="echo", timeout=40)
        planned = await client.plan("the test's echo", timeout=40)
        waiting = await client.submit("never", expert="late", deadline=60)
        await until(partial(unserved, client, waiting.id), "a subtask that nobody serves")
        snapshot = await client.snapshot()
        receipt = await waiting.cancel()
        jobs = await client.jobs()

    assert (answer.text, receipt.ending) == ("hello", "cancelled")
    assert planned.plan.subtasks[0].expert == "echo"
    assert [job.id for job in jobs][-1] == answer.job
    assert snapshot.unserved == ("late",)
    assert snapshot.leaks == ()


async def test_budgets_limits_tenants_and_dead_letters_work_with_these_rights_alone(limited: Settings) -> None:
    settings = limited.model_copy(update={"max_output": CAP, "slots": 20, "tenant_budget": 5.0})
    async with (
        BilledServer(pause=0.001) as server,
        swarm(settings, server) as client,
        Connection.open(settings.redis_url or "", "t") as connection,
    ):
        ledger, limiters, prices = Ledger(connection, settings), Limiters(connection), PriceTable(connection)
        await ledger.keep_tenant("acme", weight=2, budget=1.0)
        await limiters.set("box/small", Limits(concurrency=2, requests_per_minute=60_000, tokens_per_minute=9_000_000))
        job = await client.submit("all", plan=fan(8), budget=held() / 1e6, tenant="acme", priority=5)
        pieces = [delta async for delta in job.deltas()]
        answer = await job.answer(40)
        snapshot = await client.snapshot()
        tenants = [tenant.name for tenant in await ledger.tenants()]
        stopped = await client.cancel_tenant("acme")
        letters = (
            await client.dead(),
            await client.drop_dead("j:t1:1"),
            await connection.script("mark_dead", "x", "j"),
        )
        today = await ledger.today()
        spent = await ledger.day(today)
        dropped = [await limiters.drop("box/small"), await prices.drop(["small"]), await ledger.drop_tenant("acme")]

    assert answer.ending == "over_budget"
    assert pieces == []
    assert (list(snapshot.limiters), snapshot.leaks) == (["model:box/small"], ())
    assert snapshot.budgets[f"tenant:acme:{today}"]["settled"] == answer.usage.cost == spent.settled > 0
    assert (tenants, stopped.receipts) == (["acme"], ())
    assert letters == ([], False, 0)
    assert dropped == [True, 1, True]


async def unserved(client: SwarmClient, job: str) -> bool:
    return await client.unserved(job) == ("late",)


async def test_everything_else_is_denied(limited: Settings) -> None:
    async with Connection.open(limited.redis_url or "", "t") as connection:
        for command in [
            ("GET", "other:key"),
            ("KEYS", "*"),
            ("PUBLISH", "other:channel", "x"),
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
        ]:
            with pytest.raises(BrokerDenied, match="ACL"):
                await connection.call(*command)


def test_every_command_that_is_sent_is_in_the_rule(redis_url: str) -> None:
    """Whatever stands in quotes in our code and is a command's name."""
    with redis.Redis.from_url(redis_url) as client:
        known = {name.upper() for name in client.command()}
    said = {
        word
        for folder in ("swarm/broker", "workers")
        for path in (ROOT / folder).rglob("*.py")
        for word in re.findall(r"\"([A-Z]{2,})(?: [A-Z]+)?\"", path.read_text())
    }
    rights = {right.partition("|")[0].upper() for right in DIRECT | scripted()}

    assert said & known - rights - SPOKEN_OF == set()


SPOKEN_OF = {"SHUTDOWN", "READONLY", "CONFIG"}
"""For a Redis that is our own process; what Redis answers; what `swarm doctor` reads where it may."""


def test_scripts_call_commands_by_their_names_alone() -> None:
    """What they call in another way would be missing in the rule."""
    for path in (ROOT / "swarm" / "broker" / "scripts").glob("*.lua"):
        code = re.sub(r"--.*", "", path.read_text()).replace("local call = redis.call", "")
        assert "redis.call" not in code, path.name
        assert "pcall" not in code, path.name
        assert len(re.findall(r"\bcall\b", code)) == len(re.findall(r"\bcall\('[A-Z]+'", code)), path.name


@pytest.mark.parametrize("option", [("--prefix", "a*"), ("--prefix", "a ~other:*"), ("--user", "a b"), ("--user", "")])
def test_a_rule_for_what_is_no_name_is_refused(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redis", "acl", *option]) == 2
    assert "is not a valid name" in capsys.readouterr().err


def test_the_rule_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redis", "acl", "--prefix", "acme", "--user", "bot"]) == 0
    assert main(["redis", "acl", "--prefix", "acme", "--user", "bot", "--json"]) == 0

    said, document = capsys.readouterr().out.strip().split("\n")
    assert said == json.loads(document)["rule"] == rule("acme", "bot")
    assert said.startswith("bot reset on >PASSWORD resetchannels ~acme ~acme:* &acme:* -@all +blpop ")
