"""The whole swarm in one process: a private Redis (if no URL is given) and workers for everything beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from experts.implementations import Implementation
from swarm.settings import Settings
from workers.main import Process, Roles, handle_signals, working
from workers.publishing import publish, stamp, watch
from workers.redis_server import PrivateRedis


@contextlib.asynccontextmanager
async def redis_for(settings: Settings) -> AsyncIterator[str]:
    """The URL that the settings give, or that of a private Redis that runs as long as the block.

    A private Redis that another process has started on the same data folder is shared. Raises EmbeddedUnavailable.
    """
    if settings.redis_url:
        yield settings.redis_url
    else:
        async with PrivateRedis(settings.data) as redis:
            yield redis.url


@contextlib.asynccontextmanager
async def embedded(
    settings: Settings,
    environ: Mapping[str, str],
    catalog: Path | None = None,
    implementations: Mapping[str, Implementation] | None = None,
) -> AsyncIterator[str]:
    """All workers, running as long as the block; `catalog` is published first. Gives the URL of their Redis."""
    loaded = implementations or {}
    async with (
        redis_for(settings) as url,
        working(url, settings, Roles(), environ, loaded) as process,
    ):
        if catalog is not None:
            await publish(process.shelf, catalog, loaded)
        running = asyncio.create_task(process.worker.async_run())
        try:
            yield url
        finally:
            process.worker.stop(0)
            await running


async def up(
    settings: Settings,
    environ: Mapping[str, str],
    catalog: Path | None,
    implementations: Mapping[str, Implementation],
    ready: Callable[[str, Process], None],
) -> None:
    """`embedded` until SIGTERM or SIGINT, with the drain of the settings; the catalog's folder is watched.

    `ready` is called with the URL once everything runs.
    """
    async with (
        redis_for(settings) as url,
        working(url, settings, Roles(), environ, implementations) as process,
    ):
        watching = []
        if catalog is not None:
            seen = stamp(catalog)
            await publish(process.shelf, catalog, implementations)
            watching.append(asyncio.create_task(watch(process.shelf, catalog, implementations, seen)))
        handle_signals(process.worker)
        ready(url, process)
        try:
            await process.worker.async_run()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
