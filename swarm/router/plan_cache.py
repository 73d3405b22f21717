"""Plan cache in Redis: earlier plans of a tenant, made by one model, for one version of the catalog.

A process reads a tenant's plans when it first needs them, then only the new ones. A failure of Redis costs only the
lookup: it becomes a note of the plan.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import ValidationError

from swarm import logging as events
from swarm.broker.connection import Connection
from swarm.broker.keys import PLANS_KEPT
from swarm.broker.plan_store import FIRST, LIFETIME, CacheCount, PlanStore
from swarm.errors import BrokerError
from swarm.planner.cache.examples import MAX_KEPT_TEXT, NEIGHBOURS, Examples, Kept, vote
from swarm.planner.cache.template import fill, keepable
from swarm.runtime.thread_pool import in_thread
from swarm.types.base import received
from swarm.types.card import Catalog
from swarm.types.events import Planned
from swarm.types.request import Request

_log = events.get_logger("planner")

TENANTS = 16
"""Pairs of tenant and catalog version whose plans a process holds in memory."""
_OVERGROWN = PLANS_KEPT + PLANS_KEPT // 5
"""Entries at which a process reads all plans again, to drop those that Redis no longer has."""
_MANY = 20
"""Number of new plans above which they are parsed in a thread."""


@dataclass(slots=True)
class _Read:
    """The plans of one tenant that a process has read so far."""

    place: str = FIRST
    entries: int = 0
    kept: dict[str, Kept] = field(default_factory=dict)
    """Plans by the text of their requests. Of two plans for one text the later counts."""
    examples: Examples = field(default_factory=Examples)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class RedisPlanCache:
    """Plans of earlier requests that came without a plan or an expert. Only `stats` raises errors of Redis."""

    def __init__(self, connection: Connection, lifetime: float = LIFETIME, *, planner: str) -> None:
        """`lifetime` is how many seconds plans are kept after their last use. Plans that another model than `planner`
        made are ignored, since a caller that changes the model expects plans of the new one.
        """
        self._store, self._planner = PlanStore(connection, lifetime), planner
        self._read: OrderedDict[tuple[str, str], _Read] = OrderedDict()

    async def find(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        """Find the plan of a similar request and adapt it to this one. The note says why there is one, or none."""
        if request.plan is not None or request.expert is not None:
            return None, "plan cache: not used, the caller chose the plan or expert"
        try:
            examples = await self._examples(request.tenant, catalog.version)
            planned, note = fill(request.text, examples, catalog.cards)
            count = await self._store.count(hit=planned is not None)
        except BrokerError as error:
            return None, f"plan cache: not used ({error})"
        _log.info(events.PLAN_CACHE, hit=planned is not None, why=note, hits=count.hits, misses=count.misses)
        return planned, note

    async def imitate(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        """Guess a plan from those of similar requests, where none can be adapted exactly. The note says why."""
        if len(request.text) > MAX_KEPT_TEXT:  # the guessed plan sends the whole text to each expert
            return None, f"examples: not used, the request has more than {MAX_KEPT_TEXT:,} characters"
        try:
            examples = await self._examples(request.tenant, catalog.version)
        except BrokerError as error:
            return None, f"examples: not used ({error})"
        return vote(request.text, examples.nearest(request.text, NEIGHBOURS), catalog.cards)

    async def keep(self, request: Request, catalog: Catalog, planned: Planned) -> None:
        """Store the whole plan of a request that came without a plan or an expert; ignore any other."""
        kept = keepable(request.text, planned) if request.plan is None and request.expert is None else None
        if kept is not None and kept.planner == self._planner:
            with suppress(BrokerError):
                entry = kept.model_dump_json(exclude_defaults=True).encode()
                await self._store.add(request.tenant, catalog.version, entry)

    async def stats(self) -> CacheCount:
        """Return how often all processes found a plan, and how often not. Raises BrokerError."""
        return await self._store.counted()

    async def _examples(self, tenant: str, version: str) -> Examples:
        """Return the plans of a tenant that Redis has now."""
        read = self._read.setdefault((tenant, version), _Read())
        self._read.move_to_end((tenant, version))
        while len(self._read) > TENANTS:
            self._read.popitem(last=False)
        async with read.lock:
            count, new = await self._store.since(tenant, version, read.place)
            known = read.entries + len(new)
            if count < min(known, PLANS_KEPT) or known > _OVERGROWN:  # Redis lost all, or dropped many
                read.place, read.entries, read.kept, read.examples = FIRST, 0, {}, Examples()
                count, new = await self._store.since(tenant, version, FIRST)
            if len(new) > _MANY:
                await in_thread(_take, read, new, self._planner)
            else:
                _take(read, new, self._planner)
            return read.examples


def _take(read: _Read, new: Iterable[tuple[str, bytes]], planner: str) -> None:
    twice = False
    for place, raw in new:
        read.place, read.entries = place, read.entries + 1
        for kept in _readable(raw, planner):
            twice = twice or kept.text in read.kept
            read.kept[kept.text] = kept
            read.examples.add(kept)
    if twice:
        read.examples = Examples(read.kept.values())


def _readable(raw: bytes, planner: str) -> Iterator[Kept]:
    """Yield the plan if `planner` made it; nothing for other planners, and for formats of other versions."""
    with suppress(ValidationError):
        if (kept := received(Kept, raw)).planner == planner:
            yield kept
