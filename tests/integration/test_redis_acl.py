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
from swarm.cli.app import main
from swarm.client import SwarmClient
from swarm.errors import BrokerDenied
from swarm.settings import Settings
from tests.conftest import StartRedis
from tests.integration.processes import echo, expert, publish, serving, until

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
        answer = await client.ask("hello", expert="echo", timeout=8)
        planned = await client.plan("the test's echo", timeout=8)
        waiting = await client.submit("never", expert="late", deadline=60)
        await until(partial(unserved, client, waiting.id), "a subtask that nobody serves")
        census = await client.census()
        receipt = await waiting.cancel()
        jobs = await client.jobs()

    assert (answer.text, receipt.ending) == ("hello", "cancelled")
    assert planned.plan.subtasks[0].expert == "echo"
    assert [job.id for job in jobs][-1] == answer.job
    assert census.unserved == ("late",)
    assert census.leaks == ()


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


def test_every_command_that_is_sent_is_in_the_rule() -> None:
    sent = set()
    for folder in ("swarm", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            sent |= set(
                re.findall(r"\b(?:call|_each|_sizes|send_command)\((?:\w+, )?\"([A-Z]+(?: USAGE)?)\"", path.read_text())
            )
    assert {name.lower().replace(" ", "|") for name in sent} - DIRECT - scripted() - {"pubsub", "sentinel"} == set()


def test_the_rule_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redis", "acl", "--prefix", "acme", "--user", "bot"]) == 0
    assert main(["redis", "acl", "--prefix", "acme", "--user", "bot", "--json"]) == 0

    said, document = capsys.readouterr().out.strip().split("\n")
    assert said == json.loads(document)["rule"] == rule("acme", "bot")
    assert said.startswith("bot reset on >PASSWORD resetchannels ~acme ~acme:* &acme:* -@all +blpop ")
