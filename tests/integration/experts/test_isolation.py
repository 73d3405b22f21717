"""An isolated expert computes in a process of its own, and nothing that it does there costs more than its attempt."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from experts.python_experts import load, makers
from experts.registry import Registry
from swarm import logging
from swarm.errors import BadInput
from swarm.types.card import Blob
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Outcome, Solution

SOURCE = """
import ctypes, os, pathlib, signal, sys, time
from swarm import GiveUp, Retryable, Solution
from swarm.types.card import Card

CARD = {"name": "own", "kind": "instruction", "description": "d", "version": "1", "isolate": "process", "timeout": 60}

class Mute(Exception):
    def __str__(self):
        return 1 / 0

class Own:
    card = CARD
    calls = 0

    def solve(self, subtask, inputs):
        self.calls += 1
        word, _, rest = subtask.instruction.partition(" ")
        return getattr(self, word)(rest, inputs)

    def whole(self, rest, inputs):
        print("not for the protocol")
        text = inputs["t0"].text + rest
        return Solution(text=text, data={"pid": os.getpid(), "calls": self.calls, "nan": float("nan")})

    def spin(self, rest, inputs):
        pathlib.Path(rest).write_text(str(os.getpid()))
        while True:
            pass

    def leave(self, rest, inputs):
        os._exit(int(rest))

    def die(self, rest, inputs):
        os.kill(os.getpid(), getattr(signal, rest))
        time.sleep(60)

    def exits(self, rest, inputs):
        sys.exit(3)

    def again(self, rest, inputs):
        raise Retryable("busy", retry_after=7)

    def never(self, rest, inputs):
        raise GiveUp("no such town")

    def network(self, rest, inputs):
        raise ConnectionResetError("reset")

    def mute(self, rest, inputs):
        raise Mute

    def bug(self, rest, inputs):
        return {}["absent"]

    def wrong(self, rest, inputs):
        return "text"

    def large(self, rest, inputs):
        return Solution(text="x" * 5_000_000)

class Async(Own):
    card = CARD | {"name": "async"}

    async def solve(self, subtask, inputs):
        return Own.solve(self, subtask, inputs)

class Declared(Own):
    card = Card(**CARD | {"name": "declared", "model": "local/python"})

class Plain(Own):
    card = {key: value for key, value in CARD.items() if key != "isolate"} | {"name": "plain"}

class Asking(Own):
    card = CARD
    async def solve(self, subtask, inputs, context):
        return Solution(text="")

class Odd(Own):
    card = CARD | {"isolate": "thread"}
"""


@pytest.fixture(scope="module", autouse=True)
def _module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("isolated")
    (folder / "isolated_own.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


async def no_blob(blob: Blob) -> bytes:
    raise AssertionError("no blob is needed here")


LOADED = ("isolated_own:Own", "isolated_own:Async", "isolated_own:Declared", "isolated_own:Plain")


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    found = {spec: load(spec) for spec in LOADED}
    async with Registry(no_blob, None, makers(found)) as registry:
        yield registry


async def ask(registry: Registry, instruction: str, expert: str = "Own", timeout: float | None = None) -> Outcome:
    card = load(f"isolated_own:{expert}").card
    asked = Subtask(id="t1", expert=card.name, instruction=instruction, timeout=timeout)
    return await registry.settle(card, asked, {"t0": Solution(text="A")})


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"  # nobody took its end yet


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  other processes give no event
        await asyncio.sleep(0.01)


async def pid_in(path: Path) -> int:
    await until(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


async def ended(pid: int) -> None:
    await until(lambda: gone(pid))


@pytest.mark.parametrize("expert", ["Own", "Async", "Declared"])
async def test_an_answer_comes_back_whole_from_a_process_that_is_used_again(registry: Registry, expert: str) -> None:
    first, second = await ask(registry, "whole B", expert), await ask(registry, "whole C", expert)

    assert isinstance(first, Solution)
    assert isinstance(second, Solution)
    assert (first.text, second.text) == ("AB", "AC")
    assert first.caveats == ("repaired",)
    assert first.data["pid"] == second.data["pid"] != os.getpid()
    assert (first.data["calls"], second.data["calls"]) == (1, 2)


async def test_an_endless_computation_holds_up_no_other_expert(registry: Registry, tmp_path: Path) -> None:
    spins = asyncio.create_task(ask(registry, f"spin {tmp_path / 'pid'}", timeout=280))
    await pid_in(tmp_path / "pid")

    quick = await ask(registry, "whole B", "Plain")

    assert isinstance(quick, Solution)
    assert not spins.done()
    spins.cancel()
    await asyncio.gather(spins, return_exceptions=True)


async def test_an_endless_computation_is_killed_at_its_time(registry: Registry, tmp_path: Path) -> None:
    spins = asyncio.create_task(ask(registry, f"spin {tmp_path / 'pid'}", timeout=10))
    pid = await pid_in(tmp_path / "pid")

    outcome = await spins
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == ("timeout", True)
    await ended(pid)
    assert registry.attempts.left("own") == 0
    assert isinstance(await ask(registry, "whole B"), Solution)


async def test_a_cancel_kills_the_process(registry: Registry, tmp_path: Path) -> None:
    spins = asyncio.create_task(ask(registry, f"spin {tmp_path / 'pid'}"))
    pid = await pid_in(tmp_path / "pid")

    spins.cancel()
    with pytest.raises(asyncio.CancelledError):
        await spins
    await ended(pid)


@pytest.mark.parametrize(
    ("instruction", "said"), [("leave 7", "exit code 7"), ("die SIGSEGV", "SIGSEGV"), ("die SIGKILL", "SIGKILL")]
)
async def test_a_crash_costs_one_attempt_and_is_named(registry: Registry, instruction: str, said: str) -> None:
    outcome = await ask(registry, instruction)

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == ("unavailable", True)
    assert said in outcome.message
    assert isinstance(await ask(registry, "whole B"), Solution)


@pytest.mark.parametrize("expert", ["Own", "Async"])
@pytest.mark.parametrize(
    ("instruction", "reason", "retryable", "said"),
    [
        ("again", "unavailable", True, "busy"),
        ("never", "expert_error", False, "no such town"),
        ("network", "unavailable", True, "ConnectionResetError: reset"),
        ("bug", "bug", False, "has a bug: KeyError: 'absent'"),
        ("mute", "bug", False, "has a bug: Mute: (its message cannot be read: ZeroDivisionError)"),
        ("exits", "bug", False, "has a bug: SystemExit: 3"),
        ("wrong", "bug", False, "has a bug: TypeError: it returned str, not a Solution"),
        ("large", "too_large", False, "ask for less"),
    ],
)
async def test_errors_mean_what_they_mean_in_the_worker(
    registry: Registry, expert: str, instruction: str, reason: str, retryable: bool, said: str
) -> None:
    outcome = await ask(registry, instruction, expert)

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == (reason, retryable)
    assert said in outcome.message


async def test_the_log_has_the_traceback_of_a_bug(registry: Registry) -> None:
    with capture_logs() as lines:
        await ask(registry, "bug")

    (line,) = [line for line in lines if line["event"] == "expert_bug"]
    told = logging._frames((None, line["exc_info"], None))
    assert 'return {}["absent"]' in told
    assert told.endswith("\nKeyError")
    assert "KeyError: 'absent'" in "".join(traceback.format_exception(line["exc_info"]))


async def test_closing_ends_the_processes() -> None:
    async with Registry(no_blob, None, makers({spec: load(spec) for spec in LOADED})) as registry:
        outcome = await ask(registry, "whole B")

    assert isinstance(outcome, Solution)
    assert gone(outcome.data["pid"])


async def test_a_killed_worker_leaves_no_process(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
sys.path.insert(0, {os.path.dirname(str(sys.modules["isolated_own"].__file__))!r})
from experts.python_experts import load
from swarm.types.plan import Subtask
asked = Subtask(id="t1", expert="own", instruction="spin {tmp_path / "pid"}")
asyncio.run(load("isolated_own:Own").make().solve(asked, {{}}))
"""
    worker = subprocess.Popen([sys.executable, "-c", script])
    pid = await pid_in(tmp_path / "pid")
    worker.send_signal(signal.SIGKILL)
    worker.wait()

    await ended(pid)


@pytest.mark.parametrize(
    ("name", "remedy"), [("Odd", 'write "isolate": "process", or leave it out'), ("Asking", "drop `isolate`")]
)
def test_a_card_that_cannot_be_isolated_is_refused_with_a_remedy(name: str, remedy: str) -> None:
    with pytest.raises(BadInput, match="isolate") as raised:
        load(f"isolated_own:{name}")

    assert remedy in str(raised.value)
