"""model-server and demo --model, as processes: a model is played, and the demo is answered by it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from swarm.cli.base.console import Screen
from swarm.cli.commands.model_server import _recorded, _Server
from swarm.errors import BadInput
from swarm.testing.model_server import ModelServer
from tests.integration.test_cli_children import Child, Here, environment, here, running, swarm

__all__ = ["here"]


def url(child: Child) -> str:
    child.says("stop it: Ctrl-C")
    found = re.search(r"export SWARM_ENDPOINT_SCRIPTED_URL=(\S+)", child.out)
    assert found
    return found[1]


def ask(where: str, words: str, key: str = "none") -> Any:
    body = {"model": "any", "messages": [{"role": "user", "content": words}]}
    answer = httpx2.post(f"{where}/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}, timeout=40)
    return answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else answer.status_code


def test_the_demo_is_answered_by_a_played_model() -> None:
    with running("model-server", "--rules", "demo", "--dialect", "llama-cpp-python", env=environment()) as server:
        done = swarm("demo", "--model", "scripted/desk", env=environment(ENDPOINT_SCRIPTED_URL=url(server)))
        server.signal(signal.SIGINT)
        ended = server.end()

    assert done.code == 0, done.err
    assert "plan by scripted/desk: 3 subtasks" in done.out
    assert "then you may choose between a full refund and a free replacement" in done.out
    assert "— from r1.t3 (reply-writer), built on r1.t1 (triage), r1.t2 (refund-policy)" in done.out
    assert (ended.code, ended.err) == (0, "")
    posts = [line.split()[3:-2] for line in ended.out.splitlines() if "POST /v1/chat" in line]
    assert [post for post in posts if "json_schema" in post] == [["desk", "json_schema", "streamed", "500"]]
    assert len(posts) == 5
    assert "parcel" not in ended.out, "nothing of what was asked or answered is logged"


def test_a_played_model_as_json_with_a_key_and_a_latency(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("models: [a, b]\nrules: [{when: '/(.*)/', say: 'you said \\1'}]")
    args = ("--rules", "rules.yaml", "--json", "--key-env", "MY_KEY", "--latency", "50ms")
    env = environment() | {"MY_KEY": "sk-mine-1234567890"}
    with running("model-server", *args, env=env, cwd=tmp_path) as server:
        server.says("\n")
        ready = json.loads(server.out.splitlines()[0])
        refused = [ask(ready["url"], "hello", key) for key in ("sk-other", "sk-mine-1234567890")]
        server.until("two lines", lambda: server.out.count("\n") == 3)
        server.signal(signal.SIGTERM)
        ended = server.end()

    assert (ready["models"], ready["dialect"], ready["pid"]) == (["a", "b"], "OpenAI", server.process.pid)
    first, second = map(json.loads, ended.out.splitlines()[1:])
    assert refused == [401, 404], "another key, and a model that is not among those of the rules"
    assert (first["request"], first["model"], first["outcome"]) == ("POST /v1/chat/completions", "any", "401")
    assert second["outcome"] == "404"
    assert first["ms"] >= 50
    assert "sk-" not in ended.out
    assert ended.code == 0


@asynccontextmanager
async def recording(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[_Server, asyncio.Task[int]]]:
    """A server that records what another says, and its run, which ends with the block."""
    server = _Server(Screen(as_json=True), 0.0, 0)
    async with ModelServer(lambda request: f"you said {request.last}") as real, asyncio.timeout(40):
        monkeypatch.setenv("SWARM_ENDPOINT_REAL_URL", real.url)
        run = asyncio.create_task(_recorded(server, path, "real"))
        while not server.url:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)
        yield server, run
        server.stop()
        await asyncio.gather(run, return_exceptions=True)


async def test_what_one_server_records_another_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with recording(tmp_path / "made.jsonl", monkeypatch) as (recorder, _):
        heard = [await asyncio.to_thread(ask, recorder.url, words) for words in ("hello", "good bye")]
    with running("model-server", "--recording", "made.jsonl", env=environment(), cwd=tmp_path) as player:
        played = [ask(url(player), words) for words in ("good bye", "hello")]

    assert heard == ["you said hello", "you said good bye"]
    assert played == heard[::-1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
async def test_a_recording_that_cannot_be_written_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async with recording(Path("/dev/full"), monkeypatch) as (recorder, run):
        heard = await asyncio.to_thread(ask, recorder.url, "hello")
        with pytest.raises(BadInput, match="/dev/full cannot be written"):
            await run

    assert heard == "you said hello", "whoever asked has the answer all the same"


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ((), "one of --rules, --recording and --record is needed"),
        (("--rules", "a", "--recording", "b"), "one of --rules, --recording and --record is needed"),
        (("--record", "a"), "--record and --to need each other"),
        (("--rules", "demo", "--to", "b"), "--record and --to need each other"),
        (("--record", "a", "--to", "openai", "--dialect", "aimock"), "answers are passed on unchanged"),
        (("--record", "a.jsonl", "--to", "nowhere"), "SWARM_ENDPOINT_NOWHERE_URL"),
        (("--record", "/nowhere/a.jsonl", "--to", "box"), "cannot be written"),
        (("--rules", "none.yaml"), "none.yaml: cannot be read"),
        (("--recording", "none.jsonl"), "none.jsonl: cannot be read"),
        (("--rules", "wrong.yaml"), "rules.1.sya: unknown field, did you mean 'say'?"),
        (("--rules", "demo", "--dialect", "klingon"), "known are openai, llama-server"),
        (("--rules", "demo", "--key-env", "NO_SUCH_KEY"), "NO_SUCH_KEY is not set"),
        (("--rules", "demo", "--key-env", "PATH", "--dialect", "aimock"), "aimock accepts any key"),
        (("--rules", "demo", "--latency", "soon"), "'soon' is no time"),
    ],
)
def test_what_cannot_be_played_is_told_with_the_remedy(
    here: Here, tmp_path: Path, args: tuple[str, ...], problem: str
) -> None:
    (tmp_path / "wrong.yaml").write_text("rules: [{sya: hello}]")
    env = environment(ENDPOINT_BOX_URL="http://127.0.0.1:9/v1")
    done = here("model-server", *args, "--json", env=env, cwd=tmp_path)

    assert (done.code, done.out) == (2, "")
    assert problem in done.error["message"]


def test_a_port_that_is_taken_is_told(here: Here) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = here("model-server", "--rules", "demo", "--port", str(port), env=environment())

    assert done.code == 2
    assert "port: cannot be listened on" in done.err


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("box/small", "cannot reach 127.0.0.1:9"),
        ("nowhere/small", "SWARM_ENDPOINT_NOWHERE_URL"),
        ("No Model", "name one as endpoint/model"),
        ("local/template", "name one as endpoint/model"),
        ("box", "the endpoint 'box' has no default model"),
    ],
)
def test_a_demo_over_a_model_that_is_not_there_says_so_at_once(here: Here, model: str, problem: str) -> None:
    env = environment(ENDPOINT_BOX_URL="http://127.0.0.1:9/v1")
    done = here("demo", "--model", model, "--json", env=env)

    assert (done.code, done.out) == (2, "")
    assert problem in done.error["message"]
