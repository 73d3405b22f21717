"""What goes wrong and when, drawn from a seed. Pure: the same seed gives the same schedule."""

from __future__ import annotations

import heapq
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass

KINDS = ("kill", "term", "redis", "net", "llm")
ROLES = ("router", "instruction", "rag", "fine-tuned")
EACH = 2
"""Processes of every role."""
PAUSE = {"kill": 3.0, "term": 7.0, "redis": 15.0, "net": 2.5}
"""Seconds from one fault of a kind to the next, on average. Faults of the model are drawn for each of its calls."""
WIRE = ("cut", "cut", "lose", "lose", "delay", "hold")


@dataclass(frozen=True)
class Fault:
    """`at` and `seconds` (until it is over) are seconds; `target` is a process, or what is done to the wire."""

    at: float
    kind: str
    target: str
    seconds: float
    share: float = 0.0
    """Of the connections that it strikes."""


def schedule(seed: int, kinds: Collection[str]) -> Iterator[Fault]:
    """Faults of these kinds without end, in the order of time."""
    streams = [_of(kind, random.Random(f"{seed}:{kind}")) for kind in KINDS if kind in kinds and kind in PAUSE]
    return heapq.merge(*streams, key=lambda fault: fault.at)


def _of(kind: str, chance: random.Random) -> Iterator[Fault]:
    at = 0.0
    while True:
        at += chance.uniform(0.4, 1.6) * PAUSE[kind]
        yield _one(round(at, 3), kind, chance)


def _one(at: float, kind: str, chance: random.Random) -> Fault:
    if kind == "redis":
        return Fault(at, kind, "redis", round(chance.uniform(0.1, 1.5), 3))
    if kind != "net":
        target = f"{chance.choice(ROLES)}{chance.randrange(EACH)}"
        return Fault(at, kind, target, round(chance.uniform(0.2, 1.0), 3))
    way = chance.choice(WIRE)
    seconds = {"delay": chance.uniform(0.05, 1.0), "hold": chance.uniform(1.0, 3.0)}.get(way, 0.0)
    return Fault(at, kind, way, round(seconds, 3), round(chance.choice((0.1, 0.3, 1.0)), 1))
