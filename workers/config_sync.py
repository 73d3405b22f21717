"""Write the limits and prices of `swarm.toml` to Redis, where all workers see them.

`swarm limits` and `swarm prices` write to the same place. Entries that the file does not name stay as they are.
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


async def sync_config(worker: SwarmWorker, endpoints: Endpoints) -> None:
    """Write the entries that differ once Redis answers, and log them in one line. A refusal by Redis is logged too."""
    if not (endpoints.limits or endpoints.prices):
        return
    limiters, table = Limiters(worker.connection), PriceTable(worker.connection)
    try:
        limits = await worker.retry_while_down(lambda: _sync_limits(limiters, endpoints.limits))
        prices = await worker.retry_while_down(lambda: _sync_prices(table, endpoints.prices))
    except (BrokerError, TooLarge) as error:
        _log.warning(events.RECORDED, problem=str(error))
        return
    if limits or prices:
        _log.info(events.RECORDED, limits=limits, prices=prices)


async def _sync_limits(limiters: Limiters, given: Mapping[str, Limits]) -> list[str]:
    """Write the limits that differ; return their endpoints."""
    stored = await limiters.limits()
    changed = [name for name, limits in given.items() if stored.get(name) != limits]
    for name in changed:
        await limiters.set(name, given[name])
    return changed


async def _sync_prices(table: PriceTable, given: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Write the prices that differ; return their models. A price without a date gets today's."""
    written = {}
    for model, fields in given.items():
        before = (await table.all(escape(model))).get(model)
        if before is None or renewed(before, fields) != before:
            origin = {"source": "swarm.toml", "as_of": datetime.now(UTC).date()}
            written[model] = renewed(before, {**origin, **fields})
    if written:
        await table.put(written)
    return list(written)
