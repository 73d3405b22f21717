"""Bad input of every sort: a clear error with the field and the remedy, its exit code, nothing half enqueued."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from swarm.cli import main
from tests.integration.test_cli_children import DEMO, Here, environment, here, swarm
from workers.local_redis.server import PrivateRedis

__all__ = ["here"]


class Shell:
    """Runs commands against a Redis with the demo's catalog, each as words and as JSON."""

    def __init__(self, capsys: pytest.CaptureFixture[str], url: str, prefix: str) -> None:
        self._capsys, self._url, self._prefix = capsys, url, prefix

    def jobs(self) -> list[str]:
        with redis.Redis.from_url(self._url, decode_responses=True) as client:
            return [
                key for key in client.scan_iter(f"{self._prefix}:*") if ":catalog" not in key and ":blob" not in key
            ]

    def forget(self) -> tuple[str, str]:
        return self._capsys.readouterr()

    def refused(self, *args: str, code: int = 2) -> Any:
        """The error as JSON, after the same in words has been looked at."""
        assert main(args) == code
        out, words = self._capsys.readouterr()
        assert out == ""
        assert words.startswith("error: ")
        assert main((*args[:1], "--json", *args[1:])) == code
        out, err = self._capsys.readouterr()
        error = json.loads(err)["error"]
        assert out == ""
        assert "Traceback" not in words + err
        assert not set("\x1b\x07") & set(words)
        assert error.get("remedy") or any(word in error["message"] for word in ("; ", "should match"))
        return error


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, redis_url: str, prefix: str) -> Shell:
    monkeypatch.setenv("SWARM_REDIS_URL", redis_url)
    monkeypatch.setenv("SWARM_PREFIX", prefix)
    return Shell(capsys, redis_url, prefix)


@pytest.fixture
def published(shell: Shell, capsys: pytest.CaptureFixture[str]) -> Shell:
    assert main(["experts", "publish", str(DEMO)]) == 0
    capsys.readouterr()
    return shell


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ([""], "text"),
        (["  \n\t "], "text"),
        (["bell \x07 and \x1b[31mred"], "text"),
        (["caf\udce9"], "text"),
        ([], "text"),
        (["hello", "--expert", "nobody"], "expert"),
        (["hello", "--expert", "Not A Name"], "expert"),
        (["hello", "--expert", "caf\udce9"], "expert"),
        (["hello", "--deadline", "soon"], "deadline"),
        (["hello", "--deadline", "0"], "deadline"),
        (["hello", "--attempts", "0"], "attempts"),
        (["hello", "--tenant", "a b"], "tenant"),
        (["hello", "--tenant", "\udce9"], "tenant"),
        (["hello", "--job-id", "a b"], "job_id"),
        (["hello", "--job-id", "\udce9"], "job_id"),
        (["hello", "--plan", "/no/such/plan"], "plan"),
    ],
)
def test_a_bad_request_is_refused_at_the_door(published: Shell, args: list[str], field: str) -> None:
    assert published.refused("submit", *args)["field"] == field
    assert main(["ask", *args]) == 2
    assert published.jobs() == []


def subtask(name: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "expert": "greeting", "instruction": "do it", "depends_on": depends_on, **more}


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ([subtask("a", "b"), subtask("b", "a")], "circular"),
        ([subtask("a", "gone")], "no subtask of the plan"),
        ([subtask("a", instruction="use ${gone}")], "no subtask of the plan"),
        ([subtask("a"), subtask("a")], "more than once"),
        ([subtask(f"t{i}") for i in range(10_000)], "10,000 subtasks"),
        ([subtask("a", expert="nobody")], "nobody"),
        ([subtask("a", instruction=" ")], "empty"),
        ([subtask("a", instruction="\x1b[2J")], "control character"),
        ([subtask("a", colour="red")], "colour"),
        ([], "subtasks"),
        ("just words", ""),
        (None, ""),
    ],
)
def test_a_plan_that_cannot_run_is_refused(published: Shell, tmp_path: Path, plan: Any, words: str) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    error = published.refused("submit", "go", "--plan", str(tmp_path / "plan.json"))

    assert error["field"] in ("plan", "expert")
    assert words in error["message"]
    assert published.jobs() == []


@pytest.mark.parametrize(
    ("content", "kind"), [(b"x" * 2_000_000, "TooLarge"), (b"caf\xe9", "BadInput"), (b"", "BadInput")]
)
def test_standard_input_is_checked_as_well(here: Here, content: bytes, kind: str) -> None:
    done = here("submit", "-", "--json", env=environment(REDIS_URL="redis://127.0.0.1:1"), stdin=content)

    assert (done.code, done.out, done.error["type"], done.error["field"]) == (2, "", kind, "text")


def test_bytes_that_are_no_text_are_refused_as_an_argument() -> None:
    done = swarm("submit", b"caf\xe9", "--json", env=environment(REDIS_URL="redis://127.0.0.1:1"))

    assert (done.code, done.error["field"]) == (2, "text")


@pytest.mark.parametrize(
    ("name", "card", "words"),
    [
        ("a.md", "---\nname: [\n---\nbody", "YAML"),
        ("a.md", "---\nname: a\n", "no end"),
        ("a.md", "---\nkind: instruction\nmodel: local/template\ndescription: d\ncolour: red\n---\nbody", "colour"),
        ("a.md", "---\nkind: rag\nmodel: local/extract\ndescription: d\ndocuments: gone/\n---\nbody", "not there"),
        ("a.md", "---\nkind: rag\nmodel: local/extract\ndescription: d\ndocuments: ../secret\n---\nbody", "leaves"),
        ("a.md", "---\nkind: rag\nmodel: local/extract\ndescription: d\ndocuments: /etc\n---\nbody", "leaves"),
        ("a.txt", "no card at all", "no experts"),
    ],
)
def test_a_folder_with_a_bad_card_is_not_published(
    shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, card: str, words: str
) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / name).write_text(card)
    folder = str(tmp_path / "cards")
    assert main(["experts", "publish", folder, "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert main(["experts", "check", folder, "--json"]) == 2
    checked = json.loads(capsys.readouterr().out)

    assert words in error["message"]
    assert error["remedy"]
    assert checked["ok"] is False
    assert [problem["message"] for problem in checked["problems"]] == [error["message"]]
    assert main(["worker", "--catalog", folder]) == 2
    assert main(["ask", "hello", "--catalog", folder]) == 2
    assert shell.jobs() == []


def test_a_job_for_nobody_is_refused(shell: Shell) -> None:
    error = shell.refused("submit", "hello")

    assert (error["type"], error["field"]) == ("EmptyCatalog", "catalog")
    assert shell.jobs() == []


# -- Redis ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [["jobs"], ["worker"], ["up"]])
@pytest.mark.parametrize("url", ["http://x", "nonsense", "redis://h:port", "redis://[::1", "redis://caf\udce9"])
def test_a_url_that_is_none_is_refused(shell: Shell, verb: list[str], url: str) -> None:
    assert shell.refused(*verb, "--redis", url)["field"] == "redis"


@pytest.mark.parametrize("verb", [["jobs"], ["submit", "hello"], ["ask", "hello"], ["watch", "j"], ["cancel", "j"]])
def test_a_redis_that_is_not_there_is_told(shell: Shell, verb: list[str]) -> None:
    assert shell.refused(*verb, "--redis", "redis://127.0.0.1:1", code=4)["type"] == "BrokerUnavailable"


StartRedis = Callable[..., Awaitable[PrivateRedis]]
VERBS = [["submit", "hello"], ["experts", "publish", str(DEMO)], ["worker"], ["up"]]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
async def test_a_wrong_password_is_told_at_once(shell: Shell, start_redis: StartRedis, verb: list[str]) -> None:
    server = await start_redis(requirepass="secret")
    url = server.url.replace("unix://", "unix://:wrong-word@")
    error = await asyncio.to_thread(shell_error, shell, [*verb, "--redis", url])

    assert error["type"] == "BrokerDenied"
    assert "wrong-word" not in json.dumps(error)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
async def test_a_read_only_replica_is_told_at_once(shell: Shell, start_redis: StartRedis, verb: list[str]) -> None:
    server = await start_redis()
    assert await asyncio.to_thread(main, ["--redis", server.url, "experts", "publish", str(DEMO)]) == 0
    shell.forget()
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    error = await asyncio.to_thread(shell_error, shell, [*verb, "--redis", server.url])

    assert error["type"] == "BrokerReadOnly"


def shell_error(shell: Shell, args: list[str]) -> Any:
    group = 2 if args[0] == "experts" else 1
    assert main((*args[:group], "--json", *args[group:])) == 4
    out, err = shell.forget()
    assert out == ""
    assert "Traceback" not in err
    return json.loads(err.splitlines()[-1])["error"]


def test_a_worker_needs_a_url(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWARM_REDIS_URL")

    assert shell.refused("worker")["field"] == "redis"


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (["--pool", "swimming"], "pool"),
        (["--kind", "kind"], "kind"),
        (["--kind", "rag", "--expert", "x"], "expert"),
        (["--log-level", "loud"], "log-level"),
        (["--catalog", "/no/such"], "catalog"),
        (["--catalog", "\udce9"], "catalog"),
        (["--import", "no import string"], "implementation"),
        (["--import", "swarm.nothing:Here"], "implementation"),
        (["--import", "json:dumps"], "implementation"),
    ],
)
def test_a_worker_checks_its_options(shell: Shell, args: list[str], field: str) -> None:
    assert shell.refused("worker", *args)["field"] == field


def test_a_module_that_fails_on_import_is_told_without_a_traceback(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    assert "ZeroDivisionError" in shell.refused("worker", "--import", "failing:X")["message"]


def test_no_server_to_start_says_what_to_install(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SWARM_REDIS_URL")
    monkeypatch.setenv("SWARM_REDIS_SERVER", "/no/such/server")
    monkeypatch.setenv("SWARM_DATA", str(tmp_path / "data"))

    assert shell.refused("jobs", code=4)["type"] == "EmbeddedUnavailable"


@pytest.mark.parametrize(
    "args", [["nonsense"], ["ask", "--nonsense"], ["watch"], ["jobs", "--limit", "x"], ["a\udce9"]]
)
def test_wrong_usage_is_told_in_the_same_form(shell: Shell, args: list[str]) -> None:
    assert shell.refused(*args)["type"] == "Usage"


def test_a_wrong_setting_names_its_variable(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_SLOTS", "many")

    assert shell.refused("jobs")["field"] == "SWARM_SLOTS"
