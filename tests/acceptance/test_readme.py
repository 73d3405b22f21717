"""The README as a newcomer reads it: short, a result at once, and that result is true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

MAX_LINES = 130
MAX_BYTES = 7_000
RESULT_BY = 15
"""The line of the README by which its code and the beginning of the answer are shown."""


def swarm(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SWARM_")} | {"SWARM_DATA": str(data)}
    return subprocess.run(
        [sys.executable, "-m", "swarm.cli", *arguments],
        env=environment, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False,
    )  # fmt: skip


def first_request() -> str:
    """The request of the README's first lines, put together from its string literals."""
    return "".join(re.findall(r'"([^"]*)"', README.partition("print(")[0]))


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES
    assert len(README.encode()) <= MAX_BYTES


def test_code_and_its_answer_stand_within_the_first_lines() -> None:
    top = "\n".join(README.splitlines()[:RESULT_BY])

    assert "```python" in top
    code, _, shown = top.partition("```text\n")
    assert "print(" in code
    assert shown.strip()


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("redis_binary")
def test_the_first_request_gives_the_first_answer(tmp_path: Path) -> None:
    done = swarm("--json", "ask", first_request(), data=tmp_path)

    answer = json.loads(done.stdout)
    shown = README.partition("```text\n")[2].partition("```")[0]
    quoted = re.search(r'- "(.*?) \.\.\.', shown)
    assert done.returncode == 0, done.stderr
    assert str(tuple(answer["segments"][0]["subtasks"])) in shown
    assert quoted is not None
    assert quoted[1] in answer["text"]


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("redis_binary")
def test_the_demo_runs_without_key_or_network(tmp_path: Path) -> None:
    done = swarm("demo", data=tmp_path)

    assert done.returncode == 0, done.stderr
    for expert in ("triage", "refund-policy", "reply-writer"):
        assert expert in done.stdout
