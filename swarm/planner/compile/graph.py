"""The edges of a plan while it is compiled, each with the places of the text that declare it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

from swarm.planner.compile.references import Target
from swarm.types.plan import find_cycle

How = Literal["depends_on", "links", "instruction", "when", "for_each"]

_FIRM = frozenset(("when", "for_each"))
"""Kinds of edges without which a subtask cannot run."""
_MAKES = frozenset("target targets makes creates produces product products provides".split())


class Edges:
    """The edges between `count` steps."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.waits: list[dict[Target, set[How]]] = [{} for _ in range(count)]

    def add(self, at: int, target: Target, how: How) -> None:
        """Make the step at `at` wait for `target`."""
        self.waits[at].setdefault(target, set()).add(how)

    def drop(self, at: int, target: Target) -> None:
        del self.waits[at][target]

    def is_firm(self, at: int, target: Target) -> bool:
        """Whether the step cannot run without this edge."""
        return bool(self.waits[at][target] & _FIRM)

    def cycle(self) -> tuple[int, ...]:
        """Return a cycle, closed, in which each step waits for the next; empty if there is none."""
        own = {str(at): [str(t) for t in waits if isinstance(t, int)] for at, waits in enumerate(self.waits)}
        return tuple(map(int, find_cycle(own)))

    def backward(self, cycle: Sequence[int]) -> tuple[int, int]:
        """Choose the edge of a cycle to drop: one that waits for a later step, carries no data and is not firm."""
        later = [(at, target) for at, target in pairwise(cycle) if at < target]
        return min(later, key=lambda edge: (self.is_firm(*edge), "instruction" in self.waits[edge[0]][edge[1]]))


def makers(arguments: Sequence[Mapping[str, object]]) -> Mapping[str, Sequence[int]]:
    """Map each product that steps declare to the steps that make it."""
    found: dict[str, list[int]] = {}
    for at, members in enumerate(arguments):
        made = [value for name, value in members.items() if name.lower() in _MAKES]
        for material in (part for value in made for part in (value if isinstance(value, list) else [value])):
            if isinstance(material, (str, int)):
                found.setdefault(str(material).strip(), []).append(at)
    return found


def levels(edges: Edges) -> list[int]:
    """Return for each step the number of steps before it on its longest path. The edges must have no cycle."""
    level = [-1] * edges.count
    for root in range(edges.count):
        stack = [root]
        while stack:
            before = [target for target in edges.waits[stack[-1]] if isinstance(target, int)]
            if missing := [target for target in before if level[target] < 0]:
                stack += missing
            else:
                level[stack.pop()] = 1 + max((level[target] for target in before), default=-1)
    return level
