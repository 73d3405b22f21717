"""Print a hint when a job waits for an expert, or a router, that no running worker serves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from swarm.broker.running_workers import ROUTER
from swarm.cli.base.console import Screen, listed
from swarm.client.client import SwarmClient
from swarm.errors import BrokerError
from swarm.types.card import Catalog

SILENCE = 2.0
"""Seconds without an event after which the workers are checked."""


@contextlib.asynccontextmanager
async def hints(client: SwarmClient, job: str, screen: Screen) -> AsyncIterator[Callable[[], None]]:
    """Print a hint once if no worker serves what a silent job needs. Call the yielded function on each event."""
    heard = asyncio.Event()

    async def listen() -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    await heard.wait()
            except TimeoutError:
                missing: Sequence[str] = ()
                imported: list[str] = []
                with contextlib.suppress(BrokerError):  # the follower of the job reports it better
                    missing = await client.unserved(job)
                    imported = _imported(await client.experts() if missing else None, missing)
                if missing:
                    screen.note((f"{words(missing, imported)}; it waits until one does", "yellow"))
                    return
                await heard.wait()
            heard.clear()

    listening = asyncio.create_task(listen())
    try:
        yield heard.set
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def _imported(catalog: Catalog | None, missing: Sequence[str]) -> list[str]:
    """Return the modules that a worker must import to serve the missing experts."""
    cards = [catalog.cards[name] for name in missing if name in catalog.cards] if catalog else []
    return list(dict.fromkeys(card.implementation for card in cards if card.implementation))


def words(missing: Sequence[str], imported: Sequence[str] = ()) -> str:
    """Name the missing experts and the command to start. An expert in plain Python needs a worker that imports it.

    >>> words(["faq"])
    'no running worker serves faq: start one (swarm worker --expert faq)'
    >>> words(["weather"], ["acme.weather:Weather"])
    'no running worker serves weather: start one (swarm worker --expert weather --import acme.weather:Weather)'
    """
    if ROUTER in missing:
        return "no running worker routes: start one (swarm worker)"
    start = f"swarm worker --expert {missing[0]}" if len(missing) == 1 else "swarm worker"
    start = " ".join((start, *(f"--import {each}" for each in imported)))
    return f"no running worker serves {listed(missing)}: start one ({start})"
