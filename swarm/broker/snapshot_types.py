"""Values of a snapshot, and the issues found in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swarm.broker.running_workers import WorkerInfo
from swarm.types.base import Value
from swarm.types.card import Limits


class Memory(Value):
    """Memory and persistence figures of Redis, in bytes."""

    version: str = ""
    used: int = 0
    peak: int = 0
    role: str = ""
    """`master`, or `slave` for a replica."""
    most: int = 0
    """Value of maxmemory; 0: only the machine limits it."""
    fragmentation: float = 0.0
    policy: str = ""
    append_only: bool = False
    appending: bool = True
    """Whether the last write of the append-only file succeeded."""
    delayed_fsync: int = 0
    """Writes since the start of Redis that waited for a slow fsync of an earlier one."""
    replicas: int = 0
    keys: int = 0
    """Keys of the whole database, including those of other programs."""


class Kind(Value):
    """Keys of one purpose. `bytes` is estimated: the mean of a sample, times their number."""

    count: int
    bytes: int


class QueueStatus(Value):
    """State of a queue. `lag`: seconds that the oldest ready delivery has waited; `limited_by`: the
    limiter it waits for."""

    ready: int = 0
    later: int = 0
    leases: int = 0
    lag: float = 0.0
    limited_by: str = ""


class PersistentKey(Value):
    """Size of a key without a lifetime, and its bound (None: as large as the open work)."""

    size: int
    bound: int | None


class Held(Value):
    """Bytes of requests, results and answers that a tenant's jobs keep, and their limit (None: no limit)."""

    bytes: int
    limit: int | None = None


class Breaker(Value):
    """An open circuit breaker: when it opened, and when the next probe may run, in milliseconds of the shared clock."""

    since: int
    until: int
    half_open: bool
    """Whether the pause is over, so that one call may probe the server, or does so now."""


class LimiterStatus(Value):
    """State of a limiter: calls that run now, and the seconds for which it admits no more.

    `limits` are those set in Redis, or in the card of an expert. `cap` and `rate` adapt to refusals of the server: how
    many calls may run, and which share of the limits per minute applies.
    """

    running: int
    pause: float
    limits: Limits = Limits()
    cap: int | None = None
    rate: float = 1.0
    breaker: Breaker | None = None
    """None: the breaker is closed."""
    waiting: tuple[str, ...] = ()
    """Queues that wait for it."""


class Issue(Value):
    """A problem that needs attention. `grave`: jobs may be lost or refused."""

    problem: str
    remedy: str
    grave: bool = False


class Snapshot(Value):
    """State of a swarm in Redis at one moment."""

    memory: Memory
    kinds: Mapping[str, Kind]
    sampled: bool
    """Whether only some keys were read, so that counts are estimates. Bytes always are."""
    queues: Mapping[str, QueueStatus]
    open: int
    ended: int
    dead: int
    parked: int
    workers: tuple[WorkerInfo, ...]
    unserved: tuple[str, ...]
    """Experts with queued work that no worker serves; `router` if no worker routes."""
    eternal: Mapping[str, PersistentKey]
    hits: int
    misses: int
    """Misses of the plan cache; `hits` are its hits."""
    limiters: Mapping[str, LimiterStatus]
    budgets: Mapping[str, Mapping[str, int]]
    """By scope: micro-dollars earmarked, open, settled and presumed."""
    held: Mapping[str, Held] = {}
    """By tenant."""
    leaks: tuple[str, ...]
    """Keys without a lifetime that must have one."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems that need attention, each with its remedy."""
        return tuple(f"{each.problem}; {each.remedy}" for each in _concerns(self))


def memory_concerns(memory: Memory) -> Iterable[Issue]:
    """Yield the issues of Redis itself."""
    if memory.policy not in ("noeviction", "") and memory.most:
        problem = f"maxmemory-policy is {memory.policy}: Redis may drop accepted jobs"
        yield Issue(problem=problem, remedy="set it to noeviction", grave=True)
    if memory.most and memory.used > 0.9 * memory.most:
        problem = f"{memory.used / memory.most:.0%} of maxmemory is used: new jobs will be refused"
        yield Issue(problem=problem, remedy="raise it")
    if not memory.append_only:
        problem = "no append-only file: a restart of Redis loses every job"
        yield Issue(problem=problem, remedy="set appendonly yes", grave=not memory.replicas)
    if memory.delayed_fsync:
        problem = f"the disk of Redis is slow: {memory.delayed_fsync:,} writes waited for an fsync, and might be lost"
        yield Issue(problem=problem, remedy="give it a quicker disk, or set SWARM_DURABLE=disk where you submit")
    if not memory.appending:
        problem = "the append-only file cannot be written"
        yield Issue(problem=problem, remedy="look for disk space where Redis runs", grave=True)


def _concerns(found: Snapshot) -> Iterable[Issue]:
    yield from memory_concerns(found.memory)
    if not found.workers:
        yield Issue(problem="no worker runs", remedy="start one: swarm worker, or swarm up")
    elif found.unserved:
        problem = f"no worker serves {', '.join(found.unserved)}, and work waits for it"
        yield Issue(problem=problem, remedy="start a worker that does")
    for name, limiter in found.limiters.items():
        if limiter.breaker is not None:
            problem = f"the last calls of the {name.replace(':', ' ', 1)} have all failed"
            yield Issue(problem=problem, remedy="check its server, or give its cards a fallback")
    for name, kept in found.eternal.items():
        if kept.bound is not None and kept.size > kept.bound:
            problem = f"{name} has {kept.size:,} entries and should have {kept.bound:,} at most"
            yield Issue(problem=problem, remedy="please report it")
    if found.leaks:
        yield Issue(problem=f"keys without a lifetime: {', '.join(found.leaks)}", remedy="please report them")
