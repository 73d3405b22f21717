"""What a census finds: the values, and what somebody should look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swarm.broker.alive import Alive
from swarm.models import Limits
from swarm.values import Value


class Memory(Value):
    """Redis' own figures, in bytes."""

    version: str = ""
    used: int = 0
    peak: int = 0
    most: int = 0
    """maxmemory; 0: no limit but the machine's."""
    fragmentation: float = 0.0
    policy: str = ""
    append_only: bool = False
    appending: bool = True
    """Whether the last write of the append-only file came to its end."""
    replicas: int = 0
    keys: int = 0
    """Of the whole database, other programs' included."""


class Kind(Value):
    """Keys of one purpose. `bytes` is what some of them have on average, times their number."""

    count: int
    bytes: int


class Standing(Value):
    """A queue. `lag`: seconds that the oldest of the next deliveries has waited; `gate`: where it is held up."""

    ready: int = 0
    later: int = 0
    leases: int = 0
    lag: float = 0.0
    gate: str = ""


class Eternal(Value):
    """A key without a lifetime, how long it is, and how long it may get (None: as much as is open)."""

    size: int
    bound: int | None


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
    waiting: tuple[str, ...] = ()
    """The queues that are held up at it."""


class Census(Value):
    """What a swarm holds in Redis now."""

    memory: Memory
    kinds: Mapping[str, Kind]
    sampled: bool
    """Whether not all keys were looked at, so that counts are estimates too. Bytes always are."""
    queues: Mapping[str, Standing]
    open: int
    ended: int
    dead: int
    parked: int
    workers: tuple[Alive, ...]
    unserved: tuple[str, ...]
    """Experts that something waits for and no worker serves; `router` where none routes."""
    eternal: Mapping[str, Eternal]
    hits: int
    misses: int
    """Of the plan cache."""
    gates: Mapping[str, Gate]
    budgets: Mapping[str, Mapping[str, int]]
    """By scope: micro-dollars earmarked, open, settled and presumed."""
    leaks: tuple[str, ...]
    """Keys without a lifetime that must have one."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody should look at, each with its remedy."""
        return tuple(_warnings(self))


def _warnings(found: Census) -> Iterable[str]:
    memory = found.memory
    if memory.policy not in ("noeviction", "") and memory.most:
        yield f"maxmemory-policy is {memory.policy}: Redis may drop accepted jobs; set it to noeviction"
    if memory.most and memory.used > 0.9 * memory.most:
        yield f"{memory.used / memory.most:.0%} of maxmemory is used: new jobs will be refused; raise it"
    if not memory.append_only:
        yield "no append-only file: a restart of Redis loses every job; set appendonly yes"
    if not memory.appending:
        yield "the append-only file cannot be written: look for disk space where Redis runs"
    if not found.workers:
        yield "no worker runs; start one: swarm worker, or swarm up"
    elif found.unserved:
        yield f"nobody serves {', '.join(found.unserved)}, and work waits for it; start a worker that does"
    for name, kept in found.eternal.items():
        if kept.bound is not None and kept.size > kept.bound:
            yield f"{name} has {kept.size:,} entries and should have {kept.bound:,} at most"
    if found.leaks:
        yield f"keys without a lifetime: {', '.join(found.leaks)}; please report them"
