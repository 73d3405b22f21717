"""What goes wrong and when, drawn from a seed. Pure: the same seed gives the same schedule."""

from __future__ import annotations

import heapq
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

KINDS = ("kill", "term", "stop", "redis", "stall", "fsync", "clock", "net", "reset", "catalog", "llm")
"""`stop` and `stall` are SIGSTOP and SIGCONT, of a process and of Redis; `catalog` is another edition of the cards."""
SHIMMED = ("fsync", "clock")
"""These want a C compiler."""
ROLES = ("router", "instruction", "rag", "fine-tuned")
EACH = 2
"""Processes of every role."""
PAUSE = {
    "kill": 3.0, "term": 7.0, "stop": 6.0, "redis": 15.0, "stall": 12.0, "fsync": 20.0, "clock": 9.0, "net": 2.5,
    "reset": 5.0, "catalog": 10.0,
}  # fmt: skip
"""Seconds from one fault of a kind to the next, on average. Faults of the model are drawn for each of its calls."""
WIRE = {
    "net": ("cut", "cut", "lose", "lose", "delay", "hold"),
    "reset": ("reset", "reset", "tear", "tear", "half_open"),
}
ONLY_TLS = ("corrupt", "corrupt")
"""Beside these: a bit that is turned over, which plain Redis would take for what was sent."""
LASTS = {
    "stop": (0.3, 4.0), "stall": (2.0, 6.0), "fsync": (2.0, 6.0), "redis": (0.1, 1.5), "kill": (0.2, 1.0),
    "term": (0.2, 1.0), "clock": (0.0, 0.0), "catalog": (0.0, 0.0),
    "delay": (0.05, 1.0), "hold": (1.0, 3.0), "half_open": (10.0, 10.0),
}  # fmt: skip
"""Seconds. What is half-open stays so; after ten seconds without an answer it must have been given up."""
SET = 4.0
"""Seconds by which the clock is off at most, either way."""


@dataclass(frozen=True)
class Fault:
    """`at` and `seconds` (until it is over) are seconds.

    `target` is a process, what is done to the wire, how long an fsync takes, or by how much the clock is off.
    """

    at: float
    kind: str
    target: str
    seconds: float
    share: float = 0.0
    """Of the connections that it strikes."""


def ways(kind: str, *, tls: bool = False) -> tuple[str, ...]:
    """What is done to the wire by faults of a kind; nothing if it is of another sort."""
    return WIRE.get(kind, ()) + (ONLY_TLS if tls and kind == "reset" else ())


def schedule(seed: int, kinds: Collection[str], *, tls: bool = False) -> Iterator[Fault]:
    """Faults of these kinds without end, in the order of time."""
    streams = [_of(kind, random.Random(f"{seed}:{kind}"), tls) for kind in KINDS if kind in kinds and kind in PAUSE]
    return heapq.merge(*streams, key=lambda fault: fault.at)


def _of(kind: str, chance: random.Random, tls: bool) -> Iterator[Fault]:
    at = 0.0
    while True:
        at += chance.uniform(0.4, 1.6) * PAUSE[kind]
        yield _one(round(at, 3), kind, chance, ways(kind, tls=tls))


def _one(at: float, kind: str, chance: random.Random, wire: Sequence[str]) -> Fault:
    if wire:
        way = chance.choice(wire)
        return Fault(at, kind, way, _lasts(way, chance), chance.choice((0.1, 0.3, 1.0)))
    target = kind
    match kind:
        case "fsync":
            target = f"{chance.uniform(0.05, 0.4):.3f}"
        case "clock":
            target = f"{chance.uniform(-SET, SET):+.3f}"
        case "kill" | "term" | "stop":
            target = f"{chance.choice(ROLES)}{chance.randrange(EACH)}"
    return Fault(at, kind, target, _lasts(kind, chance))


def _lasts(kind: str, chance: random.Random) -> float:
    return round(chance.uniform(*LASTS.get(kind, (0.0, 0.0))), 3)
