"""The README as a stranger reads it: its first lines show a result, and what it shows is true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from swarm.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def swarm(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SWARM_")} | {"SWARM_DATA": str(data)}
    return subprocess.run(
        [sys.executable, "-m", "swarm.cli", *arguments],
        env=environment, capture_output=True, text=True, timeout=50, cwd=ROOT, check=False,
    )  # fmt: skip


def first_request() -> str:
    """The request of the README's first lines, put together from its string literals."""
    return "".join(re.findall(r'"([^"]*)"', README.partition("print(")[0]))


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("redis_binary")
def test_the_first_request_gives_the_first_answer(tmp_path: Path) -> None:
    done = swarm("--json", "ask", first_request(), data=tmp_path)

    answer = json.loads(done.stdout)
    shown = README.partition("```text\n")[2].partition("```")[0]
    quoted = re.search(r'- "(.*?) \.\.\.', shown)
    assert done.returncode == 0, done.stderr
    assert tuple(answer["segments"][0]["subtasks"]) == ("r1.t3", "r1.t1", "r1.t2")
    assert quoted is not None
    assert quoted[1] in answer["text"]


def test_code_and_its_output_stand_within_the_first_fifteen_lines() -> None:
    top = "\n".join(README.splitlines()[:15])

    assert "```python" in top
    assert "```text" in top


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("redis_binary")
def test_the_demo_runs_without_key_or_network(tmp_path: Path) -> None:
    done = swarm("demo", data=tmp_path)

    assert done.returncode == 0, done.stderr
    for expert in ("triage", "refund-policy", "reply-writer"):
        assert expert in done.stdout


def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"swarm (ask|plan|submit|watch|answer|jobs|cancel|up|worker|experts \w+)", README))
    helped = subprocess.run(
        [sys.executable, "-m", "swarm.cli", "--help"], capture_output=True, text=True, timeout=30, check=True
    ).stdout

    assert {verb.split()[0] for verb in named} <= set(re.findall(r"[a-z]+", helped))


def test_every_setting_it_names_exists() -> None:
    section = README.partition("## Settings")[2].partition("\n## ")[0]
    named = {name.lower() for name in re.findall(r"`([A-Z_]{4,})`", section)}

    assert named
    assert named <= set(Settings.model_fields)


def test_every_file_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
