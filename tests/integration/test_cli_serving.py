"""worker and up, as processes: roles, waiting for Redis, catalogs that change, restarts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import structlog

from experts.catalog.loader import Loaded
from swarm import logging
from swarm.broker.catalog_store import CatalogStore
from swarm.cli.commands.serve import roles_of
from swarm.client.client import SwarmClient
from swarm.client.discovery import as_up, up_runs, up_starts, up_url
from swarm.errors import BadInput
from swarm.settings import Settings
from swarm.types.card import Card
from tests.integration.test_cli_children import Child, Here, environment, here, running, slow
from workers import catalog_publisher
from workers.embedded import embedded
from workers.health import ask as health
from workers.local_redis.server import PrivateRedis
from workers.local_redis.server import running as private

__all__ = ["here", "slow"]

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


def test_up_serves_its_folder_and_jobs_survive_its_restart(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    up = ("up", "--catalog", "cards", "--import", "slowly:Slow", "--json")
    with running(*up, env=env, cwd=slow) as first:
        first.until("its document", lambda: "\n" in first.out)
        asked = here("ask", "Repeat: one", "--json", env=env)
        job = here("submit", "sleep 1", "--expert", "slow", env=env).out.strip()
        first.signal(signal.SIGKILL)
        first.end()
    kept = here("jobs", "--open", "--json", env=env).json["jobs"]
    with running(*up, env=env, cwd=slow) as second:
        answered = here("answer", job, env=env)
        second.signal(signal.SIGINT)
        ended = second.end()

    assert json.loads(first.out)["experts"] == ["echo", "slow"]
    assert asked.json["text"] == "You said: Repeat: one"
    assert [info["id"] for info in kept] == [job]
    assert answered.code == 0
    assert "slept" in answered.out
    assert ended.code == 0


def test_a_worker_without_a_url_serves_the_swarm_that_is_up(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    alone = here("worker", "--import", "slowly:Slow", env=env, cwd=slow)
    assert here("experts", "publish", "cards", "--import", "slowly:Slow", env=env, cwd=slow).code == 0
    with running("up", env=env, cwd=slow) as up:
        up.says("swarm is up")
        with running("worker", "--import", "slowly:Slow", env=env, cwd=slow) as worker:
            worker.says("worker_started")
            asked = here("ask", "sleep 0.1", "--expert", "slow", env=env)

    assert alone.code == 2
    assert "use: swarm up" in alone.err
    assert "slept" in asked.out


def test_a_second_up_on_the_same_data_says_that_one_runs(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    with running("up", "--catalog", "cards", env=env, cwd=slow) as first:
        first.says("swarm is up")
        with running("up", "--catalog", "cards", env=env, cwd=slow) as second:
            second.says("swarm is up")

    said = f"note: a swarm up runs on {slow / 'data'} already; both serve its jobs"
    assert said not in first.err
    assert said in second.err


def test_a_worker_serves_the_swarm_that_is_up_again_after_a_restart(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    with running("up", "--catalog", "cards", "--import", "slowly:Slow", env=env, cwd=slow) as first:
        first.says("swarm is up")
        with running("worker", "--import", "slowly:Slow", env=env, cwd=slow) as worker:
            worker.says("worker_started")
            first.signal(signal.SIGINT)
            first.end()
            with running("up", env=env, cwd=slow) as second:  # which does not have the expert
                second.says("swarm is up")
                asked = here("ask", "sleep 0.1", "--expert", "slow", env=env)
            worker.signal(signal.SIGTERM)
            ended = worker.end()

    assert "slept" in asked.out
    assert ended.code == 0
    assert private(slow / "data") is None


def test_up_publishes_what_changes_in_its_folder(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    card = slow / "cards" / "echo.md"
    with running("up", "--catalog", "cards", env=env, cwd=slow) as up:
        up.says("swarm is up")
        before = up.err.count("catalog_changed")
        card.write_text(card.read_text().replace("You said", "I heard"))
        up.until("a new catalog", lambda: up.err.count("catalog_changed") > before)
        published = card.read_text()
        card.write_text(published.replace("kind:", "kindly:"))
        up.says("card_refused")
        card.write_text(published)
        asked = here("ask", "Repeat: two", env=env)

    assert "I heard: Repeat: two" in asked.out


def test_what_is_submitted_to_an_unserved_folder_waits_for_up(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    assert here("experts", "publish", "cards", env=env, cwd=slow).code == 0
    submitted = here("submit", "Repeat: three", env=env)
    with running("up", env=env, cwd=slow):
        answered = here("answer", submitted.out.strip(), env=env)

    assert "wait for: swarm up" in submitted.err
    assert "You said: Repeat: three" in answered.out


# -- when the private Redis is lost --------------------------------------------------------------------------------


def server_of(up: Child) -> tuple[str, int]:
    """The socket's folder and the process of the private Redis, once `up --json` runs."""
    up.until("its document", lambda: "\n" in up.out)
    folder = Path(json.loads(up.out)["url"].removeprefix("unix://")).parent
    return str(folder), int((folder / "redis.pid").read_text())


def test_up_survives_the_loss_of_its_redis(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    with running("up", "--catalog", "cards", "--json", env=env, cwd=slow) as up:
        folder, lost = server_of(up)
        os.kill(lost, signal.SIGKILL)
        first = here("ask", "Repeat: at once", "--timeout", "9s", "--json", env=env)
        again, lost_too = server_of(up)
        os.kill(lost_too, signal.SIGKILL)  # this time nobody but `up` is there to see it
        up.until("the next server", lambda: private(slow / "data") and server_of(up)[1] != lost_too)
        second = here("ask", "Repeat: later", "--timeout", "9s", "--json", env=env)
        listed = here("jobs", "--json", env=env)

    assert again == folder
    assert (first.json["text"], second.json["text"]) == ("You said: Repeat: at once", "You said: Repeat: later")
    assert {job["state"] for job in listed.json["jobs"]} == {"completed"}


def test_up_ends_when_its_redis_cannot_be_started_again(slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    with running("up", "--catalog", "cards", "--json", env=env, cwd=slow) as up:
        folder, lost = server_of(up)
        shutil.rmtree(folder)
        os.kill(lost, signal.SIGKILL)
        done = up.end()

    assert done.code == 4
    assert "the private Redis died" in done.err
    assert "Traceback" not in done.err


def test_up_serves_the_socket_it_has_named_and_no_other(tmp_path: Path) -> None:
    assert not up_runs(tmp_path / "none", "unix:///a")
    with as_up(tmp_path) as serves:
        assert up_starts(tmp_path)
        assert not up_runs(tmp_path, "unix:///a")
        serves("unix:///a")
        assert not up_starts(tmp_path)
        assert up_runs(tmp_path, "unix:///a")
        assert not up_runs(tmp_path, "unix:///b")
        assert not up_runs(tmp_path, None)
    assert not up_runs(tmp_path, "unix:///a")


async def test_a_client_without_a_url_finds_the_up_that_runs_and_no_other(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    async with PrivateRedis(tmp_path) as redis:
        with pytest.raises(BadInput, match="swarm up"):
            SwarmClient(settings=settings)
        url = redis.url
        with as_up(tmp_path) as serves:
            serves(url)
            async with SwarmClient(settings=settings) as client:
                assert await client.jobs() == []
        assert up_url(tmp_path) is None
    with as_up(tmp_path) as serves:
        serves(url)
        with pytest.raises(BadInput, match="SWARM_REDIS_URL"):
            SwarmClient(settings=settings)


def test_an_ask_on_another_socket_than_that_of_up_brings_its_own_workers(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    (slow / "data").mkdir()
    with as_up(slow / "data") as serves:
        serves("unix:///tmp/swarm-lost/redis.sock")
        done = here("ask", "Repeat: alone", "--catalog", "cards", "--timeout", "9s", env=env, cwd=slow)

    assert "You said: Repeat: alone" in done.out


# -- workers as a library ------------------------------------------------------------------------------------------


def test_what_was_asked_is_not_in_a_traceback(here: Here, slow: Path, redis_url: str, prefix: str) -> None:
    settings = Settings(redis_url=redis_url, prefix=prefix)
    former, capsys = structlog.get_config(), here.capsys

    async def failing() -> None:
        async with embedded(settings, {}, slow / "cards"):
            request = "words of the caller"
            try:
                raise ValueError(request)
            except ValueError:
                logging.get_logger("expert").exception("it_failed")
            logging.get_logger("expert").info("all is well")

    structlog.reset_defaults()
    try:
        asyncio.run(failing())
        out, err = capsys.readouterr()
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
        asyncio.run(failing())
        theirs = structlog.get_config()["logger_factory"]
    finally:
        structlog.configure(**former)

    assert "it_failed" in err
    assert "ValueError" in err
    assert "words of the caller" not in out + err
    assert "all is well" not in out + err
    assert isinstance(theirs, structlog.ReturnLoggerFactory), "what the program has set up stays"


# -- a folder that is watched --------------------------------------------------------------------------------------


async def test_a_folder_is_published_once_it_stands_still(
    catalog_store: CatalogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = list("a b c d d d e e a b a a".split())
    seen: list[str] = []
    published: list[str] = []

    def stamp(_: Path) -> catalog_publisher.Stamp:
        seen.append(looks.pop(0))
        return frozenset({(seen[-1], 0, 0)})

    async def publish(*_: object) -> Loaded | None:
        published.append("".join(seen))
        return None

    monkeypatch.setattr(catalog_publisher, "LOOK", 0)
    monkeypatch.setattr(catalog_publisher, "stamp", stamp)
    monkeypatch.setattr(catalog_publisher, "publish", publish)
    with pytest.raises(IndexError):  # no more looks
        await catalog_publisher.watch(catalog_store, Path(), {}, frozenset({("a", 0, 0)}))

    assert published == ["abcdd", "abcdddee", "abcdddeeabaa"]
