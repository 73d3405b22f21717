"""From settings to a running worker: which lanes this process has, and what its functions work with."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from arq.worker import func

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
from swarm.router.plan_cache import RedisPlanCache
from swarm.router.router import Router
from swarm.settings import LOCAL, Settings
from swarm.types.card import KINDS, Blob, Card, Catalog, Kind, is_local
from workers import event_loop, health, tasks
from workers.call_budget import Accounts
from workers.child_jobs import Asking
from workers.config_sync import recorded
from workers.lane import Lane
from workers.shutdown import leave_behind, leaving, threads
from workers.stats_buffer import GatheredStats
from workers.thread_guard import guarded
from workers.worker import SwarmWorker

_log = events.get_logger("worker")

ADVANCE_SLOTS = 16
"""Of their own, so that slow planners never keep a job from going on."""
SHOWN = 10
"""Names in a warning."""
COLLECT_AFTER = 10_000
"""Objects made and kept, after which cycles among the new ones are looked for."""
NO_LIMIT = math.inf
"""Seconds. A subtask's time is limited by its card; this is for the function around it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Roles:
    """What one process does: route, and serve experts of some kinds or by name. All kinds and no names: every one."""

    router: bool = True
    kinds: Collection[Kind] = KINDS
    experts: Collection[str] = ()

    def serves(self, card: Card) -> bool:
        return card.name in self.experts if self.experts else card.kind in self.kinds


@dataclass
class Process:
    """A worker and what its functions use. Made and closed by `build_process`."""

    worker: SwarmWorker
    shelf: CatalogStore
    roles: Roles
    loaded: Mapping[str, Implementation]
    models: OpenAIModels
    runs: Lane = field(default_factory=lambda: Lane("run", [], 1))
    _warming: asyncio.Task[None] | None = None
    _told: bool = False

    async def refresh(self) -> None:
        """Serve the experts of every version that a job may be pinned to, as far as this process can."""
        cards = serving(await self.shelf.alive(), self.roles, self.loaded)
        if sorted(cards) != self.runs.queues:
            _log.info(events.SERVING, worker=self.worker.name, queues=sorted(cards))
            self._make_ready(cards.values())
        elif not cards and not self._told:
            self._tell_of_nothing(await self.shelf.alive())
        full = self.models.endpoints.full
        gates = {q: limiters_of(card.model_copy(update={"model": full(card.model)})) for q, card in cards.items()}
        self.runs.serve(sorted(cards), {queue: words for queue, words in gates.items() if words})

    def _tell_of_nothing(self, catalogs: Sequence[Catalog]) -> None:
        """A process that is to serve experts and has none says so once, with what would help."""
        self._told = True
        if problem := nothing_to_serve(catalogs, self.roles):
            _log.warning(events.SERVES_NOTHING, worker=self.worker.name, problem=problem)

    async def close(self) -> None:
        """Close the worker; its models are closed by whoever made them."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await self.worker.close()

    def _make_ready(self, cards: Iterable[Card]) -> None:
        """Load what calls of these experts' models need, and tell those that are not set up here."""
        asking = [card for card in cards if card.implementation is None and not is_local(card.model)]
        for card in asking:
            for name in (card.model, *card.fallback_models):
                try:
                    self.models.get(name)
                except ModelRefused as error:
                    _log.warning(events.NO_MODEL, expert=card.name, model=name, problem=str(error))
        if asking and self._warming is None:
            self._warming = asyncio.create_task(self.models.warm())


def serving(catalogs: Sequence[Catalog], roles: Roles, loaded: Mapping[str, Implementation]) -> dict[str, Card]:
    """The queues of these experts, and the card of each in the first catalog that has it.

    An expert in plain Python is served only where it is loaded, in that version.
    """
    cards = [card for catalog in reversed(catalogs) for card in catalog.cards.values()]
    return {expert_queue(card): card for card in cards if roles.serves(card) and _able(card, loaded)}


def nothing_to_serve(catalogs: Sequence[Catalog], roles: Roles) -> str:
    """Why a process has none of these catalogs' experts to serve, and the remedy; empty for one that only routes.

    >>> nothing_to_serve([], Roles())
    'no catalog is published; publish one: swarm experts publish DIR'
    """
    if not (roles.kinds or roles.experts):
        return ""
    if not catalogs:
        return "no catalog is published; publish one: swarm experts publish DIR"
    cards = {card.name: card for catalog in reversed(catalogs) for card in catalog.cards.values()}
    if imports := sorted({c.implementation for c in cards.values() if roles.serves(c) and c.implementation}):
        return f"its experts are in plain Python; start it with --import {' --import '.join(imports[:SHOWN])}"
    asked = ", ".join(sorted(roles.experts) or sorted(roles.kinds))
    known = ", ".join(sorted(cards)[:SHOWN]) or "none"
    return f"no published expert fits {asked}; published: {known}"


def _able(card: Card, loaded: Mapping[str, Implementation]) -> bool:
    if card.implementation is None:
        return True
    found = loaded.get(card.implementation)
    return found is not None and found.card.version == card.version


@contextlib.asynccontextmanager
async def build_process(
    url: str,
    settings: Settings,
    roles: Roles,
    environ: Mapping[str, str],
    implementations: Mapping[str, Implementation],
) -> Any:
    """A Process that is ready to run; everything it opened is closed in reverse. Raises BadInput for a bad config."""
    speaking = OpenAIModels(environ)
    named = {field: speaking.endpoints.full(getattr(settings, field)) for field in ("planner", "synthesis")}
    settings = settings.model_copy(update=named)
    runs = Lane("run", [], settings.slots)
    models_of = {PLAN: model_limiters(settings.planner), ANSWER: model_limiters(writer_of(settings))}
    thinking = Lane("plan", [PLAN, ANSWER], settings.router_slots, {queue: g for queue, g in models_of.items() if g})
    lanes = [Lane("advance", [ADVANCE], ADVANCE_SLOTS), thinking]
    lanes = (lanes if roles.router else []) + ([runs] if roles.kinds or roles.experts else [])
    functions = [
        func(tasks.advance, name="advance"),
        func(tasks.plan, name="plan"),
        func(tasks.answer, name="answer"),
        func(tasks.run, name="run", timeout=NO_LIMIT),
    ]
    worker = SwarmWorker(url, settings, functions, lanes)
    shelf = CatalogStore(worker.connection, settings.max_age + settings.retention)
    log = JobLog(worker.connection, settings)

    async def load(blob: Blob) -> bytes:
        return await worker.retry_while_down(lambda: shelf.blob(blob))

    async with (
        speaking,
        Registry(
            load,
            models := LoggedModels(MeteredModels(speaking), contents=settings.log_contents),
            makers(implementations),
        ) as registry,
    ):
        process = Process(worker, shelf, roles, implementations, speaking, runs)
        stats = GatheredStats(Stats(worker.connection))
        worker.on_published = process.refresh
        if roles.router:
            worker.on_startup = lambda ctx: worker.until_stopped(recorded(worker, speaking.endpoints))
        writer = Synthesis(models, writer_of(settings), most=settings.max_answer, tokens=settings.cap("answer"))
        planner = Planner(settings, models, RedisPlanCache(worker.connection, planner=settings.planner), speaking.slots)
        router = Router(log, shelf, planner, max_answer=settings.max_answer, writer=writer)
        accounts = Accounts.of(Ledger(worker.connection, settings), PriceTable(worker.connection), settings)
        worker.ctx |= {"log": log, "shelf": shelf, "registry": registry, "router": router, "stats": stats}
        client = SwarmClient(url, settings=settings)
        worker.ctx |= {"accounts": accounts, "settings": settings, "asking": Asking(worker, runs, log, client)}
        try:
            with guarded():
                async with stats, _warming(speaking, settings, roles):
                    yield process
        finally:
            await client.aclose()
            await process.close()


@contextlib.asynccontextmanager
async def _warming(models: OpenAIModels, settings: Settings, roles: Roles) -> AsyncIterator[None]:
    """Make the planner's and the writer's model ready beside the rest; what is not set up is told now already."""
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
    """Run a worker until SIGTERM or SIGINT; a second signal ends the drain. `before` runs once Redis answers."""
    async with build_process(url, settings, roles, environ, implementations) as process:
        handle_signals(process.worker)
        async with health.serve(socket, process.worker.report):
            if before is not None:
                await process.worker.until_stopped(process.worker.retry_while_down(lambda: before(process)))
            await process.worker.async_run()


def handle_signals(worker: SwarmWorker) -> None:
    """The first signal drains, the second hands back at once."""
    stopping = False

    def stop() -> None:
        nonlocal stopping
        worker.stop(0 if stopping else None)
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    event_loop.signals_handled()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """asyncio.run, on uvloop where it is installed. The process leaves hard when experts do not let it end."""
    # What a delivery needs comes and goes without cycles. To look for cycles at every 700 new objects, through all that
    # was ever imported, took 8 % of a worker's time and 10 % of a router's, with subtasks that do nothing.
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
    known = threads()
    try:
        with contextlib.ExitStack() as ending:
            return event_loop.run(_closing(coroutine, ending))
    finally:
        leave_behind(known)


async def _closing(coroutine: Coroutine[Any, Any, T], ending: contextlib.ExitStack) -> T:
    """What `coroutine` gives. From its end on, what is left of experts in the loop has a short while."""
    try:
        return await coroutine
    finally:
        ending.enter_context(leaving())
