"""Prices of models in Redis, and a worker's cache of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from swarm.broker.connection import Connection
from swarm.broker.keys import PRICES_KEPT
from swarm.errors import TooLarge
from swarm.types.base import received
from swarm.types.price import Price, names

REFRESH = 10.0
"""Seconds for which a worker caches a price."""
AT_ONCE = 500
MOST_READ = 1_000
"""Models whose prices a worker caches at once."""


class PriceTable:
    """Prices of models under one prefix. `price` is cached, for workers; the other methods manage the table."""

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection, self._key, self._clock = connection, connection.keys.prices, clock
        self._read: dict[str, tuple[float, Price | None]] = {}

    async def price(self, model: str) -> Price | None:
        """Return the price of `endpoint/model`, at most ten seconds old, by its full name or without the endpoint."""
        until, price = self._read.get(model, (0.0, None))
        if until > self._clock():
            return price
        raw = await self._connection.call("HMGET", self._key, *names(model))
        found = next((item for item in raw if item is not None), None)
        price = None if found is None else received(Price, found)
        if len(self._read) >= MOST_READ:
            self._read.clear()
        self._read[model] = self._clock() + REFRESH, price
        return price

    async def put(self, prices: Mapping[str, Price]) -> None:
        """Set these prices; others stay. Raises TooLarge, with nothing written, if the table would be full."""
        known = {name.decode() for name in await self._connection.call("HKEYS", self._key)}
        size = len(known.union(prices))
        if size > PRICES_KEPT:
            raise TooLarge("prices", size, PRICES_KEPT, "models", "drop some: swarm prices drop MODEL")
        items = [(name, price.model_dump_json(exclude_defaults=True)) for name, price in prices.items()]
        for start in range(0, len(items), AT_ONCE):
            some = items[start : start + AT_ONCE]
            await self._connection.call("HSET", self._key, *(part for item in some for part in item))

    async def all(self, pattern: str = "*") -> dict[str, Price]:
        """Return the prices of models whose names match `pattern`, by name."""
        raw = await self._connection.call("HGETALL", self._key)
        found = {name.decode(): body for name, body in zip(raw[::2], raw[1::2], strict=True)}
        return {name: received(Price, found[name]) for name in sorted(found) if fnmatchcase(name, pattern)}

    async def drop(self, models: Sequence[str]) -> int:
        """Delete these prices; return how many there were."""
        return int(await self._connection.call("HDEL", self._key, *models)) if models else 0
