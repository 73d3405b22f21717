"""What the tests of delivery are made of: workers in this process or in their own, and experts in plain Python whose
every start is on record.

    python -m tests.integration.processes POOL IMPLEMENTATION...      a worker; settings come from the environment

A process takes a second to start, so a test has its own for who is to be killed, and keeps the others in this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pytest

from experts.base import Expert
from experts.catalog.loader import catalog_of
from experts.prompt_inputs import inline
from experts.python_experts import Implementation, load_implementations
from swarm import logging
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.errors import ModelUnavailable
from swarm.planner.planner import Planner, Publish
from swarm.router.planning import SupportsPlanning
from swarm.router.router import Router
from swarm.runtime.expert_context import Context
from swarm.settings import Settings
from swarm.types.card import KINDS, Card, Catalog
from swarm.types.events import AnyEvent, Planned
from swarm.types.plan import Subtask
from swarm.types.request import Request
from swarm.types.result import Solution
from workers import health, heartbeat, tasks
from workers.process import Process, Roles, build_process, run, work

ROOT = Path(__file__).parents[2]
STARTS = "SWARM_TEST_STARTS"
"""Names the file in which experts put each start of theirs on record."""
DIES_IN = "SWARM_TEST_DIES_IN"
"""Names the function of ours (advance, plan, answer) in which a process kills itself, with its claim in hand; `stream`
is a planner that has published one subtask."""
BEAT = "SWARM_TEST_BEAT"
"""Constants of the heartbeat in processes of workers, as JSON."""
ROUTER, EXPERTS = Roles(kinds=()), Roles(router=False)


async def until(condition: Callable[[], object], what: str, within: float = 120.0) -> None:
    """Wait until `condition`, a function or coroutine function, gives something true. Fails after `within` seconds."""
    end = time.monotonic() + within
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        if time.monotonic() > end:
            pytest.fail(f"not within {within:g} s: {what}")
        await asyncio.sleep(0.005)


# -- experts ---------------------------------------------------------------------------------------------------


def _card(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "instruction", "description": f"the test's {name}", "version": "1", **more}


def _started(subtask: Subtask) -> None:
    """Put on record that the code of an expert runs, also when its process dies in the next instant."""
    if path := os.environ.get(STARTS):
        with open(path, "a") as file:
            file.write(f"{subtask.expert} {subtask.id} {subtask.instruction.replace(' ', '_')} {os.getpid()}\n")


def _number(subtask: Subtask) -> float:
    """Each of these experts takes its number from the first word of the instruction."""
    return float(subtask.instruction.split()[0])


class Echo:
    """Answers its instruction."""

    card = _card("echo")

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        return Solution(text=inline(subtask.instruction, inputs))


class Paced(Echo):
    """The same, 20 a second after the first five."""

    card = _card("paced", limits={"requests_per_minute": 1_200, "burst": 5})


class Pair(Echo):
    """Two at a time, for so many seconds each."""

    card = _card("pair", limits={"concurrency": 2})

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        await asyncio.sleep(_number(subtask))
        return Solution(text="done")


class Sleep:
    """Answers after so many seconds."""

    card = _card("sleep")

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        await asyncio.sleep(_number(subtask))
        return Solution(text="slept")


class Block:
    """Blocks the event loop of its process for so many seconds, then goes on for as long without blocking it."""

    card = _card("block")

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        time.sleep(_number(subtask))
        return Solution(text="blocked")


class Flaky:
    """Fails so many times, counted by the starts that are on record."""

    card = _card("flaky")

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        if starts(Path(os.environ[STARTS]))[subtask.id] <= _number(subtask):
            raise ModelUnavailable("not yet", retry_after=0.01)
        return Solution(text="at last")


class Broken:
    """Has a bug."""

    card = _card("broken")

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        raise ZeroDivisionError("the expert is broken")


class Poison:
    """Kills its own process."""

    card = _card("poison")

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still here")


class Careful:
    """Sleeps for long, and puts on record how it was ended: two lines, `cancelled` and `closed`."""

    card = _card("careful")

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        try:
            await asyncio.sleep(_number(subtask))
        except asyncio.CancelledError:
            _note("cancelled", subtask)
            raise
        finally:
            _note("closed", subtask)
        return Solution(text="slept")


def _note(word: str, subtask: Subtask) -> None:
    with open(os.environ[STARTS] + "." + word, "a") as file:
        file.write(f"{subtask.id}\n")


HERE = "tests.integration.processes"
SPECS = tuple(f"{HERE}:{kind.__name__}" for kind in (Echo, Sleep, Block, Flaky, Broken, Poison, Careful))


def starts(path: Path) -> Counter[str]:
    """How often experts began, by subtask id."""
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(line.split()[1] for line in lines)


class Boss:
    """Has each word of its instruction echoed by a job of its own, one after the other; the last may be `wait`."""

    card = _card("boss")

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution], context: Context) -> Solution:
        _started(subtask)
        found = [(await context.ask(word, expert="echo")).text for word in subtask.instruction.split()]
        if found[-1] == "wait" and not Path(os.environ[STARTS] + ".go").exists():
            await asyncio.sleep(3_600)
        return Solution(text=" ".join(found))


class _Asking:
    """An expert that is a function of the test, and takes a context."""

    def __init__(self, card: Card, solve: Callable[[Subtask, Context], Awaitable[str]]) -> None:
        self.card, self._solve = card, solve

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution], context: Context) -> Solution:
        return Solution(text=await self._solve(subtask, context))


def asking(name: str, solve: Callable[[Subtask, Context], Awaitable[str]], **card: Any) -> Implementation:
    """An expert for workers of this process that may ask the swarm."""
    spec = f"tests:{name}"
    written = Card.model_validate({**_card(name), "model": "local/python", "implementation": spec, **card})
    return Implementation(spec, written, lambda: cast(Expert, _Asking(written, solve)))


class _Written:
    """An expert that is a function of the test."""

    def __init__(self, card: Card, solve: Callable[..., Awaitable[Solution | str]]) -> None:
        self.card, self._solve = card, solve

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        found = await self._solve(subtask, inputs)
        return found if isinstance(found, Solution) else Solution(text=found)


def expert(
    name: str, solve: Callable[[Subtask, Mapping[str, Solution]], Awaitable[Solution | str]], **card: Any
) -> Implementation:
    """An expert for workers of this process."""
    spec = str(card.pop("implementation", f"tests:{name}"))
    written = Card.model_validate({**_card(name), "model": "local/python", "implementation": spec, **card})
    made: Expert = _Written(written, solve)
    return Implementation(spec, written, lambda: made)


async def echo(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
    return inline(subtask.instruction, inputs)


# -- a catalog -------------------------------------------------------------------------------------------------


async def publish(settings: Settings, *implementations: Implementation) -> Catalog:
    """Make these experts the current catalog."""
    catalog = catalog_of({each.card.name: each.card for each in implementations})
    async with Connection.open(settings.redis_url or "", settings.prefix) as connection:
        await CatalogStore(connection, settings.max_age + settings.retention).publish(catalog, {})
    return catalog


# -- workers of this process -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(
    settings: Settings,
    *implementations: Implementation,
    roles: Roles | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Process]:
    """A worker in this process, by default of everything, as long as the block runs. None given: those of this file."""
    loaded = {each.spec: each for each in implementations} or load_implementations(SPECS)
    async with build_process(settings.redis_url or "", settings, roles or Roles(), environ or {}, loaded) as process:
        running = asyncio.create_task(process.worker.async_run())
        try:
            yield process
        finally:
            process.worker.stop(0)
            await running


def route_by(process: Process, planner: SupportsPlanning, **options: Any) -> None:
    """Let a process route with this planner, and these options of Router."""
    services = process.worker.services
    assert services is not None
    router = Router(services.job_log, services.catalog_store, planner, **options)
    process.worker.services = replace(services, router=router)


# -- workers of their own ----------------------------------------------------------------------------------------


class WorkerProcess:
    """One worker process. What it says goes to `log`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, probe: Path) -> None:
        self._process, self.log, self.probe = process, log, probe

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """As `kill -9`; returns when the process is gone."""
        self._process.kill()
        self._process.wait()

    async def ended(self, within: float = 120.0) -> int:
        """Wait for the end of the process; its exit code."""
        await until(lambda: not self.alive, f"the end of worker {self.pid}\n{self.words()}", within)
        return int(self._process.wait())

    async def healthy(self, within: float = 120.0) -> None:
        """Wait until it says that it claims."""
        await until(self._healthy, f"a healthy worker {self.pid}\n{self.words()}", within)

    def report(self) -> dict[str, Any]:
        """What it says of itself; empty when it does not answer."""
        try:
            return health.ask(str(self.probe))
        except (OSError, ValueError):
            return {}

    def words(self) -> str:
        return self.log.read_text(errors="replace")

    async def _healthy(self) -> bool:
        if not self.alive:
            pytest.fail(f"worker {self.pid} ended with {self._process.returncode}\n{self.words()}")
        return bool((await asyncio.to_thread(self.report)).get("healthy"))


class Fleet:
    """The worker processes of one test; none outlives the block."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self._folder = settings, folder
        self._sockets = Path("/tmp") / f"swarm-test-{secrets.token_hex(4)}"
        self.workers: list[WorkerProcess] = []
        self.record = folder / "starts"

    async def __aenter__(self) -> Self:
        self._sockets.mkdir(mode=0o700)
        os.environ[STARTS] = str(self.record)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del os.environ[STARTS]
        for worker in self.workers:
            worker.kill()
            if error is not None:
                print(f"-- worker {worker.pid}\n{worker.words()}")
            worker.probe.unlink(missing_ok=True)
        self._sockets.rmdir()

    def launch(self, pool: str, *implementations: str, dies_in: str = "", **settings: object) -> WorkerProcess:
        """Start a worker (`router`, `expert` or `all`) and do not wait for it. Without names it loads every expert."""
        number = len(self.workers)
        log, probe = self._folder / f"worker{number}.log", self._sockets / str(number)
        given = self.settings.model_dump(exclude_none=True) | settings
        environ = os.environ | {f"SWARM_{name.upper()}": str(value) for name, value in given.items()}
        environ |= {"SWARM_HEALTH_SOCKET": str(probe), "PYTHONPATH": str(ROOT)}
        if dies_in:
            environ[DIES_IN] = dies_in
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", HERE, pool, *(implementations or SPECS)],
                env=environ, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self.workers.append(WorkerProcess(process, log, probe))
        return self.workers[-1]

    async def start(self, pool: str, *implementations: str, dies_in: str = "", **settings: object) -> WorkerProcess:
        """The same, and wait until it claims."""
        worker = self.launch(pool, *implementations, dies_in=dies_in, **settings)
        await worker.healthy()
        return worker

    async def publish(self, *implementations: str) -> Catalog:
        """Make the experts of this file the current catalog."""
        return await publish(self.settings, *load_implementations(implementations or SPECS).values())

    def starts(self) -> Counter[str]:
        """How often experts of any worker began, by subtask id."""
        return starts(self.record)

    async def started(self, *subtasks: str, times: int = 1, within: float = 120.0) -> None:
        """Wait until experts have begun these, so many times each."""
        what = f"{times} start(s) of {', '.join(subtasks)}"
        await until(lambda: all(self.starts()[name] >= times for name in subtasks), what, within)

    def noted(self, word: str) -> list[str]:
        """What Careful put on record."""
        path = Path(f"{self.record}.{word}")
        return path.read_text().split() if path.exists() else []


async def _die(ctx: tasks.DeliveryContext, job: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _die_in_a_stream(self: Planner, request: Request, catalog: Catalog, *, publish: Publish, **more: Any) -> None:
    only = Subtask(id="t1", expert=min(catalog.cards), instruction="0")
    await publish(Planned(subtasks=(only,), closed=False))
    os.kill(os.getpid(), signal.SIGKILL)


def main(argv: list[str]) -> int:
    logging.setup()
    pool, *specs = argv
    settings = Settings.load(os.environ)
    roles = Roles(router=pool != "expert", kinds=() if pool == "router" else KINDS)
    probe = Path(os.environ["SWARM_HEALTH_SOCKET"])
    for constant, value in json.loads(os.environ.get(BEAT, "{}")).items():
        setattr(heartbeat, constant, value)
    doomed = os.environ.get(DIES_IN)
    if doomed == "stream":
        setattr(Planner, "plan", _die_in_a_stream)  # noqa: B010
    elif doomed:
        setattr(tasks, doomed, _die)
    run(work(settings.redis_url or "", settings, roles, os.environ, load_implementations(specs), socket=probe))
    return 0


# -- reading a log -----------------------------------------------------------------------------------------------


def kinds(events: Iterable[AnyEvent]) -> list[str]:
    return [str(event.type) for event in events]


def claims(events: Iterable[AnyEvent], subtask: str) -> list[tuple[int, int]]:
    """(attempt, claim) of every start of a subtask, in order."""
    return [(e.attempt, e.claim) for e in events if e.type == "started" and e.subtask == subtask]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
