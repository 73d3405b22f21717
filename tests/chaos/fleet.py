"""The worker processes of a chaos run: `swarm worker`, as an operator starts it, watched from outside.

Each has a place (`router0`, `rag1`) in which one process follows another; every process that ever was is on record
with how it ended. None outlives the block.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.chaos.lead import SPEC, Lead
from tests.chaos.schedule import EACH, ROLES

ROOT = Path(__file__).parents[2]
READY = 60.0
"""Seconds that a process may take to be ready; two cores start eight of them at once."""
STOPS = 20.0
"""Seconds that a process may take to end after SIGTERM."""


@dataclass
class Life:
    """One process: when it was there, by the clock of the machine, and how it ended."""

    place: str
    pid: int
    begun: float
    ended: float = 0.0
    how: str = ""
    """`kill` and `term` when it was asked to end, `stopped` at the end of the run, else `died` with its exit code."""
    asked: float = 0.0
    """When it was asked to end."""
    words: str = ""
    """The last that it said, if nobody had asked it to end."""
    memory: list[int] = field(default_factory=list)
    """Bytes, when it was ready and when last looked at."""


class Fleet:
    """Two processes of every role, in an environment. With a `mutant` all of them are wrong in that way."""

    def __init__(self, environ: Mapping[str, str], folder: Path, mutant: str = "") -> None:
        self._program = ["tests.chaos.mutants", mutant] if mutant else ["swarm.cli"]
        self._environ, self._folder = dict(environ), folder
        self._running: dict[str, tuple[Life, Process]] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._stopped: set[str] = set()
        self.lives: list[Life] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for life, process in self._running.values():
            life.how = life.how or "stopped"
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*self._watches, return_exceptions=True)

    @property
    def places(self) -> tuple[str, ...]:
        return tuple(f"{role}{number}" for role in ROLES for number in range(EACH))

    async def start_all(self) -> None:
        await asyncio.gather(*(self.start(place) for place in self.places))

    async def start(self, place: str) -> None:
        """Start a process in a free place; returns when it serves, or has ended."""
        log = (self._folder / f"{place}.log").open("ab")
        role = place[:-1]
        pool = ["--pool", "router"] if role == "router" else ["--kind", role]
        pool += ["--import", SPEC] if role == Lead.card["kind"] else []
        command = [sys.executable, "-m", *self._program, "worker", *pool, "--json", "--log-level", "debug"]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        # a session of its own: Ctrl-C is for the run, which then ends the others
        process = await create_subprocess_exec(
            *command, stdout=PIPE, stderr=log, start_new_session=True, cwd=self._folder,
            env=os.environ | self._environ | {"PYTHONPATH": path},
        )  # fmt: skip
        log.close()
        life = Life(place, process.pid, time.time())
        self._running[place] = life, process
        self.lives.append(life)
        watch = asyncio.create_task(self._watch(life, process))
        self._watches.add(watch)
        assert process.stdout is not None
        async with asyncio.timeout(READY):
            await process.stdout.readline()
        life.memory = [_memory(life.pid)] * 2

    def alive(self, place: str) -> bool:
        """Whether a process serves there, and is not stopped."""
        running = self._running.get(place)
        serves = running is not None and not running[0].how and bool(running[0].memory)
        return serves and place not in self._stopped

    @contextlib.contextmanager
    def stopped(self, place: str) -> Iterator[None]:
        """The process there does nothing for the block (SIGSTOP), and goes on after it."""
        _, process = self._running[place]
        self._stopped.add(place)
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._stopped.discard(place)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)

    async def end(self, place: str, how: str) -> None:
        """End the process there by SIGKILL (`kill`) or SIGTERM (`term`); returns when it is gone."""
        life, process = self._running[place]
        life.how, life.asked = how, time.time()
        life.memory = [*life.memory[:1], _memory(life.pid)]
        with contextlib.suppress(ProcessLookupError):
            process.kill() if how == "kill" else process.terminate()
        try:
            async with asyncio.timeout(STOPS):
                await process.wait()
        except TimeoutError:
            life.how = "died"
            life.words = f"still there {STOPS:g} s after SIGTERM"
            process.kill()
        if how == "term" and process.returncode:
            life.how = "died"
            life.words = f"exit code {process.returncode} after SIGTERM\n{self._last_words(place)}"

    @property
    def logs(self) -> list[Path]:
        """What the processes of each place said."""
        return sorted(self._folder.glob("*.log"))

    def look(self) -> None:
        """Note the memory of all."""
        for life, _ in self._running.values():
            if life.memory and not life.how:
                life.memory = [life.memory[0], _memory(life.pid)]

    @property
    def serving(self) -> Iterator[Life]:
        return (life for life, _ in self._running.values() if not life.how)

    async def _watch(self, life: Life, process: Process) -> None:
        code = await process.wait()
        life.ended = time.time()
        if not life.how:
            life.how, life.words = "died", f"exit code {code}\n{self._last_words(life.place)}"

    def _last_words(self, place: str) -> str:
        return (self._folder / f"{place}.log").read_text(errors="replace")[-2_000:]


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
