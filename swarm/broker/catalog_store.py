"""Catalogs in Redis: cards by version, documents and model heads as blobs by hash, and the current version."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from pydantic import ValidationError

from swarm.broker.connection import Connection
from swarm.errors import BrokerError, EmptyCatalog
from swarm.types.base import received
from swarm.types.card import Blob, Card, Catalog

AGAIN = "publish the catalog again: swarm experts publish DIR"
MISSING = -2
"""Redis' lifetime of a key that does not exist."""
INDEX_KEPT_MS = 600_000
"""Milliseconds that the index of a superseded version stays: each change of a document makes megabytes of a new one."""
KEPT = 64
"""Parsed versions that a process caches."""
ALIVE = 64
"""Versions that are searched for experts which only older jobs still need."""


class CatalogStore:
    """Catalogs under one prefix. A version is kept for `lifetime` seconds after its successor was published."""

    def __init__(self, connection: Connection, lifetime: float) -> None:
        self._connection, self._keys, self._lifetime_ms = connection, connection.keys, round(lifetime * 1000)
        self._read: OrderedDict[str, Catalog] = OrderedDict()

    async def publish(self, catalog: Catalog, blobs: Mapping[str, bytes], *, first: bool = False) -> str | None:
        """Make `catalog` the current one for all workers; return the version before, if any.

        With `first`, an existing current catalog stays. Cards and blobs are written before the version switches, so no
        worker reads an incomplete catalog. An index that the new version does not have is kept for INDEX_KEPT_MS only.
        Raises EmptyCatalog.
        """
        if not catalog.cards:
            raise EmptyCatalog()
        for sha256, content in blobs.items():
            if await self._connection.call("PTTL", self._keys.blob(sha256)) != MISSING:
                continue  # an index has many megabytes, and is mostly there already
            await self._connection.call("SET", self._keys.blob(sha256), content, "PX", self._lifetime_ms, "NX")
        cards = [part for name, card in catalog.cards.items() for part in (name, card.model_dump_json())]
        former = await self._connection.script(
            "publish", catalog.version, self._lifetime_ms, int(first), len(catalog.cards), *cards, *blobs
        )
        if former and former.decode() != catalog.version and not first:
            await self._shorten_indexes(former.decode(), blobs)
        return former.decode() or None

    async def _shorten_indexes(self, former: str, kept: Mapping[str, bytes]) -> None:
        """Keep the indexes of a former version for a short time only: workers can make them from its documents."""
        with suppress(EmptyCatalog):
            for card in (await self.catalog(former)).cards.values():
                for piece in card.knowledge.pieces if card.knowledge else ():
                    if piece.sha256 not in kept:
                        await self._connection.call("PEXPIRE", self._keys.blob(piece.sha256), INDEX_KEPT_MS)

    async def current(self) -> str | None:
        """Version with which new jobs are planned."""
        version = await self._connection.call("GET", self._keys.current_catalog)
        return None if version is None else version.decode()

    async def catalog(self, version: str) -> Catalog:
        """Return the cards of a version, read once per process. Raises EmptyCatalog if they have expired."""
        if version in self._read:
            self._read.move_to_end(version)
            return self._read[version]
        raw = await self._connection.call("HGETALL", self._keys.catalog(version))
        if not raw:
            raise EmptyCatalog(f"are left of version {version}")
        names, cards = raw[::2], raw[1::2]
        pairs = sorted(zip(names, cards, strict=True))
        catalog = Catalog(version=version, cards=dict(_readable(pairs)))
        self._read[version] = catalog
        while len(self._read) > KEPT:
            self._read.popitem(last=False)
        return catalog

    async def alive(self) -> list[Catalog]:
        """Return every version that an open job may use, the current one first."""
        versions = await self._connection.call("ZREVRANGE", self._keys.catalogs, 0, ALIVE - 1)
        found = []
        for version in versions:
            with suppress(EmptyCatalog):
                found.append(await self.catalog(version.decode()))
        return found

    async def blob(self, blob: Blob) -> bytes:
        """Return the content of a blob, checked against its hash. Raises BrokerError if it is missing or damaged."""
        content = await self._connection.call("GET", self._keys.blob(blob.sha256))
        if content is None:
            raise BrokerError(
                f"{blob.path} is no longer in Redis; publish the catalog again: swarm experts publish DIR"
            )
        if hashlib.sha256(content).hexdigest() != blob.sha256:
            raise BrokerError(f"{blob.path} in Redis is damaged; {AGAIN}")
        return bytes(content)


def _readable(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, Card]]:
    """Parse the cards that this version understands; skip those of a newer kind."""
    for name, card in pairs:
        with suppress(ValidationError):
            yield name.decode(), received(Card, card)
