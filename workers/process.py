"""Build a worker process from its settings: its lanes, the services of its functions, its life cycle."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, TypeVar, cast

from arq.typing import WorkerCoroutine
from arq.worker import Function, func

from experts.python_experts import Implementation, makers
from experts.registry import Registry
from swarm import logging as events
from swarm.answer.synthesis import Synthesis
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.expert_stats import Stats
from swarm.broker.job_log import JobLog
from swarm.broker.keys import ADVANCE, ANSWER, PLAN, expert_queue
from swarm.broker.ledger import Ledger
from swarm.broker.limiters import limiters_of, model_limiters
from swarm.broker.price_table import PriceTable
from swarm.client.client import SwarmClient
from swarm.errors import ModelRefused
from swarm.llm.logged import LoggedModels
from swarm.llm.metered import MeteredModels
from swarm.llm.openai.models import OpenAIModel, OpenAIModels
from swarm.planner.base import writer_of
from swarm.planner.planner import Planner
from swarm.planner.sense import open_sense
from swarm.router.plan_cache import RedisPlanCache
from swarm.router.router import Router
from swarm.settings import LOCAL, Settings
from swarm.types.card import KINDS, Blob, Card, Catalog, Kind, is_local
from workers import event_loop, health, tasks
from workers.call_budget import Accounts
from workers.child_jobs import ChildJobs
from workers.config_sync import sync_config
from workers.delivery_runner import DeliveryResult
from workers.lane import Lane
from workers.shutdown import leave_behind, leaving, threads
from workers.stats_buffer import StatsBuffer
from workers.tasks import DeliveryContext, Services
from workers.thread_guard import guarded
from workers.worker import SwarmWorker

_log = events.get_logger("worker")

ADVANCE_SLOTS = 16
"""Slots for decisions alone, so that slow planners never delay a running job."""
MAX_NAMES = 10
"""Names in a warning, at most."""
GC_THRESHOLD = 10_000
"""New objects after which the garbage collector looks for cycles among them."""
NO_LIMIT = math.inf
"""Seconds for the `run` function: the card limits the time of the subtask inside it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Roles:
    """Roles of one process: to route, and to serve experts by kind or by name. All kinds and no names: every expert."""

    router: bool = True
    kinds: Collection[Kind] = KINDS
    experts: Collection[str] = ()

    def serves(self, card: Card) -> bool:
        return card.name in self.experts if self.experts else card.kind in self.kinds


@dataclass
class Process:
    """A worker and the catalog, models and lane it serves. `build_process` makes and closes it."""

    worker: SwarmWorker
    catalog_store: CatalogStore
    roles: Roles
    loaded: Mapping[str, Implementation]
    models: OpenAIModels
    runs: Lane = field(default_factory=lambda: Lane("run", [], 1))
    _warming: asyncio.Task[None] | None = None
    _warned: bool = False

    async def refresh(self) -> None:
        """Serve the experts of each catalog version that a job may be pinned to, if this process can run them."""
        cards = serving(await self.catalog_store.alive(), self.roles, self.loaded)
        if sorted(cards) != self.runs.queues:
            _log.info(events.SERVING, worker=self.worker.name, queues=sorted(cards))
            self._make_ready(cards.values())
        elif not cards and not self._warned:
            self._warn_of_nothing(await self.catalog_store.alive())
        full = self.models.endpoints.full
        limiters = {q: limiters_of(card.model_copy(update={"model": full(card.model)})) for q, card in cards.items()}
        self.runs.serve(sorted(cards), {queue: words for queue, words in limiters.items() if words})

    def _warn_of_nothing(self, catalogs: Sequence[Catalog]) -> None:
        """Log once, with the remedy, that a process meant to serve experts has none."""
        self._warned = True
        if problem := nothing_to_serve(catalogs, self.roles, self.loaded):
            _log.warning(events.SERVES_NOTHING, worker=self.worker.name, problem=problem)

    async def close(self) -> None:
        """Close the worker. Its models stay open: `build_process` closes them."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await self.worker.close()

    def _make_ready(self, cards: Iterable[Card]) -> None:
        """Load what calls of these experts' models need; log each model that is not set up here."""
        with_model = [card for card in cards if card.implementation is None and not is_local(card.model)]
        for card in with_model:
            for name in (card.model, *card.fallback_models):
                try:
                    self.models.get(name)
                except ModelRefused as error:
                    _log.warning(events.NO_MODEL, expert=card.name, model=name, problem=str(error))
        if with_model and self._warming is None:
            self._warming = asyncio.create_task(self.models.warm())


def serving(catalogs: Sequence[Catalog], roles: Roles, loaded: Mapping[str, Implementation]) -> dict[str, Card]:
    """Map each queue that a process serves to its expert's card, from the first catalog that has it.

    An expert in plain Python is served only by a process that has loaded it in that version.
    """
    cards = [card for catalog in reversed(catalogs) for card in catalog.cards.values()]
    return {expert_queue(card): card for card in cards if roles.serves(card) and _loaded_here(card, loaded)}


def nothing_to_serve(catalogs: Sequence[Catalog], roles: Roles, loaded: Collection[str] = ()) -> str:
    """Explain why a process serves none of these catalogs' experts, with the remedy; empty for one that only routes.

    >>> nothing_to_serve([], Roles())
    'no catalog is published; publish one: swarm experts publish DIR'
    """
    if not (roles.kinds or roles.experts):
        return ""
    if not catalogs:
        return "no catalog is published; publish one: swarm experts publish DIR"
    cards = {card.name: card for catalog in reversed(catalogs) for card in catalog.cards.values()}
    if imports := sorted({c.implementation for c in cards.values() if roles.serves(c) and c.implementation}):
        modules = " --import ".join(imports[:MAX_NAMES])
        if set(imports) <= set(loaded):
            remedy = f"publish them again: swarm experts publish DIR --import {modules}"
            return f"the cards of the imported experts are not those that are published; {remedy}"
        return f"this worker has not imported its experts in plain Python; start it with --import {modules}"
    asked = ", ".join(sorted(roles.experts) or sorted(roles.kinds))
    known = ", ".join(sorted(cards)[:MAX_NAMES]) or "none"
    remedy = f"start it for one of: {known}; or publish the expert: swarm experts publish DIR"
    return f"no published expert fits {asked}; {remedy}"


def _loaded_here(card: Card, loaded: Mapping[str, Implementation]) -> bool:
    if card.implementation is None:
        return True
    found = loaded.get(card.implementation)
    return found is not None and found.card.version == card.version


def _function(
    name: str,
    task: Callable[Concatenate[DeliveryContext, ...], Coroutine[Any, Any, DeliveryResult | None]],
    *,
    timeout: float | None = None,
) -> Function:
    """A task as arq registers it. arq's type wants a dict as first argument; `SwarmWorker` passes a DeliveryContext."""
    return func(cast(WorkerCoroutine, task), name=name, timeout=timeout)


@contextlib.asynccontextmanager
async def build_process(
    url: str,
    settings: Settings,
    roles: Roles,
    environ: Mapping[str, str],
    implementations: Mapping[str, Implementation],
) -> AsyncIterator[Process]:
    """Build a Process that is ready to run and close all it opened, in reverse. Raises BadInput for a bad config."""
    openai = OpenAIModels(environ)
    named = {field: openai.endpoints.full(getattr(settings, field)) for field in ("planner", "synthesis")}
    settings = settings.model_copy(update=named)
    runs = Lane("run", [], settings.slots)
    models_of = {PLAN: model_limiters(settings.planner), ANSWER: model_limiters(writer_of(settings))}
    planning = Lane("plan", [PLAN, ANSWER], settings.router_slots, {queue: g for queue, g in models_of.items() if g})
    lanes = [Lane("advance", [ADVANCE], ADVANCE_SLOTS), planning]
    lanes = (lanes if roles.router else []) + ([runs] if roles.kinds or roles.experts else [])
    functions = [
        _function("advance", tasks.advance),
        _function("plan", tasks.plan),
        _function("answer", tasks.answer),
        _function("run", tasks.run, timeout=NO_LIMIT),
    ]
    worker = SwarmWorker(url, settings, functions, lanes)
    catalog_store = CatalogStore(worker.connection, settings.max_age + settings.retention)
    log = JobLog(worker.connection, settings)

    async def load(blob: Blob) -> bytes:
        return await worker.retry_while_down(lambda: catalog_store.blob(blob))

    async with (
        openai,
        Registry(
            load,
            models := LoggedModels(MeteredModels(openai), contents=settings.log_contents),
            makers(implementations),
        ) as registry,
    ):
        process = Process(worker, catalog_store, roles, implementations, openai, runs)
        worker.on_published = process.refresh
        if roles.router:
            worker.on_startup = lambda _: worker.until_stopped(sync_config(worker, openai.endpoints))
        writer = Synthesis(models, writer_of(settings), most=settings.max_answer, tokens=settings.cap("answer"))
        cache = RedisPlanCache(worker.connection, planner=settings.planner)
        planner = Planner(settings, models, cache, openai.slots, open_sense() if roles.router else None)
        client = SwarmClient(url, settings=settings)
        stats = StatsBuffer(Stats(worker.connection))
        worker.services = Services(
            settings=settings,
            job_log=log,
            catalog_store=catalog_store,
            registry=registry,
            router=Router(log, catalog_store, planner, max_answer=settings.max_answer, writer=writer),
            accounts=Accounts.of(Ledger(worker.connection, settings), PriceTable(worker.connection), settings),
            stats=stats,
            child_jobs=ChildJobs(worker.runner, runs, log, client),
        )
        try:
            with guarded():
                async with stats, _warming(openai, settings, roles):
                    yield process
        finally:
            await client.aclose()
            await process.close()


@contextlib.asynccontextmanager
async def _warming(models: OpenAIModels, settings: Settings, roles: Roles) -> AsyncIterator[None]:
    """Load the planner's and the writer's models in the background; log at once those that are not set up."""
    names = {"SWARM_PLANNER": settings.planner, "SWARM_SYNTHESIS": settings.synthesis} if roles.router else {}
    wanted = {variable: name for variable, name in names.items() if name not in ("", LOCAL)}
    unnamed: dict[str, OpenAIModel] = {}
    for variable, name in wanted.items():
        try:
            found = models.get(name)
            unnamed |= {} if found.model else {variable: found}
        except ModelRefused as error:
            _log.warning(events.NO_MODEL, variable=variable, model=name, problem=str(error))

    async def load() -> None:
        for variable, found in unnamed.items():
            problem = await found.connection.no_default_model()
            _log.warning(events.NO_MODEL, variable=variable, model=found.name, problem=str(problem))
        await models.warm()

    loading = asyncio.create_task(load()) if wanted else None
    try:
        yield
    finally:
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)


async def work(
    url: str,
    settings: Settings,
    roles: Roles,
    environ: Mapping[str, str],
    implementations: Mapping[str, Implementation],
    *,
    socket: Path | None = None,
    before: Callable[[Process], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Run a worker until SIGTERM or SIGINT; a second signal ends the drain. `before` runs as soon as Redis answers."""
    async with build_process(url, settings, roles, environ, implementations) as process:
        handle_signals(process.worker)
        async with health.serve(socket, process.worker.report):
            if before is not None:
                await process.worker.until_stopped(process.worker.retry_while_down(lambda: before(process)))
            await process.worker.async_run()


def handle_signals(worker: SwarmWorker) -> None:
    """Stop `worker` on SIGTERM or SIGINT: the first signal drains, the second hands back at once."""
    stopping = False

    def stop() -> None:
        nonlocal stopping
        worker.stop(0 if stopping else None)
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    event_loop.signals_handled()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as asyncio.run does, on uvloop if installed. Exits hard if experts do not let the process end."""
    # A delivery makes no reference cycles. Looking for them at every 700 new objects, through all imported modules,
    # took 8 % of a worker's time and 10 % of a router's, with subtasks that do nothing.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    known = threads()
    try:
        with contextlib.ExitStack() as ending:
            return event_loop.run(_closing(coroutine, ending))
    finally:
        leave_behind(known)


async def _closing(coroutine: Coroutine[Any, Any, T], ending: contextlib.ExitStack) -> T:
    """Await `coroutine`; then give tasks that experts left in the loop a short time to end."""
    try:
        return await coroutine
    finally:
        ending.enter_context(leaving())
