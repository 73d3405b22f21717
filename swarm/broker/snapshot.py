"""Snapshot of a swarm in Redis: memory, keys, queues, workers and problems.

It never blocks Redis: keys are read with SCAN, page by page, up to a maximum. Beyond that, counts are extrapolated from
the keys read, since SCAN returns them in no order; `sampled` says so.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from swarm.broker.catalog_store import ALIVE, CatalogStore
from swarm.broker.clock import now_ms
from swarm.broker.connection import Connection
from swarm.broker.keys import (
    ADVANCE,
    ANSWER,
    DEAD_KEPT,
    ENDED_KEPT,
    ETERNAL,
    HELD_STEP_MS,
    LIMITS_KEPT,
    PLAN,
    PRICES_KEPT,
    SEEN_FIELDS,
    TENANTS_KEPT,
    Keys,
    expert_queue,
)
from swarm.broker.limiters import Limiters, breaker_of, target
from swarm.broker.plan_store import PlanStore
from swarm.broker.running_workers import running_workers, unserved
from swarm.broker.snapshot_types import Held, Kind, LimiterStatus, Memory, PersistentKey, QueueStatus, Snapshot
from swarm.settings import Settings
from swarm.types.card import Limits

MOST = 200_000
"""Keys of the database that are read, at most."""
PAGE = 1_000
WEIGHED = 40
"""Keys of a kind whose size is measured, about."""
NEXT = 16
"""Deliveries at the head of a queue among which the oldest is found."""
LONGEST_DEBT_MS = 600_000
"""Longest time for which a limiter stays closed because of owed tokens."""
FORGOTTEN_MS = 600_000
"""Time after a refusal for which a limiter's adapted limits apply."""
HELD_MS = 2_000
"""Age up to which a limiter's note that it holds a queue back is current."""
SHOWN = 20
"""Leaked keys that are listed, at most."""

_ONCE_ETERNAL = re.compile(r"queue:.+:(wake|turns)")
"""Keys that older versions write without a lifetime; they are no leaks."""
KINDS = (
    ("jobs", r"job:[^:]+"),
    ("logs", r"job:[^:]+:log"),
    ("results", r"job:[^:]+:bodies"),
    ("deltas", r"job:[^:]+:deltas"),
    ("children", r"job:[^:]+:children"),
    ("live", r"job:[^:]+:live"),
    ("money", r"job:[^:]+:money|budget:.+"),
    ("deliveries", r"delivery:.+"),
    ("queues", r"queue:.+"),
    ("parked", r"parked:.+"),
    ("limiters", r"gate:.+|limits"),
    ("catalogs", r"catalogs?(:.+)?"),
    ("blobs", r"blob:.+"),
    ("workers", r"worker:.+"),
    ("dead", r"dead(:.+)?"),
    ("plans", r"plans:.+|plancount"),
    ("records", r"stats(:.+)?|held:.+"),
    ("pace", r"(pace|waiting|asked)(:.+)?"),
    ("lists", r"open(:.+)?|ended|seen|queues|prices|tenants"),
    ("other", r".*"),
)
"""Purpose of keys, by their names after the prefix. The first match counts."""
_KINDS = tuple((kind, re.compile(pattern)) for kind, pattern in KINDS)


async def take_snapshot(
    connection: Connection, settings: Settings, on_progress: Callable[[int, int], None] = lambda seen, of: None
) -> Snapshot:
    """Take a snapshot. `on_progress` gets the number of keys read, and of all keys. Raises BrokerErrors."""
    memory = await memory_of(connection)
    catalog_store = CatalogStore(connection, settings.max_age + settings.retention)
    names: list[str] = []
    seen = 0
    async for length, page in _scan(connection):
        seen += length
        names += page
        on_progress(min(seen, memory.keys), memory.keys)
        if seen >= MOST:
            break
    scale = max(1.0, memory.keys / seen) if seen >= MOST else 1.0
    kinds = _by_kind(names)
    workers = await running_workers(connection)
    queues = await _queues(connection, catalog_store, kinds.get("queues", ()))
    eternal = await _eternal(connection, settings)
    count = await PlanStore(connection).counted()
    limiters = await _limiters(connection, catalog_store, kinds.get("limiters", ()), queues)
    held = {queue: name for name, limiter in limiters.items() for queue in limiter.waiting}
    return Snapshot(
        memory=memory,
        kinds={kind: await _weighed(connection, found, scale) for kind, found in kinds.items()},
        sampled=scale > 1.0,
        queues={name: each.model_copy(update={"limited_by": held.get(name, "")}) for name, each in queues.items()},
        open=eternal["open"].size,
        ended=eternal["ended"].size,
        dead=eternal["dead"].size,
        parked=await _sizes(connection, "ZCARD", kinds.get("parked", ())),
        workers=tuple(workers),
        unserved=unserved((name for name, queue in queues.items() if queue.ready or queue.later), workers),
        eternal=eternal,
        hits=count.hits,
        misses=count.misses,
        limiters=limiters,
        budgets=await _budgets(connection, kinds.get("money", ())),
        held=await _held(connection, kinds.get("records", ())),
        leaks=tuple([name async for name in _leaks(connection, names)]),
    )


async def memory_of(connection: Connection) -> Memory:
    """Read the memory and persistence figures of Redis."""
    lines = (await connection.call("INFO")).decode().splitlines()
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    return Memory(
        version=said.get("redis_version", ""),
        used=int(said.get("used_memory", 0)),
        peak=int(said.get("used_memory_peak", 0)),
        role=said.get("role", ""),
        most=int(said.get("maxmemory", 0)),
        fragmentation=float(said.get("mem_fragmentation_ratio", 0)),
        policy=said.get("maxmemory_policy", ""),
        append_only=said.get("aof_enabled") == "1",
        appending=said.get("aof_last_write_status", "ok") == "ok",
        delayed_fsync=int(said.get("aof_delayed_fsync", 0)),
        replicas=int(said.get("connected_slaves", 0)),
        keys=await connection.call("DBSIZE"),
    )


async def _scan(connection: Connection) -> AsyncIterator[tuple[int, list[str]]]:
    """Yield pages of our keys without the prefix, each with the number of keys read for it."""
    prefix, cursor = connection.keys.prefix + ":", b"0"
    while True:
        cursor, found = await connection.call("SCAN", cursor, "COUNT", PAGE)
        ours = [key.decode(errors="replace") for key in found]
        yield len(found), [key.removeprefix(prefix) for key in ours if key.startswith(prefix)]
        if cursor == b"0":
            return


def _by_kind(names: Iterable[str]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):  # SCAN may name a key twice
        found[kind_of(name)].append(name)
    return {kind: found[kind] for kind, _ in KINDS if kind in found}


def kind_of(name: str) -> str:
    """Return the purpose of a key, by its name after the prefix.

    >>> kind_of("job:j1"), kind_of("job:j1:log"), kind_of("queue:run:faq:ready"), kind_of("what")
    ('jobs', 'logs', 'queues', 'other')
    """
    return next(kind for kind, pattern in _KINDS if pattern.fullmatch(name))


def _key(keys: Keys, name: str) -> str:
    return f"{keys.prefix}:{name}"


async def _each(connection: Connection, command: str, names: Sequence[str], *args: Any) -> list[Any]:
    """Run one command on many keys in one pipeline."""
    calls = (connection.call(*command.split(), _key(connection.keys, name), *args) for name in names)
    return list(await asyncio.gather(*calls))


async def _sizes(connection: Connection, command: str, names: Sequence[str]) -> int:
    return sum(await _each(connection, command, names))


async def _weighed(connection: Connection, names: Sequence[str], scale: float) -> Kind:
    step = max(1, len(names) // WEIGHED)
    some = [size for size in await _each(connection, "MEMORY USAGE", names[::step]) if size]
    mean = sum(some) / len(some) if some else 0.0
    return Kind(count=round(len(names) * scale), bytes=round(len(names) * scale * mean))


async def _queues(connection: Connection, catalog_store: CatalogStore, found: Sequence[str]) -> dict[str, QueueStatus]:
    names = {ADVANCE, PLAN, ANSWER}
    names |= {expert_queue(card) for catalog in await catalog_store.alive() for card in catalog.cards.values()}
    names |= {name.removeprefix("queue:").rpartition(":")[0] for name in found}
    every = sorted(names)
    return dict(zip(every, await asyncio.gather(*(_standing(connection, name) for name in every)), strict=True))


async def _standing(connection: Connection, queue: str) -> QueueStatus:
    keys, call = connection.keys, connection.call
    parts = ("ready", "later", "leases")
    ready, later, leases = await asyncio.gather(*(call("ZCARD", keys.queue(queue, part)) for part in parts))
    ids = await call("ZRANGE", keys.queue(queue, "ready"), 0, NEXT - 1)
    now, *since = await asyncio.gather(
        now_ms(connection), *(call("HGET", keys.delivery(delivery.decode()), "at") for delivery in ids)
    )
    oldest = min((int(at) for at in since if at), default=None)
    lag = 0.0 if oldest is None else max(0.0, (now - oldest) / 1000)
    return QueueStatus(ready=ready, later=later, leases=leases, lag=round(lag, 1))


async def _eternal(connection: Connection, settings: Settings) -> dict[str, PersistentKey]:
    """Measure the keys without a lifetime."""
    bounds: dict[str, tuple[str, int | None]] = {
        "open": ("ZCARD", settings.max_open),
        "ended": ("ZCARD", ENDED_KEPT),
        "dead": ("XLEN", DEAD_KEPT),
        "catalogs": ("ZCARD", ALIVE),
        "limits": ("HLEN", LIMITS_KEPT),
        "prices": ("HLEN", PRICES_KEPT),
        "tenants": ("HLEN", 2 * TENANTS_KEPT),
        "seen": ("HLEN", SEEN_FIELDS),
    }
    sizes = await asyncio.gather(
        *(connection.call(command, _key(connection.keys, name)) for name, (command, _) in bounds.items())
    )
    return {
        name: PersistentKey(size=size, bound=bound)
        for (name, (_, bound)), size in zip(bounds.items(), sizes, strict=True)
    }


async def _limiters(
    connection: Connection, catalog_store: CatalogStore, names: Sequence[str], queues: Mapping[str, QueueStatus]
) -> dict[str, LimiterStatus]:
    keys = sorted({name.removesuffix(":running") for name in names if name.startswith("gate:")})
    if not keys:
        return {}
    limits = {target(name): each for name, each in (await Limiters(connection).limits()).items()}
    for catalog in await catalog_store.alive():
        limits |= {f"expert:{card.name}": card.limits for card in catalog.cards.values()}
    running = await _each(connection, "ZCARD", [f"{name}:running" for name in keys])
    raw = await _each(connection, "HGETALL", keys)
    now = int(await now_ms(connection))
    found: dict[str, LimiterStatus] = {}
    for key, some, flat in zip(keys, running, raw, strict=True):
        name, state = key.removeprefix("gate:"), [item.decode() for item in flat]
        fields = dict(zip(state[::2], state[1::2], strict=True))
        found[name] = _limiter(fields, now, some, limits.get(name, Limits()), queues)
    return found


def _limiter(
    fields: Mapping[str, str], now: int, running: int, limits: Limits, queues: Mapping[str, QueueStatus]
) -> LimiterStatus:
    """Parse the fields of a limiter. Limits adapted to a refusal long ago no longer apply."""
    learnt = abs(now - float(fields.get("cut", "0"))) < FORGOTTEN_MS
    waits = set(fields.get("waits", "").split())
    waits |= {
        name.removeprefix("w:")
        for name, since in fields.items()
        if name.startswith("w:") and now - float(since.split()[-1]) < HELD_MS
    }
    return LimiterStatus(
        running=running,
        pause=_closed(now, *(float(fields.get(name, "0")) for name in ("pause", "owed", "at", "pay"))),
        limits=limits,
        cap=int(float(fields["cap"])) if learnt and "cap" in fields else None,
        rate=float(fields.get("rate", "1")) if learnt else 1.0,
        breaker=breaker_of(fields, now),
        waiting=tuple(sorted(name for name in waits if name in queues and queues[name].ready)),
    )


def _closed(now: float, pause: float, owed: float, at: float, pay: float) -> float:
    """Seconds for which a limiter admits nothing: the server asked for a pause, or tokens are owed."""
    debt = min(at + owed / pay, at + LONGEST_DEBT_MS) if pay and owed > 0 else 0.0
    return max(0.0, round((max(pause, debt) - now) / 1000, 1))


async def _budgets(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Read the budgets of today, with tenants' own limits. Earlier days are kept for billing only."""
    today = str(int(await now_ms(connection)) // 86_400_000)
    scopes = [name for name in names if name.startswith("budget:") and name.rpartition(":")[2] == today]
    found = await _each(connection, "HGETALL", scopes)
    fields = [f"{name.removeprefix('budget:tenant:').rpartition(':')[0]}:budget" for name in scopes]
    limits = await connection.call("HMGET", connection.keys.tenants, *fields) if fields else []
    budgets = {}
    for name, raw, limit in zip(scopes, found, limits, strict=True):
        sums = {field.decode(): int(float(value)) for field, value in zip(raw[::2], raw[1::2], strict=True)}
        budgets[name.removeprefix("budget:")] = sums if limit is None else sums | {"limit": int(limit)}
    return budgets


async def _held(connection: Connection, names: Sequence[str]) -> dict[str, Held]:
    tenants = [name for name in names if name.startswith("held:")]
    step = int(await now_ms(connection)) // HELD_STEP_MS
    found = {}
    for name, raw in zip(tenants, await _each(connection, "HGETALL", tenants), strict=True):
        fields = {field.decode(): int(value) for field, value in zip(raw[::2], raw[1::2], strict=True)}
        kept = sum(size for till, size in fields.items() if till.isdigit() and int(till) >= step)
        found[name.removeprefix("held:")] = Held(bytes=kept, limit=fields.get("limit"))
    return found


async def _leaks(connection: Connection, names: Sequence[str]) -> AsyncIterator[str]:
    """Yield at most SHOWN keys that lack a lifetime, except those that may and those of the current catalog."""
    version = await connection.call("GET", connection.keys.current_catalog)
    current = connection.keys.catalog((version or b"").decode()).removeprefix(f"{connection.keys.prefix}:")
    found = 0
    known = {current, f"{current}:blobs"}
    mortal = [n for n in names if n not in known and not ETERNAL.fullmatch(n) and not _ONCE_ETERNAL.fullmatch(n)]
    for start in range(0, len(mortal), PAGE):
        page = mortal[start : start + PAGE]
        for name, life in zip(page, await _each(connection, "PTTL", page), strict=True):
            if life != -1 or await _is_blob(connection, current, name):
                continue
            found += 1
            if found > SHOWN:
                return
            yield name


async def _is_blob(connection: Connection, current: str, name: str) -> bool:
    kind, _, sha256 = name.partition(":")
    blobs = _key(connection.keys, f"{current}:blobs")
    return kind == "blob" and bool(await connection.call("SISMEMBER", blobs, sha256))
