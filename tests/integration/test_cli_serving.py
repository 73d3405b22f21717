"""worker and up, as processes: roles, waiting for Redis, catalogs that change, restarts."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from swarm.cli.serving import roles_of
from swarm.models import Card
from tests.integration.test_cli_children import environment, running, slow, swarm
from workers.health import ask as health
from workers.redis_server import PrivateRedis

__all__ = ["slow"]

StartRedis = Callable[..., Awaitable[PrivateRedis]]


@pytest.mark.parametrize(
    ("pools", "kinds", "experts", "router", "serves"),
    [
        ([], [], [], True, "instruction rag fine-tuned"),
        (["router"], [], [], True, ""),
        (["experts"], [], [], False, "instruction rag fine-tuned"),
        ([], ["rag"], [], False, "rag"),
        (["router"], ["rag"], [], True, "rag"),
        ([], ["rag", "fine-tuned"], [], False, "rag fine-tuned"),
        ([], [], ["instruction-1"], False, "instruction"),
    ],
)
def test_a_worker_does_what_its_options_say(
    pools: list[str], kinds: list[str], experts: list[str], router: bool, serves: str
) -> None:
    roles = roles_of(pools, kinds, experts)
    cards = [
        Card(name=f"{kind}-1", kind=kind, description="d", model="local/x")
        for kind in ("instruction", "rag", "fine-tuned")
    ]

    assert roles.router is router
    assert " ".join(card.kind for card in cards if roles.serves(card)) == serves


@pytest.mark.timeout(30)
async def test_a_worker_waits_for_its_redis_and_tells_a_probe(
    start_redis: StartRedis, slow: Path, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    env = environment(REDIS_URL=f"redis://127.0.0.1:{port}", HEALTH_SOCKET=str(tmp_path / "health"))
    with running("worker", "--catalog", "cards", "--slots", "3", "--json", env=env, cwd=slow) as worker:
        worker.says("redis_away")
        await start_redis(port=port)
        worker.says("worker_started")
        worker.until("a healthy report", lambda: health(str(tmp_path / "health"))["healthy"])
        report = health(str(tmp_path / "health"))
        about = json.loads(worker.out)
        worker.signal(signal.SIGTERM)
        done = worker.end()

    assert report["lanes"]["run"]["slots"] == 3
    assert about["redis"] == f"redis://127.0.0.1:{port}"
    assert (about["router"], about["kinds"]) == (True, ["instruction", "rag", "fine-tuned"])
    assert done.code == 0


@pytest.mark.timeout(40)
def test_up_serves_its_folder_and_jobs_survive_its_restart(slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    up = ("up", "--catalog", "cards", "--import", "slowly:Slow", "--json")
    with running(*up, env=env, cwd=slow) as first:
        first.until("its document", lambda: "\n" in first.out)
        asked = swarm("ask", "Repeat: one", "--json", env=env)
        job = swarm("submit", "sleep 1", "--expert", "slow", env=env).out.strip()
        first.signal(signal.SIGKILL)
        first.end()
    kept = swarm("jobs", "--open", "--json", env=env).json["jobs"]
    with running(*up, env=env, cwd=slow) as second:
        answered = swarm("answer", job, env=env)
        second.signal(signal.SIGINT)
        ended = second.end()

    assert json.loads(first.out)["experts"] == ["echo", "slow"]
    assert asked.json["text"] == "You said: Repeat: one"
    assert [info["id"] for info in kept] == [job]
    assert answered.code == 0
    assert "slept" in answered.out
    assert ended.code == 0


@pytest.mark.timeout(30)
def test_up_publishes_what_changes_in_its_folder(slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    card = slow / "cards" / "echo.md"
    with running("up", "--catalog", "cards", env=env, cwd=slow) as up:
        up.says("swarm is up")
        before = up.err.count("catalog_changed")
        card.write_text(card.read_text().replace("You said", "I heard"))
        up.until("a new catalog", lambda: up.err.count("catalog_changed") > before)
        asked = swarm("ask", "Repeat: two", env=env)

    assert "I heard: Repeat: two" in asked.out


@pytest.mark.timeout(30)
def test_what_is_submitted_to_an_unserved_folder_waits_for_up(slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    assert swarm("experts", "publish", "cards", env=env, cwd=slow).code == 0
    submitted = swarm("submit", "Repeat: three", env=env)
    begun = time.monotonic()
    with running("up", env=env, cwd=slow):
        answered = swarm("answer", submitted.out.strip(), env=env)

    assert "waits for: swarm up" in submitted.err
    assert "You said: Repeat: three" in answered.out
    assert time.monotonic() - begun < 20
