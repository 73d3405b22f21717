"""What a census finds: the values, and what somebody should look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swarm.broker.workers import WorkerInfo
from swarm.types.base import Value
from swarm.types.card import Limits


class Memory(Value):
    """Redis' own figures, in bytes."""

    version: str = ""
    used: int = 0
    peak: int = 0
    role: str = ""
    """`master`, or `slave` for a replica."""
    most: int = 0
    """maxmemory; 0: no limit but the machine's."""
    fragmentation: float = 0.0
    policy: str = ""
    append_only: bool = False
    appending: bool = True
    """Whether the last write of the append-only file came to its end."""
    delayed_fsync: int = 0
    """How often, since Redis started, a write waited because the disk was slow to sync the one before."""
    replicas: int = 0
    keys: int = 0
    """Of the whole database, other programs' included."""


class Kind(Value):
    """Keys of one purpose. `bytes` is what some of them have on average, times their number."""

    count: int
    bytes: int


class QueueStatus(Value):
    """A queue. `lag`: seconds that the oldest of the next deliveries has waited; `gate`: where it is held up."""

    ready: int = 0
    later: int = 0
    leases: int = 0
    lag: float = 0.0
    gate: str = ""


class PersistentKey(Value):
    """A key without a lifetime, how long it is, and how long it may get (None: as much as is open)."""

    size: int
    bound: int | None


class Held(Value):
    """Bytes of requests, results and answers that a tenant's jobs keep, and may keep (None: any number)."""

    bytes: int
    limit: int | None = None


class Breaker(Value):
    """What fails altogether, since when, and until when nobody asks. Times are milliseconds of the swarm's clock."""

    since: int
    until: int
    half_open: bool
    """That is over: the next call tries it out, or one does so now."""


class Gate(Value):
    """How many calls run through a gate now, and for how many seconds from now it is closed.

    `limits` are those that are set in Redis, or for an expert those of its card; `cap` and `rate` are what it has
    learnt: how many may run, and which share of its limits per minute holds.
    """

    running: int
    pause: float
    limits: Limits = Limits()
    cap: int | None = None
    rate: float = 1.0
    breaker: Breaker | None = None
    """None: it is closed, so all is well."""
    waiting: tuple[str, ...] = ()
    """The queues that are held up at it."""


class Issue(Value):
    """Something that somebody should look at. `grave`: jobs may be lost or refused."""

    problem: str
    remedy: str
    grave: bool = False


class Snapshot(Value):
    """What a swarm holds in Redis now."""

    memory: Memory
    kinds: Mapping[str, Kind]
    sampled: bool
    """Whether not all keys were looked at, so that counts are estimates too. Bytes always are."""
    queues: Mapping[str, QueueStatus]
    open: int
    ended: int
    dead: int
    parked: int
    workers: tuple[WorkerInfo, ...]
    unserved: tuple[str, ...]
    """Experts that something waits for and no worker serves; `router` where none routes."""
    eternal: Mapping[str, PersistentKey]
    hits: int
    misses: int
    """Of the plan cache."""
    gates: Mapping[str, Gate]
    budgets: Mapping[str, Mapping[str, int]]
    """By scope: micro-dollars earmarked, open, settled and presumed."""
    held: Mapping[str, Held] = {}
    """By tenant."""
    leaks: tuple[str, ...]
    """Keys without a lifetime that must have one."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody should look at, each with its remedy."""
        return tuple(f"{each.problem}; {each.remedy}" for each in _concerns(self))


def memory_concerns(memory: Memory) -> Iterable[Issue]:
    """What is wrong with Redis itself."""
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
        problem = f"nobody serves {', '.join(found.unserved)}, and work waits for it"
        yield Issue(problem=problem, remedy="start a worker that does")
    for name, gate in found.gates.items():
        if gate.breaker is not None:
            problem = f"the last calls of the {name.replace(':', ' ', 1)} have all failed"
            yield Issue(problem=problem, remedy="check its server, or give its cards a fallback")
    for name, kept in found.eternal.items():
        if kept.bound is not None and kept.size > kept.bound:
            problem = f"{name} has {kept.size:,} entries and should have {kept.bound:,} at most"
            yield Issue(problem=problem, remedy="please report it")
    if found.leaks:
        yield Issue(problem=f"keys without a lifetime: {', '.join(found.leaks)}", remedy="please report them")
