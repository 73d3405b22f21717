"""What a failed test shows: its own log lines, the last of them, and none of another test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.captured_output import SHOWN
from tests.integration.processes import ROOT

CONFTEST = "from tests.captured_output import pytest_runtest_makereport as pytest_runtest_makereport\n"
TESTS = """
import sys

import structlog

from swarm import logging

log = logging.get_logger("test")


def test_that_passes():
    log.info("of_another", number=1)


def test_that_fails():
    for number in range(1_000):
        log.info("said", number=number)
    print("a word on stderr", file=sys.stderr)
    raise AssertionError("as it should")
"""


def failed(folder: Path, *options: str) -> list[str]:
    """The lines that pytest shows of a run with one failed test."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_two.py").write_text(TESTS)
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", *options]
    found = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert "1 failed, 1 passed" in found.stdout, found.stdout + found.stderr
    return found.stdout.splitlines()


def test_a_failed_test_shows_the_last_of_its_own_log_lines(tmp_path: Path) -> None:
    shown = failed(tmp_path)

    said = [line for line in shown if "[info" in line]
    assert len(said) == SHOWN
    assert "number=999" in said[-1]
    assert f"number={1_000 - SHOWN}" in said[0]
    assert f"... {1_000 - SHOWN} lines before" in shown
    assert "a word on stderr" in shown
    assert not any("of_another" in line for line in shown)
    assert len(shown) < SHOWN + 40


def test_the_same_holds_for_tests_in_several_processes(tmp_path: Path) -> None:
    shown = failed(tmp_path, "-n", "2")

    assert len([line for line in shown if "[info" in line]) == SHOWN
    assert f"... {1_000 - SHOWN} lines before" in shown
