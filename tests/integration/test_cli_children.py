"""The command as a process of its own: what the other tests of the command line start, and how it begins and ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import pytest

import swarm as swarm_package
from swarm.cli import main

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "experts" / "demo"
PATIENCE = 120.0
SLOW = '''
import asyncio
from swarm import Solution

class Slow:
    """Sleeps for as many seconds as the last word of its instruction says."""
    card = {"name": "slow", "kind": "instruction", "description": "Sleeps.", "version": "1"}

    async def solve(self, subtask, inputs):
        await asyncio.sleep(float(subtask.instruction.split()[-1]))
        return Solution(text="slept \\x1b[31m[bold]soundly[/bold]\\x1b]0;title\\x07")
'''


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


def environment(**more: str) -> dict[str, str]:
    """That of a stranger: no setting of ours, unless given here as `REDIS_URL=...`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SWARM_", "OPENAI_"))}
    kept = {"SWARM_REDIS_SERVER": os.environ.get("SWARM_REDIS_SERVER", "")}
    return env | kept | {"PYTHONPATH": str(ROOT)} | {f"SWARM_{name}": value for name, value in more.items()}


class Child:
    """A command that runs. Its lines are gathered as they come."""

    def __init__(self, args: tuple[str | bytes, ...], env: Mapping[str, str], cwd: Path | None = None) -> None:
        command: list[str | bytes] = [sys.executable, "-m", "swarm.cli", *args]
        self.process = subprocess.Popen(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._texts = {"out": bytearray(), "err": bytearray()}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: IO[bytes] | None) -> None:
        assert stream is not None
        with stream:
            while chunk := os.read(stream.fileno(), 65_536):
                self._texts[name] += chunk

    @property
    def out(self) -> str:
        return self._texts["out"].decode()

    @property
    def err(self) -> str:
        return self._texts["err"].decode()

    def until(self, what: str, there: Callable[[], object]) -> None:
        """Wait until something is seen, while the command runs."""
        limit = time.monotonic() + PATIENCE
        while not there():
            assert self.process.poll() is None, f"ended before {what}: {self.out}{self.err}"
            assert time.monotonic() < limit, f"no {what}: {self.out}{self.err}"
            time.sleep(0.01)

    def says(self, text: str) -> None:
        self.until(repr(text), lambda: text in self.out + self.err)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Done:
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()
        return Done(code, self.out, self.err)


@contextlib.contextmanager
def running(*args: str, env: Mapping[str, str], cwd: Path | None = None) -> Iterator[Child]:
    """A command that is told to end when the block does."""
    child = Child(args, env, cwd)
    try:
        yield child
    finally:
        if child.process.poll() is None:
            child.signal(signal.SIGTERM)
        child.end()


def swarm(*args: str | bytes, env: Mapping[str, str], cwd: Path | None = None, stdin: bytes = b"") -> Done:
    """Run a command to its end."""
    command: list[str | bytes] = [sys.executable, "-m", "swarm.cli", *args]
    done = subprocess.run(command, env=env, cwd=cwd, input=stdin, capture_output=True, timeout=PATIENCE, check=False)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


class Here:
    """`swarm(...)` in this process: quick, and as good where no signal and no import of an expert is needed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *args: str, env: Mapping[str, str], cwd: Path | None = None, stdin: bytes = b"") -> Done:
        self.capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ:
                if name not in env:
                    patch.delenv(name)
            for name, value in env.items():
                patch.setenv(name, value)
            if cwd is not None:
                patch.chdir(cwd)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            code = main(args)
        return Done(code, *self.capsys.readouterr())


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(capsys)


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A folder with the module `slowly` and its expert, beside a catalog `cards` of one more expert."""
    (tmp_path / "slowly.py").write_text(SLOW)
    (tmp_path / "cards").mkdir()
    front = "kind: instruction\nmodel: local/template\ndescription: Repeats what it is told."
    card = f"---\n{front}\n---\nYou said: {{{{ instruction }}}}"
    (tmp_path / "cards" / "echo.md").write_text(card)
    return tmp_path


# -- beginning and ending ------------------------------------------------------------------------------------------


WITHOUT = """
import sys
for name in {packages!r}:
    sys.modules[name] = None
from swarm.cli import main
sys.exit(main({argv!r}))
"""


@pytest.mark.parametrize(
    ("packages", "argv", "extra"),
    [
        (["typer", "rich"], ["ask", "x"], "cli"),
        (["rich"], [], "cli"),
        (["arq", "structlog", "openai", "numpy"], ["ask", "x"], "worker"),
        (["arq"], ["worker", "--redis", "redis://127.0.0.1:1"], "worker"),
        (["numpy"], ["experts", "train", "rows.csv", "--out", "head"], "worker"),
    ],
)
def test_without_an_extra_it_says_what_to_install(
    packages: list[str], argv: list[str], extra: str, tmp_path: Path
) -> None:
    code = WITHOUT.format(packages=packages, argv=argv)
    env = environment(DATA=str(tmp_path / "data"))
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert f'pip install "swarm-router[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m swarm.cli experts check {DEMO} --json | true"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], env=environment(), capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) in ((141, b""), (0, b""))


def test_help_names_the_verbs_and_the_exit_codes(here: Here) -> None:
    done = here("--help", env=environment())

    assert done.code == 0
    for word in "ask demo submit watch answer jobs cancel experts worker up".split():
        assert f" {word} " in done.out
    assert "Exit codes" in done.out
    assert "\x1b" not in done.out


@pytest.mark.parametrize("args", [("--version", "--json"), ("--json", "--version")])
def test_the_version_is_a_line_or_a_document(args: tuple[str, ...], here: Here) -> None:
    assert here("--version", env=environment()).out == f"swarm-router {swarm_package.__version__}\n"
    assert here(*args, env=environment()).json == {"version": swarm_package.__version__}


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("verb", ["ask", "plan", "plan check", "doctor", "worker", "experts train"])
def test_paragraphs_of_help_fill_their_lines(verb: str, columns: str, here: Here) -> None:
    done = here(*verb.split(), "--help", env=environment() | {"COLUMNS": columns})
    above = done.out.partition("╭")[0].split("\n")
    lines = [line.strip() for line in above[4:]]

    assert done.code == 0
    for line, following in pairwise(lines):
        if line and following:
            assert len(line) + 1 + len(following.split()[0]) > int(columns) - 2, (
                f"{line!r} is broken before {following!r}"
            )


def test_only_open_jobs_are_missed_where_only_they_are_asked_for(here: Here, tmp_path: Path) -> None:
    env = environment(DATA=str(tmp_path / "data"))

    assert here("jobs", env=env).err == "no jobs yet\n"
    assert here("jobs", "--open", env=env).err == "no open jobs\n"


def test_wrong_usage_is_one_sentence_in_json(here: Here) -> None:
    done = here("plan", "check", "texts.jsonl", "--json", env=environment())

    assert done.error == {"type": "Usage", "message": "Missing option '--requests'; see: swarm plan check --help"}
