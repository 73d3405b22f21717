"""Run a whole swarm in one process: a worker with all roles and, if no URL is given, a private Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import structlog

from experts.python_experts import Implementation
from swarm import logging
from swarm.settings import Settings
from workers.catalog_publisher import publish, stamp, watch
from workers.local_redis.server import private
from workers.process import Process, Roles, build_process, handle_signals
from workers.supervisor import supervised


@contextlib.asynccontextmanager
async def redis_for(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of the settings, or of a private Redis that runs as long as the block.

    A private Redis that another process started on the same data folder is shared; one that dies is started again.
    Raises EmbeddedUnavailable.
    """
    if settings.redis_url:
        yield settings.redis_url
    else:
        async with private(settings.data, always=settings.durable == "disk") as url:
            yield url


@contextlib.asynccontextmanager
async def embedded(
    settings: Settings,
    environ: Mapping[str, str],
    catalog: Path | None = None,
    implementations: Mapping[str, Implementation] | None = None,
) -> AsyncIterator[str]:
    """Run a worker with all roles as long as the block; publish `catalog` first. Yields the URL of its Redis.

    A program that has not set up structlog gets warnings on standard error, in the format of `swarm`.
    """
    if not structlog.is_configured():
        # structlog's default prints local variables, and with them the requests
        logging.setup("warning", contents=settings.log_contents)
    loaded = implementations or {}
    async with (
        redis_for(settings) as url,
        build_process(url, settings, Roles(), environ, loaded) as process,
    ):
        if catalog is not None:
            folder = catalog
            await process.worker.retry_while_down(lambda: publish(process.catalog_store, folder, loaded))
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
    on_ready: Callable[[str, Process], None],
) -> None:
    """Run the swarm until SIGTERM or SIGINT, then drain; publish the catalog again when its folder changes.

    `on_ready` is called with the URL once everything runs.
    """
    async with (
        redis_for(settings) as url,
        build_process(url, settings, Roles(), environ, implementations) as process,
    ):
        watching = []
        if catalog is not None:
            folder, seen = catalog, stamp(catalog)
            await process.worker.retry_while_down(lambda: publish(process.catalog_store, folder, implementations))
            watching.append(
                asyncio.create_task(
                    supervised("watch", lambda: watch(process.catalog_store, folder, implementations, seen))
                )
            )
        handle_signals(process.worker)
        on_ready(url, process)
        try:
            await process.worker.async_run()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
