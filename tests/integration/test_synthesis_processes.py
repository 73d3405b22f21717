"""Over HTTP and between processes: a worker that is killed while a model writes, and a terminal that shows it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from swarm.broker.deltas import Delta
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.testing.model_server import ModelServer
from tests.integration.processes import ROOT, Fleet, echo, expert, publish, serving, until
from workers.process import Roles

PLAN = {
    "subtasks": [
        {"id": "rain", "expert": "echo", "instruction": "it rains"},
        {"id": "snow", "expert": "echo", "instruction": "it snows"},
    ],
    "aggregate": "synthesis",
}
WRITTEN = "It rains all over the place [rain].\n\nAnd it snows there as well, so stay at home [snow]."
TEXT = "It rains all over the place.\n\nAnd it snows there as well, so stay at home."


async def test_a_worker_killed_while_a_model_writes_leaves_one_answer_and_a_view_that_starts_anew(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Delta] = []
    async with ModelServer(lambda _: WRITTEN, delay=0.1) as server, Fleet(settings, tmp_path) as fleet:
        monkeypatch.setenv("SWARM_ENDPOINT_TEST_URL", server.url)
        await publish(settings, expert("echo", echo))
        async with (
            SwarmClient(settings=settings) as client,
            serving(settings, expert("echo", echo), roles=Roles(router=False)),
        ):
            doomed = await fleet.start("router", synthesis="test/writer")
            job = await client.submit("Which weather?", plan=PLAN)
            watching = asyncio.create_task(_watch(client, job.id, seen))
            await until(lambda: len(seen) >= 3, "a text that grows")
            doomed.kill()
            server.delay = 0.0
            await fleet.start("router", synthesis="test/writer")
            answer = await job.answer(40)
            await asyncio.wait_for(watching, 40)
            events = await client.log.events(job.id) or []

    before = [delta for delta in seen if delta.claim == 1]
    assert "".join(delta.text for delta in before).startswith("It rains")
    assert [delta.reset for delta in seen] == [n == len(before) for n in range(len(seen))]
    assert "".join(delta.text for delta in seen[len(before) :]) == answer.text == TEXT
    assert [segment.subtasks for segment in answer.segments] == [("rain",), ("snow",)]
    assert [event.type for event in events].count("answered") == 1
    assert len(server.requests) == 2


async def _watch(client: SwarmClient, job: str, seen: list[Delta]) -> None:
    async for delta in client.job(job).deltas():
        seen.append(delta)


@pytest.mark.parametrize("form", ["terminal", "plain", "json"])
async def test_ask_shows_the_answer_growing_on_a_terminal_and_prints_it_once_in_any_case(
    settings: Settings, form: str, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(PLAN))
    async with ModelServer(lambda _: WRITTEN, delay=0.05) as server:
        environ = {"SWARM_ENDPOINT_TEST_URL": server.url}
        await publish(settings, expert("echo", echo))
        writing = settings.model_copy(update={"synthesis": "test/writer"})
        async with serving(writing, expert("echo", echo), environ=environ):
            out, err = await asyncio.to_thread(_ask, settings, plan, form)

    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", err)
    assert out.count("so stay at home") == (2 if form == "json" else 1), "the text, and as JSON its segment"
    match form:
        case "terminal":
            assert "It rains all over" in drawn
            assert "so stay at home" not in drawn.rpartition("completed in")[2]
        case "plain":
            assert "It rains all over" not in err
            assert "— from snow (echo)" in out
        case "json":
            assert json.loads(out)["text"] == TEXT
            assert err == ""


def _ask(settings: Settings, plan: Path, form: str) -> tuple[str, str]:
    """What `swarm ask` writes to its output, and to its errors, which are a terminal or not."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWARM_")}
    env |= {"SWARM_REDIS_URL": settings.redis_url or "", "SWARM_PREFIX": settings.prefix, "TERM": "xterm"}
    command = [sys.executable, "-m", "swarm.cli", "ask", "Which weather?", "--plan", str(plan)]
    command += ["--json"] if form == "json" else []
    reader, writer = pty.openpty() if form == "terminal" else os.pipe()
    with subprocess.Popen(
        command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writer
    ) as child:
        os.close(writer)
        err = b""
        while piece := _read(reader):
            err += piece
        os.close(reader)
        out = child.communicate(timeout=20)[0]
    assert child.returncode == 0, err.decode()
    return out.decode(), err.decode()


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 65_536)
    except OSError:  # how a terminal says that nobody is there any more
        return b""
