"""A word to somebody who waits in vain: nothing happens, because no worker runs that would do it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from swarm.broker.workers import ROUTER
from swarm.cli.base.console import Screen, listed
from swarm.client.client import SwarmClient
from swarm.errors import BrokerError
from swarm.types.card import Catalog

SILENCE = 2.0
"""Seconds without an event after which somebody looks who would have to act."""


@contextlib.asynccontextmanager
async def hints(client: SwarmClient, job: str, screen: Screen) -> AsyncIterator[Callable[[], None]]:
    """For the block, say once if nobody serves what a silent job waits for. What is yielded is told of each event."""
    heard = asyncio.Event()

    async def listen() -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    await heard.wait()
            except TimeoutError:
                missing: Sequence[str] = ()
                imported: list[str] = []
                with contextlib.suppress(BrokerError):  # whoever follows the job says it better
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
    """What a worker must import to serve those that are missing."""
    cards = [catalog.cards[name] for name in missing if name in catalog.cards] if catalog else []
    return list(dict.fromkeys(card.implementation for card in cards if card.implementation))


def words(missing: Sequence[str], imported: Sequence[str] = ()) -> str:
    """Who is missing, and what to start; an expert in plain Python is served by whoever imports it.

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
