"""worker, up: serve jobs until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarm.broker.address import shown
from swarm.broker.connection import Connection
from swarm.broker.eviction_check import EvictionCheck
from swarm.cli.base import exit_codes, options
from swarm.cli.base.console import listed
from swarm.cli.base.context import (
    AsJson,
    Edge,
    Imports,
    RedisUrl,
    implementations,
    open_catalog_store,
    read_catalog,
)
from swarm.cli.commands.session import first_catalog
from swarm.client.discovery import as_up, is_up, up_url
from swarm.errors import BadInput, BrokerFull, BrokerUnavailable
from swarm.llm.endpoints import Endpoints
from swarm.settings import Settings
from swarm.types.card import KINDS

if TYPE_CHECKING:
    from experts.python_experts import Implementation
    from workers.process import Process, Roles

POOLS = ("router", "experts")
LEVELS = ("debug", "info", "warning", "error", "critical")
LONGEST_WAIT = 2.0
"""Longest pause in seconds between two attempts to reach Redis."""

Slots = Annotated[
    int | None,
    typer.Option("--slots", min=1, max=10_000, show_default=False, help="Subtasks at once (SWARM_SLOTS, 20)."),
]
Given = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        show_default=False,
        help="URL of the swarm's Redis, redis://HOST:6379/0 (SWARM_REDIS_URL, else that of the running swarm up).",
    ),
]
LogLevel = Annotated[str, typer.Option("--log-level", metavar="LEVEL", help=f"One of {', '.join(LEVELS)}.")]
LogJson = Annotated[
    bool | None,
    typer.Option(
        "--log-json/--no-log-json", show_default=False, help="Log lines as JSON (default if not on a terminal)."
    ),
]


def worker(
    pool: Annotated[
        list[str] | None, typer.Option("--pool", metavar="POOL", help="Serve this pool: router or experts. Repeatable.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", metavar="KIND", help=f"{', '.join(KINDS)}. Repeatable.")
    ] = None,
    expert: Annotated[
        list[str] | None, typer.Option("--expert", metavar="NAME", help="Serve only this expert. Repeatable.")
    ] = None,
    slots: Slots = None,
    catalog: Annotated[
        str | None, typer.Option("--catalog", metavar="DIR", help="Publish this folder now and when it changes.")
    ] = None,
    health_socket: Annotated[
        str | None,
        typer.Option(
            "--health-socket", metavar="PATH", help="Answer health probes on this socket (SWARM_HEALTH_SOCKET)."
        ),
    ] = None,
    imports: Imports = None,
    log_level: LogLevel = "info",
    log_json: LogJson = None,
    redis: Given = None,
    as_json: AsJson = False,
) -> int:
    """Serve jobs until SIGTERM or Ctrl-C: route them, run experts, or both.

    With --pool router it only routes, with --kind or --expert it only runs those experts, without them it does both.
    It waits for a Redis that is not up yet. The private Redis of a swarm up runs on as long as the worker, so that
    it serves the next one, too.
    """
    edge = Edge.of(redis, as_json)
    if not (edge.settings.redis_url or up_url(edge.settings.data)):
        none = f"none is up on {edge.settings.data} now"
        raise BadInput(
            "redis",
            "a worker needs the URL of a Redis",
            f"give --redis URL, set SWARM_REDIS_URL, or use: swarm up ({none})",
        )
    _set_up_logs(log_level, log_json, edge.settings)
    roles = roles_of(pool or (), kind or (), expert or ())
    loaded = implementations(imports)
    folder = options.folder(catalog) if catalog else None
    if folder is not None:
        read_catalog(folder, loaded)
    socket = health_socket or edge.environ.get("SWARM_HEALTH_SOCKET", "").strip()
    Endpoints.load(edge.environ)  # report a wrong file before the wait for Redis
    served = _Worker(edge, sized(edge.settings, slots), roles, folder, loaded)

    from workers.process import run

    run(served.serve(Path(socket) if socket else None))
    return exit_codes.OK


def up(
    catalog: Annotated[
        str | None,
        typer.Option(
            "--catalog",
            metavar="DIR",
            help="Publish this folder, now and when it changes (default: last, or the demo).",
        ),
    ] = None,
    slots: Slots = None,
    imports: Imports = None,
    log_level: LogLevel = "info",
    log_json: LogJson = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Run the whole swarm in one process, with a private Redis if no URL is given. Jobs survive its restart."""
    edge = Edge.of(redis, as_json)
    _set_up_logs(log_level, log_json, edge.settings)
    with _starting(edge) as serves:
        loaded = implementations(imports)
        folder = options.folder(catalog) if catalog else None
        if folder is not None:
            read_catalog(folder, loaded)
        Endpoints.load(edge.environ)

        from workers.process import run

        run(_up(edge, sized(edge.settings, slots), folder, loaded, imports or [], serves))
    return exit_codes.OK


def roles_of(pools: Sequence[str], kinds: Sequence[str], experts: Sequence[str]) -> Roles:
    """Return the roles of a worker, from its options."""
    from workers.process import Roles

    _known("pool", pools, POOLS)
    _known("kind", kinds, KINDS)
    if kinds and experts:
        raise BadInput("expert", "--expert and --kind exclude each other", "leave one of them out")
    named = bool(kinds or experts)
    return Roles(
        router="router" in pools or not (pools or named),
        kinds=[kind for kind in KINDS if kind in kinds] if named else KINDS if "experts" in pools or not pools else (),
        experts=tuple(experts),
    )


def sized(settings: Settings, slots: int | None) -> Settings:
    return settings if slots is None else settings.model_copy(update={"slots": slots})


def _known(field: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise BadInput(field, f"there is no {field} {name!r}", f"known are {', '.join(known)}")


def _set_up_logs(level: str, as_json: bool | None, settings: Settings) -> None:
    from swarm import logging as swarm_logging

    _known("log-level", [level.lower()], LEVELS)
    swarm_logging.setup(level, as_json=as_json, contents=settings.log_contents)


# -- worker ----------------------------------------------------------------------------------------------------------


class _Worker:
    def __init__(
        self, edge: Edge, settings: Settings, roles: Roles, folder: Path | None, loaded: Mapping[str, Implementation]
    ) -> None:
        self._edge, self._settings, self._roles = edge, settings, roles
        self._folder, self._loaded = folder, loaded
        self._watching: asyncio.Task[None] | None = None

    async def serve(self, socket: Path | None) -> None:
        from workers.process import work

        async with self._edge.url() as url:
            await await_redis(url, self._settings)
            before = functools.partial(self._before, url)
            try:
                await work(
                    url, self._settings, self._roles, self._edge.environ, self._loaded, socket=socket, before=before
                )
            finally:
                if self._watching is not None:
                    self._watching.cancel()
                    await asyncio.gather(self._watching, return_exceptions=True)

    async def _before(self, url: str, process: Process) -> None:
        from workers.catalog_publisher import publish, stamp, watch
        from workers.supervisor import supervised

        if (folder := self._folder) is not None:
            seen = stamp(folder)
            await publish(process.catalog_store, folder, self._loaded)
            watching = supervised("watch", lambda: watch(process.catalog_store, folder, self._loaded, seen))
            self._watching = asyncio.create_task(watching)
        self._edge.screen.document(
            {
                "worker": process.worker.name,
                "pid": os.getpid(),
                "redis": shown(url),
                "router": self._roles.router,
                "kinds": list(self._roles.kinds),
                "experts": list(self._roles.experts),
            }
        )


async def await_redis(url: str, settings: Settings) -> None:
    """Wait until Redis accepts writes. Raises at once what waiting cannot cure: password, read-only, eviction."""
    from swarm import logging as swarm_logging

    pause, logged = 0.05, False
    async with Connection.open(url, settings.prefix) as connection:
        while True:
            try:
                await connection.call("DEL", f"{settings.prefix}:none")
                await EvictionCheck(connection).check()
                if settings.durable == "disk":
                    await connection.reach_disk()
                return
            except (BrokerUnavailable, BrokerFull) as error:
                if not logged:
                    swarm_logging.get_logger("worker").warning(swarm_logging.REDIS_AWAY, error=str(error))
                logged = True
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_WAIT)


# -- up --------------------------------------------------------------------------------------------------------------


async def _up(
    edge: Edge,
    settings: Settings,
    folder: Path | None,
    loaded: Mapping[str, Implementation],
    imports: list[str],
    serves: Callable[[str], None],
) -> None:
    from workers import embedded

    async with edge.url() as url:
        settings = settings.model_copy(update={"redis_url": url})
        await await_redis(url, settings)
        catalog = folder or await first_catalog(url, settings, imports)
        about = await _about(url, settings, catalog, loaded)

        def ready(_: str, process: Any) -> None:
            serves(url)
            edge.screen.document({"url": shown(url), "pid": os.getpid(), "data": str(edge.settings.data)} | about)
            _announce(edge, url, about)

        await embedded.up(settings, edge.environ, catalog, loaded, ready)


@contextlib.contextmanager
def _starting(edge: Edge) -> Iterator[Callable[[str], None]]:
    """Mark the data folder as starting, so that other commands wait. Call the yielded function once this one serves."""
    if edge.settings.redis_url:
        yield lambda _: None
        return
    from workers.local_redis.server import PrivateRedis

    PrivateRedis(edge.settings.data).make_folder()
    if is_up(edge.settings.data):
        both = "both serve its jobs, with the catalog that is published last"
        edge.screen.note(("note: ", "yellow"), f"a swarm up runs on {edge.settings.data} already; {both}")
    with as_up(edge.settings.data) as serves:
        yield serves


async def _about(
    url: str, settings: Settings, folder: Path | None, loaded: Mapping[str, Implementation]
) -> dict[str, Any]:
    """Describe the catalog that will be served, and its folder."""
    if folder is not None:
        catalog = read_catalog(folder, loaded).catalog
    else:
        async with open_catalog_store(url, settings) as catalog_store:
            catalog = await catalog_store.catalog(await catalog_store.current() or "")
    return {"catalog": catalog.version, "experts": sorted(catalog.cards), "folder": str(folder) if folder else None}


def _announce(edge: Edge, url: str, about: Mapping[str, Any]) -> None:
    private, screen = not edge.settings.redis_url, edge.screen
    where = f" (private, its data in {edge.settings.data})" if private else ""
    screen.line(("swarm is up", "bold green"), f" on {shown(url)}{where}")
    watched = f"from {about['folder']}, watched" if about["folder"] else "published before"
    screen.line(f"experts: {listed(about['experts'], 20)} ({watched})")
    screen.line(f'ask it:  swarm {"" if private else f"--redis {shown(url)} "}ask "..."')
    screen.line("stop it: Ctrl-C; jobs are kept")
