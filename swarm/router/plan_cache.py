"""The plan cache: what a tenant's requests were planned like by one model, for one version of the catalog.

A process reads a tenant's plans when it first needs them, then only those that are new. No failure of Redis costs
more than the look: it becomes a note.
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
"""Tenants, each with one version of the catalog, whose plans a process holds."""
_OVERGROWN = PLANS_KEPT + PLANS_KEPT // 5
"""Entries at which a process reads all anew, to forget those that Redis has dropped."""
_MANY = 20
"""Plans from which reading them is done in a thread."""


@dataclass(slots=True)
class _Read:
    """What a process has read of one tenant's plans."""

    place: str = FIRST
    entries: int = 0
    kept: dict[str, Kept] = field(default_factory=dict)
    """By the text of their requests: planned twice, the later plan counts."""
    examples: Examples = field(default_factory=Examples)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class RedisPlanCache:
    """Plans of earlier requests whose callers left planning to us. Its methods raise nothing of ours but `stats`."""

    def __init__(self, connection: Connection, lifetime: float = LIFETIME, *, planner: str) -> None:
        """`lifetime` is how many seconds plans are kept after their last use. Plans of others than `planner` are none
        of ours: who names another model wants to see what that one makes of a request.
        """
        self._store, self._planner = PlanStore(connection, lifetime), planner
        self._read: OrderedDict[tuple[str, str], _Read] = OrderedDict()

    async def find(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        """The plan of a similar request, bound to this one and read anew; and why there is one, or none."""
        if request.plan is not None or request.expert is not None:
            return None, "plan cache: not asked, the caller chose"
        try:
            examples = await self._examples(request.tenant, catalog.version)
            planned, note = fill(request.text, examples, catalog.cards)
            count = await self._store.count(hit=planned is not None)
        except BrokerError as error:
            return None, f"plan cache: not asked ({error})"
        _log.info(events.PLAN_CACHE, hit=planned is not None, why=note, hits=count.hits, misses=count.misses)
        return planned, note

    async def imitate(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        """A plan after the example of similar requests, where none of their plans can be bound: a guess, and why."""
        if len(request.text) > MAX_KEPT_TEXT:  # each expert is told all of it
            return None, f"examples: not asked, more than {MAX_KEPT_TEXT:,} characters"
        try:
            examples = await self._examples(request.tenant, catalog.version)
        except BrokerError as error:
            return None, f"examples: not asked ({error})"
        return vote(request.text, examples.nearest(request.text, NEIGHBOURS), catalog.cards)

    async def keep(self, request: Request, catalog: Catalog, planned: Planned) -> None:
        """Remember a whole plan of a request that left planning to us; anything else is passed over."""
        kept = keepable(request.text, planned) if request.plan is None and request.expert is None else None
        if kept is not None and kept.planner == self._planner:
            with suppress(BrokerError):
                entry = kept.model_dump_json(exclude_defaults=True).encode()
                await self._store.add(request.tenant, catalog.version, entry)

    async def stats(self) -> CacheCount:
        """How often plans were found and not found, by all processes. Raises BrokerError."""
        return await self._store.counted()

    async def _examples(self, tenant: str, version: str) -> Examples:
        """The plans of a tenant as Redis has them now."""
        read = self._read.setdefault((tenant, version), _Read())
        self._read.move_to_end((tenant, version))
        while len(self._read) > TENANTS:
            self._read.popitem(last=False)
        async with read.lock:
            count, new = await self._store.since(tenant, version, read.place)
            known = read.entries + len(new)
            if count < min(known, PLANS_KEPT) or known > _OVERGROWN:  # all were lost, or many were dropped since
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
    """One plan of `planner`; none if it is another's, or if another version of this program wrote it otherwise."""
    with suppress(ValidationError):
        if (kept := received(Kept, raw)).planner == planner:
            yield kept
