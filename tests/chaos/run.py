"""One seed: everything is started, the load is played while the faults strike, and what is left is looked at."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.broker.connection import Connection
from swarm.broker.gates import Gates
from swarm.broker.ledger import Ledger
from swarm.broker.prices import PriceBook
from swarm.broker.shelf import Shelf
from swarm.client import SwarmClient
from swarm.models import Limits
from swarm.settings import Settings
from tests.chaos.audit import Findings, audit, leaks, memory_of
from tests.chaos.drive import GRACE, Callers, Record
from tests.chaos.faults import Injector, Struck
from tests.chaos.fleet import ROOT, Fleet, Life
from tests.chaos.load import MODELS, PRICE, TIGHT, load, tenant_budget
from tests.chaos.logs import read
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import schedule
from tests.integration.processes import OwnRedis
from workers.publishing import publish
from workers.redis_binary import find_redis

CLIENTS = 4
LONGEST = 180
"""Seconds that a run may take, and one more for each job; what takes longer hangs."""
REDIS = {"auto-aof-rewrite-min-size": "8mb"}
"""So that what is read at a start does not grow with the run."""
CALM = 0.1
"""Seconds between looks at whether all is quiet."""
SETTINGS = Settings(
    slots=8, drain=1.0, planner="chaos/planner", synthesis="chaos/writer", skip=False, plan_cache=False,
    plan_timeout=15.0, max_output=256, max_age=900, retention=900,
)  # fmt: skip


@dataclass
class Result:
    """One run, as it was."""

    seed: int
    seconds: float
    records: list[Record]
    struck: list[Struck]
    lives: list[Life]
    findings: Findings
    calls: list[dict[str, Any]]
    """The model server's own record."""
    leaks: list[str]
    errors: list[str]
    """Those in the logs of the processes."""
    redis_memory: tuple[int, int]


async def run(jobs: int, seed: int, faults: Collection[str], tell: Callable[[str], None]) -> Result:
    """Play one seed; `tell` gets a line on how far it is, now and then. Raises TimeoutError when it does not end."""
    async with asyncio.timeout(LONGEST + jobs), _stage(jobs, seed, "llm" in faults) as stage:
        begun, first = time.monotonic(), memory_of(stage.redis.url)
        callers = Callers(stage.clients, load(seed, jobs))
        injector = Injector(seed, schedule(seed, faults), stage.fleet, stage.redis, stage.proxy)
        striking = asyncio.create_task(injector.run())
        telling = asyncio.create_task(_tell(callers, injector, jobs, stage.fleet, tell))
        calling = asyncio.create_task(callers.run())
        try:
            await asyncio.wait({calling, striking}, return_when=asyncio.FIRST_COMPLETED)
            if striking.done():
                striking.result()
            await calling
        finally:
            for task in (calling, striking, telling):
                task.cancel()
            await asyncio.gather(calling, striking, telling, return_exceptions=True)
            await injector.stop()
        seconds = time.monotonic() - begun
        async with Connection.open(stage.redis.url) as connection:
            await _quiet(connection)
            said = read(stage.fleet.logs)
            found = await audit(connection, SETTINGS, callers.records, stage.fleet.lives, injector.struck, said)
        stage.fleet.look()
        return Result(
            seed=seed, seconds=seconds, errors=said.errors,
            records=callers.records, struck=injector.struck, lives=stage.fleet.lives,
            findings=found, calls=await asyncio.to_thread(_journal, stage.model), leaks=leaks(stage.redis.url),
            redis_memory=(first, memory_of(stage.redis.url)),
        )  # fmt: skip


# -- what it runs on -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    redis: OwnRedis
    proxy: Proxy
    fleet: Fleet
    clients: Sequence[SwarmClient]
    model: str
    """The URL of the model server."""


@contextlib.asynccontextmanager
async def _stage(jobs: int, seed: int, faulty: bool) -> AsyncIterator[Stage]:
    """Everything, ready; and gone again after the block, whatever happens inside."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="swarm-chaos-", ignore_cleanup_errors=True))
        )
        redis = await stack.enter_async_context(OwnRedis(_binary(), folder / "redis", **REDIS))
        proxy = await stack.enter_async_context(Proxy(redis.port))
        model = await stack.enter_async_context(_model(seed, faulty))
        await _prepare(redis.url, folder / "catalog", jobs)
        environ = {f"SWARM_{name.upper()}": str(getattr(SETTINGS, name)) for name in SETTINGS.model_fields_set}
        environ |= {"SWARM_REDIS_URL": proxy.url, "SWARM_ENDPOINT_CHAOS_URL": model}
        fleet = await stack.enter_async_context(Fleet(environ, folder))
        clients = [await stack.enter_async_context(SwarmClient(proxy.url, settings=SETTINGS)) for _ in range(CLIENTS)]
        await fleet.start_all()
        yield Stage(redis, proxy, fleet, clients, model)


def _binary() -> Path:
    """The Redis under test, as all tests choose it."""
    named = os.environ.get("SWARM_TEST_REDIS")
    return Path(named) if named else find_redis()


async def _prepare(url: str, catalog: Path, jobs: int) -> None:
    """Publish the demo's experts and those of `catalog/`, and set what their models cost and may take."""
    shutil.copytree(ROOT / "experts" / "demo", catalog)
    shutil.copytree(Path(__file__).parent / "catalog", catalog, dirs_exist_ok=True)
    async with Connection.open(url) as connection:
        await publish(Shelf(connection, SETTINGS.max_age + SETTINGS.retention), catalog, {})
        await PriceBook(connection).put({f"chaos/{model}": PRICE for model in MODELS})
        await Ledger(connection, SETTINGS).keep_tenant(TIGHT, budget=tenant_budget(jobs), weight=2)
        await Gates(connection).set("chaos/tuned", Limits(concurrency=6, requests_per_minute=1_200, burst=6))


@contextlib.asynccontextmanager
async def _model(seed: int, faulty: bool) -> AsyncIterator[str]:
    """The model server, in a process of its own; gives its URL."""
    command = [sys.executable, "-m", "tests.chaos.model", str(seed), *(["faulty"] if faulty else [])]
    process = await create_subprocess_exec(*command, stdout=PIPE, start_new_session=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            url = (await process.stdout.readline()).decode().strip()
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _journal(model: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(f"{model}/journal")  # noqa: S310 - our own server on loopback
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        calls: list[dict[str, Any]] = json.load(answer)["calls"]
        return calls


async def _quiet(connection: Connection) -> None:
    """Wait until no job is open any more; those that stay are found by the audit."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            while await connection.call("ZCARD", connection.keys.open):  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(CALM)


async def _tell(callers: Callers, injector: Injector, jobs: int, fleet: Fleet, tell: Callable[[str], None]) -> None:
    begun = time.monotonic()
    while True:
        records = callers.records
        ended = sum(bool(record.ended or record.refused or record.problem) for record in records)
        lost = sum(bool(record.problem) for record in records)
        serving = sum(1 for _ in fleet.serving)
        tell(
            f"{time.monotonic() - begun:5.0f} s  {ended}/{jobs} jobs ended, {len(records) - ended} open, {lost} lost; "
            f"{len(injector.struck)} faults, {serving} processes"
        )
        await asyncio.sleep(1.0)
