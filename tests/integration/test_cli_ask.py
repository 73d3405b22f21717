"""ask and demo, as processes: one machine, separate workers, Ctrl-C."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from swarm.cli import main
from tests.integration.test_cli_children import DEMO, Here, environment, here, running, slow, swarm

__all__ = ["here", "slow"]

REQUEST = (
    "Classify this message: 'My parcel arrived broken and I want my money back.' Then find what the refund policy says "
    "about damaged goods, and then write a reply to the customer with the results."
)
THREE = {"triage", "refund-policy", "reply-writer"}


def test_the_demo_shows_request_plan_and_an_answer_with_its_sources(tmp_path: Path) -> None:
    done = swarm("demo", env=environment(DATA=str(tmp_path / "untouched")))

    assert done.code == 0, done.err
    assert "Request: Classify this message" in done.out
    assert "plan by local/planner: 3 subtasks" in done.out
    assert "— from r1.t3 (reply-writer), built on r1.t1 (triage), r1.t2 (refund-policy)" in done.out
    assert "policies/handbook.md" in done.out
    assert "\x1b" not in done.out
    assert not (tmp_path / "untouched").exists()


def test_the_demo_as_json_is_one_document(here: Here) -> None:
    done = here("demo", "--json", env=environment())

    assert (done.code, done.err) == (0, "")
    assert done.json["ending"] == "completed"
    assert {row["expert"] for row in done.json["plan"]} == THREE
    assert {row["state"] for row in done.json["plan"]} == {"solved"}


def test_an_answer_that_found_nothing_has_an_exit_code_of_its_own(here: Here, tmp_path: Path) -> None:
    env = environment(DATA=str(tmp_path / "data"))
    asked = ("ask", "Who won the football cup in 1974?", "--expert", "refund-policy", "--catalog", str(DEMO))
    shown, document = here(*asked, env=env), here(*asked, "--json", env=env)

    assert (shown.code, document.code) == (10, 10)
    assert "the experts found nothing that answers the request" in shown.out
    assert "not found: the expert searched and has no answer" in shown.out
    assert (document.json["found"], document.json["ending"]) == (False, "completed")
    assert document.json["segments"][0]["caveats"] == ["not_found"]


def test_separate_processes_answer_together(here: Here, redis_url: str, prefix: str) -> None:
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    with ExitStack() as stack:
        router = stack.enter_context(running("worker", "--pool", "router", "--catalog", str(DEMO), env=env))
        stack.enter_context(running("worker", "--kind", "instruction", env=env))
        stack.enter_context(running("worker", "--kind", "rag", "--kind", "fine-tuned", env=env))
        router.says("catalog_changed")
        done = here("ask", REQUEST, "--json", env=env)

    assert (done.code, done.err) == (0, "")
    assert {row["expert"] for row in done.json["plan"]} == THREE


def test_without_a_swarm_workers_are_brought_and_the_job_is_kept(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    first = swarm("ask", "-", "--catalog", "cards", env=env, cwd=slow, stdin=b"Repeat this.")
    listed = here("jobs", "--json", env=env)
    (job,) = listed.json["jobs"]
    again = here("answer", job["id"], env=env)

    assert (first.code, job["state"], again.code) == (0, "completed", 0)
    assert "You said: Repeat this." in first.out
    assert first.out.strip() == again.out.strip()
    assert "plan by local/planner: 1 subtask" in first.err


def test_an_expert_in_plain_python_cannot_steer_the_terminal(slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    done = swarm(
        "ask", "sleep 0", "--expert", "slow", "--import", "slowly:Slow", "--catalog", "cards", env=env, cwd=slow
    )

    assert done.code == 0, done.err
    assert "[bold]soundly[/bold]" in done.out
    assert not set("\x1b\x07") & set(done.out + done.err)


def test_ctrl_c_cancels_and_says_what_was_stopped(slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    args = ("ask", "sleep 60", "--expert", "slow", "--import", "slowly:Slow", "--catalog", "cards")
    with running(*args, env=env, cwd=slow) as child:
        child.says("plan by given")
        child.signal(signal.SIGINT)
        done = child.end()

    assert done.code == 130
    assert "cancelling" in done.err
    assert "stopped: t1:1" in done.err or "withdrawn: t1:1" in done.err
    assert "Traceback" not in done.err


def test_a_second_ctrl_c_leaves_at_once(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_PREFIX", prefix)
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    assert main(["--redis", redis_url, "experts", "publish", str(DEMO)]) == 0
    with running("ask", "hello", "--expert", "greeting", "--job-id", "j1", env=env) as child:
        with redis.Redis.from_url(redis_url) as client:
            child.until("a job", lambda: client.exists(f"{prefix}:job:j1"))
        time.sleep(0.3)  # nobody serves: there is nothing to see of its waiting
        child.signal(signal.SIGINT)
        child.says("cancelling j1")
        child.signal(signal.SIGINT)
        done = child.end()

    assert done.code == 130
    assert "the cancel of j1 stays requested" in done.err


CHATTY = """
print("imported")


class Chatty:
    card = {"name": "chatty", "kind": "instruction", "description": "Says a lot.", "version": "1"}

    async def solve(self, subtask, inputs):
        print("debugging", flush=True)
        from swarm import Solution

        return Solution(text="answered")
"""


def test_what_an_expert_prints_is_in_no_document(tmp_path: Path) -> None:
    (tmp_path / "chatty_expert.py").write_text(CHATTY)
    env = environment(DATA=str(tmp_path / "data"))
    named = ("--catalog", str(DEMO), "--import", "chatty_expert:Chatty", "--json")
    done = swarm("ask", "go", "--expert", "chatty", *named, env=env, cwd=tmp_path)

    assert done.code == 0, done.err
    assert done.json["text"] == "answered"
    assert "debugging" in done.err


def test_an_expert_that_nobody_imports_is_told_with_what_to_start(redis_url: str, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "chatty_expert.py").write_text(CHATTY)
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    published = swarm("experts", "publish", str(DEMO), "--import", "chatty_expert:Chatty", env=env, cwd=tmp_path)
    assert published.code == 0, published.err
    with (
        running("worker", "--expert", "chatty", env=env, cwd=tmp_path) as worker,
        running("worker", "--pool", "router", env=env, cwd=tmp_path),
    ):
        worker.says("serving_nothing")
        worker.says("start it with --import chatty_expert:Chatty")
        done = swarm("ask", "go", "--expert", "chatty", "--timeout", "6s", env=env, cwd=tmp_path)

    assert done.code == 6
    assert "swarm worker --expert chatty --import chatty_expert:Chatty" in done.err
