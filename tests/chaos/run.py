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

from experts.catalog.loader import Loaded
from experts.python_experts import load_implementations
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.ledger import Ledger
from swarm.broker.limiters import Limiters
from swarm.broker.price_table import PriceTable
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.card import Catalog, Limits
from tests.chaos.audit import Findings, audit
from tests.chaos.clock import followed, spans
from tests.chaos.drive import GRACE, Callers, patient
from tests.chaos.evidence import Edition, Evidence, leaks, memory_of, of_job
from tests.chaos.faults import Injector, Stage
from tests.chaos.fleet import ROOT, Fleet
from tests.chaos.lead import SPEC
from tests.chaos.load import MODELS, PRICE, TIGHT, load, tenant_budget
from tests.chaos.logs import read
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import SHIMMED, schedule
from tests.chaos.script import EDITION
from tests.chaos.shims import Shim
from tests.chaos.stalls import measured
from tests.chaos.tls import Certificates
from tests.integration.own_redis import OwnRedis
from workers import catalog_publisher
from workers.local_redis.binary import find_redis

LAST = 8
"""Jobs, a tenth at most, that come when all faults are over: whoever did not get over them shows."""
CLIENTS = 4
LONGEST = 180
"""Seconds that a run may take, and one more for each job; what takes longer hangs."""
SLOWER = 6.0
"""How much slower the slow disk is where nobody waits for it but a thread of Redis: it then holds writes back."""
REDIS = {"auto-aof-rewrite-min-size": "8mb"}
"""So that what is read at a start does not grow with the run."""
CLOCK = "swarm:seen"
"""The key under which the swarm keeps its clock."""
CALM = 0.1
"""Seconds between looks at whether all is quiet."""
SETTINGS = Settings(
    slots=8, drain=1.0, planner="chaos/planner", synthesis="chaos/writer", skip=False, plan_cache=False,
    plan_timeout=15.0, max_output=256, max_age=900, retention=900,
)  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """What one run is to be. `faults` are kinds of `schedule`; `appendfsync` is Redis' setting."""

    jobs: int
    seed: int
    faults: Collection[str]
    appendfsync: str = "always"
    tls: bool = False
    """Whether everybody but the audit speaks TLS to Redis; the proxy in between ends none of it."""
    mutant: str = ""
    """The way in which the worker processes are wrong, see `mutants`; empty: they are as they are."""


@dataclass
class Result:
    """One run, as it was."""

    chosen: Chosen
    seconds: float
    evidence: Evidence
    findings: Findings
    redis_memory: tuple[int, int]
    audited: float = 0.0
    """Seconds that the audit took."""


async def run(chosen: Chosen, tell: Callable[[str], None] = lambda line: None) -> Result:
    """Play one seed and judge it; `tell` gets a line now and then. Raises TimeoutError when it does not end."""
    evidence, seconds, memory = await record(chosen, tell)
    begun = time.monotonic()
    found = await audit(evidence)
    return Result(chosen, seconds, evidence, found, memory, time.monotonic() - begun)


async def record(
    chosen: Chosen, tell: Callable[[str], None] = lambda line: None
) -> tuple[Evidence, float, tuple[int, int]]:
    """Play one seed: what it leaves behind, how many seconds it took, and Redis' memory before and after."""
    async with (
        asyncio.timeout(LONGEST + 2 * chosen.jobs),
        measured() as stalls,
        _scene(chosen) as scene,
        followed(scene.redis.url, CLOCK) as clock,
    ):
        begun, first = time.monotonic(), memory_of(scene.redis.url)
        callers, injector = Callers(scene.clients), Injector(chosen.seed, scene.stage)
        telling = asyncio.create_task(_tell(callers, injector, chosen.jobs, scene.stage.fleet, tell))
        try:
            await _play(chosen, callers, injector)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        seconds = time.monotonic() - begun
        async with Connection.open(scene.redis.url) as connection:
            await _quiet(connection)
            accepted = [record for record in callers.records if record.accepted]
            jobs = [await of_job(connection, SETTINGS, record) for record in accepted]
        scene.stage.fleet.look()
        evidence = Evidence(
            jobs=tuple(jobs), records=tuple(callers.records), struck=tuple(injector.struck),
            calls=tuple(await asyncio.to_thread(_journal, scene.model)), lives=tuple(scene.stage.fleet.lives),
            said=read(scene.stage.fleet.logs), stalls=tuple(stalls), clock=spans(clock),
            leaks=tuple(leaks(scene.redis.url)), editions=tuple(scene.catalog.editions),
            catalogs=scene.catalog.catalogs, blobs=scene.catalog.blobs,
            may_roll_back=chosen.appendfsync != "always" and "fsync" in chosen.faults,
        )  # fmt: skip
        return evidence, seconds, (first, memory_of(scene.redis.url))


async def _play(chosen: Chosen, callers: Callers, injector: Injector) -> None:
    """The load while the faults strike, faults on idle wires, and the rest of the load without any."""
    last = min(LAST, chosen.jobs // 10)
    striking = asyncio.create_task(injector.run(schedule(chosen.seed, chosen.faults, tls=chosen.tls)))
    calling = asyncio.create_task(callers.run(load(chosen.seed, chosen.jobs - last)))
    try:
        await asyncio.wait({calling, striking}, return_when=asyncio.FIRST_COMPLETED)
        if striking.done():
            striking.result()
        await calling
    finally:
        for task in (calling, striking):
            task.cancel()
        await asyncio.gather(calling, striking, return_exceptions=True)
        await injector.stop()
    await injector.idle(chosen.faults, tls=chosen.tls)
    await callers.run(load(chosen.seed, chosen.jobs, chosen.jobs - last))


# -- what it runs on -------------------------------------------------------------------------------------------


class Editions:
    """The catalog in a folder, and every edition of it that was published."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self.editions: list[Edition] = []
        self.catalogs: dict[str, Catalog] = {}
        self.blobs: dict[str, bytes] = {}
        shutil.copytree(ROOT / "experts" / "demo", folder)
        shutil.copytree(Path(__file__).parent / "catalog", folder, dirs_exist_ok=True)

    async def publish(self) -> None:
        """Make the next edition the current one."""
        for card in self._folder.glob("*.md"):
            card.write_text(EDITION.sub(f"edition-{len(self.editions) + 1}", card.read_text()))
        begun = time.time()
        loaded = await patient(self._published)
        self.editions.append(Edition(loaded.catalog.version, begun, time.time()))
        self.catalogs[loaded.catalog.version] = loaded.catalog
        self.blobs |= loaded.blobs

    async def _published(self) -> Loaded:
        """Publish without indexes: how far the reranker reads depends on the time it has, and the oracle has more."""
        loaded = await asyncio.to_thread(catalog_publisher.read, self._folder, load_implementations([SPEC]))
        async with Connection.open(self._url) as connection:
            store = CatalogStore(connection, SETTINGS.max_age + SETTINGS.retention)
            await store.publish(loaded.catalog, loaded.blobs)
        return loaded


@dataclass(frozen=True)
class Scene:
    """Everything of one run."""

    stage: Stage
    catalog: Editions
    clients: Sequence[SwarmClient]
    model: str
    """The URL of the model server."""

    @property
    def redis(self) -> OwnRedis:
        return self.stage.redis


@contextlib.asynccontextmanager
async def _scene(chosen: Chosen) -> AsyncIterator[Scene]:
    """Everything, ready; and gone again after the block, whatever happens inside."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="swarm-chaos-", ignore_cleanup_errors=True))
        )
        tls = Certificates.make(folder / "tls") if chosen.tls else None
        config = REDIS | {"appendfsync": chosen.appendfsync} | (tls.config if tls else {})
        redis = OwnRedis(_binary(), folder / "redis", **config)
        shim = Shim.build(folder / "shim") if set(chosen.faults) & set(SHIMMED) else None
        redis.environ = shim.environ if shim else {}
        await stack.enter_async_context(redis)
        proxy = await stack.enter_async_context(Proxy(tls.port if tls else redis.port))
        url = tls.url(proxy.port) if tls else proxy.url
        model = await stack.enter_async_context(_model(chosen.seed, "llm" in chosen.faults))
        catalog = Editions(redis.url, folder / "catalog")
        for _ in range(2):  # so that there is a former edition
            await catalog.publish()
        await _prepare(redis.url, chosen.jobs)
        environ = {f"SWARM_{name.upper()}": str(getattr(SETTINGS, name)) for name in SETTINGS.model_fields_set}
        environ |= {"SWARM_REDIS_URL": url, "SWARM_ENDPOINT_CHAOS_URL": model}
        fleet = await stack.enter_async_context(Fleet(environ, folder, chosen.mutant))
        clients = [await stack.enter_async_context(SwarmClient(url, settings=SETTINGS)) for _ in range(CLIENTS)]
        await fleet.start_all()
        slower = 1.0 if chosen.appendfsync == "always" else SLOWER
        yield Scene(Stage(fleet, redis, proxy, shim, catalog.publish, slower), catalog, clients, model)


def _binary() -> Path:
    """The Redis under test, as all tests choose it."""
    named = os.environ.get("SWARM_TEST_REDIS")
    return Path(named) if named else find_redis()


async def _prepare(url: str, jobs: int) -> None:
    """Set what the models cost and may take."""
    async with Connection.open(url) as connection:
        await PriceTable(connection).put({f"chaos/{model}": PRICE for model in MODELS})
        await Ledger(connection, SETTINGS).keep_tenant(TIGHT, budget=tenant_budget(jobs), weight=2)
        await Limiters(connection).set("chaos/tuned", Limits(concurrency=6, requests_per_minute=1_200, burst=6))


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
