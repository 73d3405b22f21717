"""swarm plan: what would be done, as words, as JSON and as a file that `swarm ask --plan` runs."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from swarm.cli import main
from tests.integration.test_cli_ask import REQUEST, THREE
from tests.integration.test_cli_children import DEMO, Here, environment, here, running, slow, swarm

__all__ = ["here", "slow"]


@pytest.fixture
def served(redis_url: str, prefix: str) -> Any:
    """The environment of a swarm that runs in a process of its own."""
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    with running("worker", "--catalog", str(DEMO), env=env) as worker:
        worker.says("catalog_changed")
        yield env


def test_ask_says_that_a_configured_model_did_not_plan(here: Here, redis_url: str, prefix: str) -> None:
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    mistaken = environment(REDIS_URL=redis_url, PREFIX=prefix, PLANNER="nowhere/model", SKIP="0")
    with running("worker", "--catalog", str(DEMO), env=mistaken) as worker:
        worker.says("catalog_changed")
        plain, as_json = here("ask", REQUEST, env=env), here("ask", REQUEST, "--json", env=env)
    (note,) = (line for line in plain.err.splitlines() if line.startswith("note: "))

    assert note.startswith("note: the planner's model gave no plan: SWARM_PLANNER is 'nowhere/model'")
    assert note.endswith("; local/planner planned instead")
    assert "gave no plan" not in plain.out
    assert (as_json.code, as_json.err) == (0, "")


def test_a_request_is_shown_saved_edited_and_run(here: Here, tmp_path: Path, served: dict[str, str]) -> None:
    file = tmp_path / "plan.yaml"
    seen = here("plan", REQUEST, "--save", str(file), env=served)
    again = here("plan", REQUEST, "--save", str(file), env=served)
    forced = here("plan", REQUEST, "--save", str(file), "--force", "--json", env=served)
    file.write_text(file.read_text() + "- {id: more, expert: greeting, instruction: say hello}\naggregate: join\n")
    planned = here("jobs", env=served)
    done = here("ask", "--plan", str(file), "--json", env=served)
    newest = here("jobs", "--json", env=served).json["jobs"][0]
    after = here("plan", "--plan", str(file), "--json", env=served)

    assert (seen.code, again.code, forced.code, done.code) == (0, 2, 0, 0), seen.err + done.err
    assert "plan by local/planner in" in seen.out
    assert "up to 2 at once" in seen.out
    assert "t3  reply-writer  after t1, t2: " in seen.out
    assert "Result of t1" not in seen.out, "a line shows the first paragraph of an instruction"
    assert planned.out.count("plan only") == 2
    assert "unknown: no past runs of t1, t2, t3" in seen.out
    assert f"swarm ask --plan {file}" in seen.err
    assert "--force" in again.err
    assert forced.json["saved"] == str(file)
    assert file.read_text().startswith("request: ")
    assert (newest["id"], newest["plan_only"], REQUEST.startswith(newest["text"].rstrip("…."))) == (
        done.json["job"],
        False,
        True,
    )
    assert {row["expert"] for row in done.json["plan"]} == THREE | {"greeting"}
    assert after.json["planner"] == "given"
    assert after.json["plan"]["aggregate"] == "join"


def test_what_ran_before_is_foretold_as_json(here: Here, served: dict[str, str], redis_url: str, prefix: str) -> None:
    assert here("ask", REQUEST, "--json", env=served).json["ending"] == "completed"
    with redis.Redis.from_url(redis_url) as client:
        end = time.monotonic() + 40
        while len(client.keys(f"{prefix}:stats:*")) < 3:
            assert time.monotonic() < end, "no records"
            time.sleep(0.05)
    found = here("plan", REQUEST, "--json", env=served)

    estimate = found.json["estimate"]
    assert found.code == 0, found.err
    assert {part["expert"]: (part["runs"], part["note"]) for part in estimate["subtasks"]} == dict.fromkeys(
        THREE, (1, "few past runs")
    )
    assert 0 < estimate["seconds"] <= estimate["seconds_p90"] * 1.001
    assert (estimate["cost"], estimate["critical_path"][-1]) == (0, "t3")
    assert {s["id"] for s in found.json["plan"]["subtasks"]} == {"t1", "t2", "t3"}
    assert found.json["saved"] is None


def test_without_a_swarm_a_planner_is_brought_along(slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    done = swarm("plan", "Repeat this.", "--catalog", "cards", "--save", "p.json", env=env, cwd=slow)

    assert done.code == 0, done.err
    assert "t1  echo  Repeat this." in done.out
    assert json.loads((slow / "p.json").read_text()) == {
        "request": "Repeat this.",
        "subtasks": [{"id": "t1", "expert": "echo", "instruction": "Repeat this."}],
    }
    assert "\x1b" not in done.out + done.err


LISTS = """
from swarm import Solution

class Lists:
    card = {"name": "lists", "kind": "instruction", "description": "Lists parcels.", "version": "1"}

    async def solve(self, subtask, inputs):
        return Solution(text="two", data={"items": ["one", "two"], "label": "late"})
"""


def test_items_and_what_was_skipped_are_shown_while_a_plan_runs(slow: Path) -> None:
    (slow / "lists.py").write_text(LISTS)
    plan = [
        {"id": "a", "expert": "lists", "instruction": "list"},
        {"id": "b", "expert": "echo", "instruction": "parcel ${item}", "for_each": "a.items"},
        {"id": "c", "expert": "echo", "instruction": "none", "when": {"result": "a.label", "equals": "early"}},
    ]
    (slow / "plan.json").write_text(json.dumps(plan))
    env = environment(DATA=str(slow / "data"))
    args = ("--plan", "plan.json", "--import", "lists:Lists", "--catalog", "cards")
    seen = swarm("plan", *args, env=env, cwd=slow)
    done = swarm("ask", *args, env=env, cwd=slow)
    rows = swarm("ask", *args, "--json", env=env, cwd=slow).json["plan"]

    assert (seen.code, done.code) == (0, 0), seen.err + done.err
    assert 'when  a.label is "early"; else it is skipped' in seen.out
    assert "each  once per item of a.items" in seen.out
    assert "b  echo  expanded: 2 items" in done.err
    assert "c  echo  skipped: its condition on a.label does not hold" in done.err
    assert "You said: parcel two" in done.out
    assert {row["id"]: row["state"] for row in rows} == dict.fromkeys(("a", "b", "b#1", "b#2"), "solved") | {
        "c": "skipped"
    }


def test_the_words_check_and_nothing_fits(here: Here, served: dict[str, str]) -> None:
    word = here("plan", "--json", "--expert", "greeting", "--", "check", env=served)
    none = here("plan", "--json", "qwxz vbnk", env=served)

    assert word.json["plan"]["subtasks"][0]["instruction"] == "check"
    assert (none.code, none.out) == (1, "")
    assert none.error["type"] == "PlanningFailed"
    assert (none.error["ending"], none.error["reason"]) == ("rejected", "no_expert")
    assert "refund-policy" in none.error["message"]


def test_ctrl_c_cancels_the_planning(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_PREFIX", prefix)
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    assert main(["--redis", redis_url, "experts", "publish", str(DEMO)]) == 0
    with running("plan", "hello", "--job-id", "j1", env=env) as child:
        with redis.Redis.from_url(redis_url) as client:
            child.until("a job", lambda: client.exists(f"{prefix}:job:j1"))
        time.sleep(0.3)  # nobody serves: there is nothing to see of its waiting
        child.signal(signal.SIGINT)
        child.says("cancelling j1")
        child.signal(signal.SIGINT)
        done = child.end()

    assert done.code == 130
    assert "the cancel of j1 stays requested" in done.err
    assert "Traceback" not in done.err


def test_patience_that_ends_has_its_code(here: Here, redis_url: str, prefix: str) -> None:
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    assert here("experts", "publish", str(DEMO), env=env).code == 0
    done = here("plan", "hello", "--timeout", "50ms", "--json", env=env)

    assert (done.code, done.error["type"]) == (6, "WaitTimeout")


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ([], "text"),
        (["x", "--save", "plan.txt"], "save"),
        (["x", "--save", "/no/such/folder/plan.json"], "save"),
        (["x", "--tenant", "a b"], "tenant"),
        (["chek", __file__], "text"),
        (["x", "--timeout", "soon"], "timeout"),
        (["--plan", "/no/such/plan"], "plan"),
    ],
)
def test_bad_input_is_refused_before_anything_is_planned(
    here: Here, redis_url: str, prefix: str, args: list[str], field: str
) -> None:
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    assert here("experts", "publish", str(DEMO), env=env).code == 0
    done = here("plan", *args, "--json", env=env)

    assert (done.code, done.out, done.error["field"]) == (2, "", field)
    assert here("jobs", "--json", env=env).json == {"jobs": []}


def test_plan_check_is_a_verb_of_its_own_wherever_json_stands(here: Here, tmp_path: Path) -> None:
    outputs, requests = tmp_path / "outputs.jsonl", tmp_path / "requests.jsonl"
    raw = '[{"id": "t1", "expert": "late", "instruction": "find late parcels"}]'
    outputs.write_text(json.dumps({"model": "m", "request_id": "r", "raw": raw}))
    requests.write_text(json.dumps({"request_id": "r", "tools": [{"name": "late", "description": "finds parcels"}]}))
    rest = (str(outputs), "--requests", str(requests))
    ways = (("plan", "check", "--json", *rest), ("plan", "--json", "check", *rest), ("--json", "plan", "check", *rest))
    found = [here(*way, env=environment()) for way in ways]

    assert [(done.code, done.json["n"], done.json["valid"]) for done in found] == [(0, 1, 1)] * 3
    assert "swarm plan check" in here("plan", "check", "--help", env=environment()).out


def test_help_names_the_ways_to_a_plan(here: Here) -> None:
    done = here("plan", "--help", env=environment())

    assert done.code == 0
    assert "--save" in done.out
    assert "swarm plan check" in done.out
    assert "--attempts" not in done.out
    assert "the job goes on" not in done.out
    assert "swarm plan [OPTIONS] [TEXT]" in done.out
