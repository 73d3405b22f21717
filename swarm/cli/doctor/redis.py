"""Check Redis, the running workers, and open circuit breakers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from swarm.broker.keys import ADVANCE, ANSWER, PLAN, expert_queue
from swarm.broker.redis_health import RedisHealth
from swarm.broker.running_workers import ROUTER, WorkerInfo, unserved
from swarm.broker.snapshot_types import Breaker, memory_concerns
from swarm.cli.doctor.findings import Finding, bad, good, many, warning
from swarm.settings import Settings
from swarm.types.card import Card

OLDEST = (6, 2)
"""Oldest supported version of Redis."""
SLOW = 0.010
"""Seconds of latency from which doctor warns, since every step of a job waits for Redis."""
APART = 2.0
"""Seconds by which two clocks may differ."""


def redis(found: RedisHealth, where: str, settings: Settings) -> Iterator[Finding]:
    """Report on Redis itself, with the warnings of `swarm stats`."""
    memory = found.memory
    version = tuple(map(int, re.findall(r"\d+", memory.version)[:2]))
    oldest = ".".join(map(str, OLDEST))
    if not version:
        yield warning("redis", f"{where} does not report its version", f"make sure that it is {oldest} or newer")
    elif version < OLDEST:
        yield bad("redis", f"{where} is Redis {memory.version}", f"update it to {oldest} or newer")
    else:
        yield good("redis", f"{where} is Redis {memory.version} and answers in {found.latency * 1000:.1f} ms")
    if memory.role not in ("master", ""):
        yield bad("redis", f"{where} is a replica, which takes no writes", "point SWARM_REDIS_URL at the primary")
    if found.latency > SLOW:
        yield warning("redis", f"{where} takes {found.latency * 1000:.0f} ms to answer", "let workers run nearer to it")
    for concern in memory_concerns(memory):
        yield (bad if concern.grave else warning)("redis", concern.problem, concern.remedy)
    if memory.append_only and memory.appending:
        yield _appends(found.appends)
    if not memory.most or memory.policy == "noeviction":
        bound = "no maxmemory" if not memory.most else f"{memory.used / memory.most:.0%} of maxmemory is used"
        yield good("redis", f"nothing is evicted: {memory.policy or 'the policy is unknown'}, {bound}")
    yield from _replicas(memory.replicas, durable=settings.durable is True)
    if abs(found.ahead) > APART:
        yield warning(
            "redis",
            f"its clock is {abs(found.ahead):.0f} s {'ahead of' if found.ahead > 0 else 'behind'} the one here",
            "let both follow a time server (NTP): times in logs and bills are those of Redis",
        )


def _appends(how: str | None) -> Finding:
    if how is None:
        return warning(
            "redis",
            "there is an append-only file; this user may not read how often it reaches the disk",
            "run CONFIG GET appendfsync as an administrator: it should be everysec or always",
        )
    if how == "no":
        return warning(
            "redis",
            "appendfsync is no: a crash of its machine may lose half a minute of accepted jobs",
            "set appendfsync everysec, or always",
        )
    return good("redis", f"append-only file, appendfsync {how}")


def _replicas(connected: int, *, durable: bool) -> Iterator[Finding]:
    if durable and not connected:
        yield bad(
            "redis",
            "SWARM_DURABLE waits for a replica, and none is connected: no job is accepted",
            "connect a replica, or unset SWARM_DURABLE",
        )
    elif connected:
        yield good("redis", f"{many(connected, 'replica')} connected")


def staffed(cards: Iterable[Card], workers: Sequence[WorkerInfo], version: str) -> Iterator[Finding]:
    """Report whether a worker routes, and whether each expert is served. `version` is our own."""
    if not workers:
        yield bad("workers", "no worker runs", "start one: swarm worker, or swarm up")
        return
    yield from _versions(workers, version)
    if silent := sum(worker.queues is None for worker in workers):
        yield warning(
            "workers", f"{silent} have not reported yet what they serve", "they have just started; run doctor again"
        )
        return
    by_expert = {card.name: card for card in cards}
    missing = unserved((ADVANCE, PLAN, ANSWER, *map(expert_queue, by_expert.values())), workers)
    for name in missing:
        yield _missing(name, by_expert.get(name))
    if ROUTER not in missing:
        routing = sum(ADVANCE in (each.queues or ()) for each in workers)
        yield good("workers", f"{routing} of them route{'s' if routing == 1 else ''}")
    if served := [name for name in by_expert if name not in missing]:
        yield good("workers", f"{len(served)} of {len(by_expert)} experts are served")


def _missing(name: str, card: Card | None) -> Finding:
    if card is None:
        return bad("workers", "no running worker routes", "start one: swarm worker")
    remedy = f"start one: swarm worker --expert {name}"
    if card.implementation:
        remedy += f" --import {card.implementation} (in version {card.version})"
    return bad("workers", f"no running worker serves {name}", remedy)


def _versions(workers: Sequence[WorkerInfo], version: str) -> Iterator[Finding]:
    found = Counter(worker.version or "unknown" for worker in workers)
    if set(found) == {version}:
        yield good("workers", f"{many(len(workers), 'worker')} of version {version}")
    else:
        counts = ", ".join(f"{many(count, 'worker')} of version {each}" for each, count in sorted(found.items()))
        yield warning("workers", f"{counts}; here it is {version}", "update them, and start them again")


def broken(breakers: Mapping[str, Breaker], now: int, asked: int) -> Iterator[Finding]:
    """Report open breakers, of `asked` models in use. `now` is the time of Redis in milliseconds."""
    for name, breaker in breakers.items():
        pause = (breaker.until - now) / 1000
        tried = "the next call tries it" if breaker.half_open else f"in {pause:.0f} s one call tries it"
        yield bad(
            "breakers",
            f"{name} has failed for {max(0, now - breaker.since) / 1000:.0f} s and is left alone; {tried}",
            "look after its server: the breaker closes when it answers",
        )
    if asked and not breakers:
        yield good("breakers", f"none is open for the {many(asked, 'model')} in use")
