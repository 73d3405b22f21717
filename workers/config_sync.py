"""The limits and prices that `swarm.toml` gives, put where all workers see them.

They stand in Redis, as those of `swarm limits` and `swarm prices` do; what the file does not say stays as it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from glob import escape
from typing import Any

from swarm import logging as events
from swarm.broker.limiters import Limiters
from swarm.broker.price_table import PriceTable
from swarm.errors import BrokerError, TooLarge
from swarm.llm.endpoints import Endpoints
from swarm.types.card import Limits
from swarm.types.price import renewed
from workers.worker import SwarmWorker

_log = events.get_logger("worker")


async def recorded(worker: SwarmWorker, endpoints: Endpoints) -> None:
    """Write what differs, once Redis answers, and tell of it in one line. What Redis refuses ends no worker."""
    if not (endpoints.limits or endpoints.prices):
        return
    gates, book = Limiters(worker.connection), PriceTable(worker.connection)
    try:
        limits = await worker.retry_while_down(lambda: _limits(gates, endpoints.limits))
        prices = await worker.retry_while_down(lambda: _prices(book, endpoints.prices))
    except (BrokerError, TooLarge) as error:
        _log.warning(events.RECORDED, problem=str(error))
        return
    if limits or prices:
        _log.info(events.RECORDED, limits=limits, prices=prices)


async def _limits(gates: Limiters, given: Mapping[str, Limits]) -> list[str]:
    """The endpoints whose limits were others."""
    standing = await gates.limits()
    others = [name for name, limits in given.items() if standing.get(name) != limits]
    for name in others:
        await gates.set(name, given[name])
    return others


async def _prices(book: PriceTable, given: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The models whose prices were others. A price without a day of its own is of the day on which it came."""
    written = {}
    for model, fields in given.items():
        before = (await book.all(escape(model))).get(model)
        if before is None or renewed(before, fields) != before:
            origin = {"source": "swarm.toml", "as_of": datetime.now(UTC).date()}
            written[model] = renewed(before, {**origin, **fields})
    if written:
        await book.put(written)
    return list(written)
