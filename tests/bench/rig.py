"""What a bench runs on: a Redis of its own over TCP loopback, real worker processes, and a client.

The Redis writes an append-only file, synced every second, as compose.yaml has it. Whatever happens inside the block,
everything that was started is stopped when it ends, by its process id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from types import FrameType

import psutil

from experts.catalog.loader import catalog_of
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.client.client import SwarmClient
from swarm.errors import BrokerError
from swarm.settings import Settings
from swarm.types.card import Card
from swarm.types.events import Started
from swarm.types.plan import Plan
from tests.bench.experts import Nap
from tests.bench.serve import Pool
from workers.local_redis.binary import find_redis

ROOT = Path(__file__).parents[2]
START = 60.0
"""Seconds that a process may take to be ready."""
STOP = 5.0
CONFIG = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "stream-node-max-bytes": "512",
    "loglevel": "warning",
}
ROUTER = Pool(router=True)


class BenchError(Exception):
    """A bench could not measure what it is for."""


class Skipped(BenchError):
    """What a bench is measured on is not there."""


class Rig:
    """Made by `rig`. `client` is connected, and the catalog with `version` is current."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.url, self.version, self.redis = settings, "", "", 0
        self.pids: list[int] = []
        """Of the workers: those of the rig as they were asked for, then what was started later."""
        self._running: dict[int, Process] = {}
        self.connection: Connection
        self.client: SwarmClient

    async def start(self, pool: Pool) -> int:
        """Start a worker process; returns its process id when it is ready."""
        process = await self._spawn(pool.command(self.url, self.settings))
        assert process.stdout is not None
        async with asyncio.timeout(START):
            line = await process.stdout.readline()
        if line != b"ready\n":
            raise BenchError("a worker process ended before it was ready")
        self.pids.append(process.pid)
        return process.pid

    async def start_redis(self, folder: Path) -> None:
        port = _free_port()
        config = CONFIG | {"port": str(port), "dir": str(folder)}
        options = [part for name, value in config.items() for part in (f"--{name}", value)]
        self.redis = (await self._spawn([str(find_redis()), *options])).pid
        self.url = f"redis://127.0.0.1:{port}/0"

    async def kill(self, pid: int) -> None:
        """kill -9."""
        process = self._running[pid]
        process.kill()
        self.pids.remove(pid)
        await process.wait()

    async def stop(self) -> None:
        """Stop what runs, last started first, so that the Redis outlives the workers."""
        for pid, process in reversed(self._running.items()):
            with contextlib.suppress(ProcessLookupError):
                if process.returncode is None and pid != self.redis:
                    process.terminate()
        try:
            for process in reversed(self._running.values()):
                with contextlib.suppress(TimeoutError, ProcessLookupError):
                    async with asyncio.timeout(STOP):
                        if process.pid == self.redis:
                            process.terminate()
                        await process.wait()
        finally:
            for process in self._running.values():
                with contextlib.suppress(ProcessLookupError):
                    if process.returncode is None:
                        process.kill()

    def cpu(self, pid: int) -> float:
        """Seconds of processor time that a process has used."""
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)

    async def info(self, section: str) -> dict[str, str]:
        """What Redis says of itself."""
        text = (await self.connection.call("INFO", section)).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    async def memory(self) -> int:
        """Bytes of Redis' data: without the buffers of connections and what a growing append-only file buffers."""
        facts = await self.info("memory")
        return int(facts["used_memory"]) - int(facts.get("mem_aof_buffer", 0)) - int(facts["mem_clients_normal"])

    async def check_once(self, jobs: Iterable[str]) -> None:
        """Raise BenchError unless each attempt at a subtask of these jobs was started once."""
        for job in jobs:
            events = self.client.job(job).events()
            starts = Counter([(e.subtask, e.attempt) async for e in events if isinstance(e, Started)])
            if again := [subtask for (subtask, _), count in starts.items() if count > 1]:
                raise BenchError(f"of job {job} these were started more than once: {', '.join(again)}")

    async def waiting(self, queue: str, part: str = "ready") -> int:
        """How many deliveries stand in a part of a queue."""
        return int(await self.connection.call("ZCARD", self.connection.keys.queue(queue, part)))

    async def _spawn(self, command: list[str]) -> Process:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        # a session of its own: Ctrl-C is for the bench, which then stops the others
        process = await create_subprocess_exec(
            *command, stdout=PIPE, start_new_session=True, env=os.environ | {"PYTHONPATH": path}
        )
        self._running[process.pid] = process
        return process


@contextlib.asynccontextmanager
async def rig(
    *pools: Pool, settings: Settings | None = None, cards: Iterable[Card] = (Nap.card,)
) -> AsyncIterator[Rig]:
    """A Redis with a catalog of `cards`, a process for each of `pools`, ready, and a client."""
    bench = Rig((settings or Settings()).model_copy(update={"drain": 0.1}))
    with tempfile.TemporaryDirectory(prefix="swarm-bench-", ignore_cleanup_errors=True) as folder:
        try:
            await bench.start_redis(Path(folder))
            async with (
                Connection.open(bench.url) as connection,
                SwarmClient(bench.url, settings=bench.settings) as client,
            ):
                bench.connection, bench.client = connection, client
                await until(lambda: _answers(connection), "Redis answers", START)
                catalog = catalog_of({card.name: card for card in cards})
                await CatalogStore(connection, bench.settings.max_age).publish(catalog, {})
                bench.version = catalog.version
                bench.pids[:] = await asyncio.gather(*(bench.start(pool) for pool in pools))
                yield bench
        finally:
            await bench.stop()


async def until(
    condition: Callable[[], Awaitable[object]], what: str, timeout: float = 30.0, pause: float = 0.005
) -> None:
    """Wait for a condition; BenchError names it when it does not come true in time."""
    try:
        async with asyncio.timeout(timeout):
            while not await condition():  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(pause)
    except TimeoutError:
        raise BenchError(f"after {timeout:g} s still not true: {what}") from None


def naps(*seconds: float, chain: bool = False, expert: str = "nap") -> Plan:
    """A plan of naps s0, s1, ...: side by side, or each after the one before."""
    return Plan.read(
        [
            {
                "id": f"s{number}",
                "expert": expert,
                "instruction": f"nap {length:g}",
                "depends_on": [f"s{number - 1}"] if chain and number else [],
            }
            for number, length in enumerate(seconds)
        ]
    )


def end_on_sigterm() -> None:
    """SIGTERM ends a bench as Ctrl-C does, so that it still stops what it started."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)
    # a shell starts what runs in the background with SIGINT ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)


async def _answers(connection: Connection) -> bool:
    try:
        return bool(await connection.call("PING") == b"PONG")
    except BrokerError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
