"""Estimate of a plan's time and cost, from its experts' past runs. Pure.

The time of an attempt is from claim to outcome, of solved attempts. The cost of a subtask is the cost of all attempts
of its expert, failed ones included, divided by the solved ones. Waiting in queues, planning and writing the answer are
not included. Unknown figures are None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, log2
from typing import Annotated

from pydantic import Field

from swarm.types.base import Value
from swarm.types.plan import Plan, Subtask

PER_OCTAVE = 4
"""Buckets of the time histogram between a time and its double: a quantile is off by 10 % at most."""
BUCKETS = 81
"""The last begins at 2 ** 19.75 ms, about 15 minutes."""
FEW = 5
"""Solved runs below which an estimate is noted as resting on few."""


def bucket(ms: float) -> int:
    """Return the bucket of a time: number b holds times above 2 ** ((b - 1) / 4) and at most 2 ** (b / 4) milliseconds.

    >>> bucket(0), bucket(1), bucket(2), bucket(1000)
    (0, 0, 4, 40)
    """
    if ms <= 1:
        return 0
    return min(ceil(PER_OCTAVE * log2(ms)), BUCKETS - 1)


class ExpertStats(Value):
    """Statistics of one expert's attempts."""

    attempts: int = 0
    solved: int = 0
    calls: int = 0
    """Model calls."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    """Micro-dollars."""
    times: dict[Annotated[int, Field(ge=0, lt=BUCKETS)], int] = {}
    """Bucket -> number of solved attempts in it."""

    def quantile(self, share: float) -> float | None:
        """Return the seconds within which this share of the solved attempts finished; None without any."""
        total = sum(self.times.values())
        rank, before = share * total, 0
        for number, count in sorted(self.times.items()):
            if count and before + count >= rank:
                inside = max(0.0, rank - before) / count
                return float(2 ** ((max(number - 1, 0) + inside * (number > 0)) / PER_OCTAVE)) / 1000
            before += count
        return None

    @property
    def cost_each(self) -> float | None:
        """Micro-dollars per solved subtask. None when nothing was solved, or models were called at unknown prices."""
        if not self.solved or (self.calls and not self.cost):
            return None
        return self.cost / self.solved

    @property
    def tokens_each(self) -> float | None:
        """Input and output tokens per solved subtask; None without any."""
        return (self.input_tokens + self.output_tokens) / self.solved if self.solved else None


class SubtaskEstimate(Value):
    """Estimate of one subtask, if it runs. With `per_item`, time and cost are those of a single item."""

    id: str
    expert: str
    runs: int = 0
    """Number of solved attempts behind the estimate."""
    median: float | None = None
    """Seconds."""
    p90: float | None = None
    cost: float | None = None
    """Micro-dollars."""
    tokens: float | None = None
    conditional: bool = False
    """Whether it is skipped unless its `when` holds."""
    per_item: bool = False
    """Whether it runs once per item of its `for_each`; how many there are is not known beforehand."""
    note: str = ""
    """Why a figure is unknown or uncertain."""


class Estimate(Value):
    """Estimate of a whole plan, as if every condition held and every `for_each` had one item."""

    subtasks: tuple[SubtaskEstimate, ...]
    critical_path: tuple[str, ...]
    """Subtasks that decide how long the plan takes. Among chains of unknown time, the longest counts."""
    seconds: float | None
    """The medians along the critical path; None when a subtask without history might change it."""
    seconds_p90: float | None
    """The same with the p90 of each: an upper bound, as rarely all are slow at once."""
    known_seconds: float
    """Sum of the known medians along the critical path."""
    cost: float | None
    """Micro-dollars; None if the cost of a subtask is unknown."""
    known_cost: float
    unknown: tuple[str, ...] = ()
    """Subtasks whose time is unknown."""


def estimate(plan: Plan, stats: Mapping[str, ExpertStats]) -> Estimate:
    """Estimate time and cost of `plan` from its experts' statistics. Fallbacks and retries count in the cost only."""
    parts = tuple(_part(subtask, stats.get(subtask.expert, ExpertStats())) for subtask in plan.subtasks)
    edges = plan.edges
    path = _longest(parts, edges, lambda part: part.median)
    slow = _longest(parts, edges, lambda part: part.p90)
    by_id = {part.id: part for part in parts}
    unknown = tuple(part.id for part in parts if part.median is None)
    known = sum(by_id[name].median or 0.0 for name in path)
    costs = [part.cost for part in parts]
    known_cost = sum(cost for cost in costs if cost is not None)
    return Estimate(
        subtasks=parts,
        critical_path=path,
        seconds=None if unknown else known,
        seconds_p90=None if unknown else sum(by_id[name].p90 or 0.0 for name in slow),
        known_seconds=known,
        cost=None if None in costs else known_cost,
        known_cost=known_cost,
        unknown=unknown,
    )


def _part(subtask: Subtask, stats: ExpertStats) -> SubtaskEstimate:
    return SubtaskEstimate(
        id=subtask.id,
        expert=subtask.expert,
        runs=stats.solved,
        median=stats.quantile(0.5),
        p90=stats.quantile(0.9),
        cost=stats.cost_each,
        tokens=stats.tokens_each,
        conditional=subtask.when is not None,
        per_item=subtask.for_each is not None,
        note=_note(stats),
    )


def _note(stats: ExpertStats) -> str:
    if not stats.attempts:
        return "no past runs"
    if not stats.solved:
        return f"never solved, in {stats.attempts:,} attempt{'s' if stats.attempts != 1 else ''}"
    if stats.cost_each is None:
        return "the price of its model is unknown"
    return "few past runs" if stats.solved < FEW else ""


def _longest(
    parts: tuple[SubtaskEstimate, ...],
    edges: Mapping[str, tuple[str, ...]],
    time: Callable[[SubtaskEstimate], float | None],
) -> tuple[str, ...]:
    """Return the path that takes longest; among equals, the one with more subtasks."""
    by_id = {part.id: part for part in parts}
    best: dict[str, tuple[float, int]] = {}
    came: dict[str, str | None] = {}
    for name in in_order(edges):
        before = max(edges[name], key=lambda other: best[other], default=None)
        seconds, length = best[before] if before is not None else (0.0, 0)
        best[name], came[name] = (seconds + (time(by_id[name]) or 0.0), length + 1), before
    path: list[str] = []
    at: str | None = max(best, key=lambda name: best[name])
    while at is not None:
        path.append(at)
        at = came[at]
    return tuple(reversed(path))


def in_order(edges: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Sort the subtasks of an acyclic plan topologically, keeping their order otherwise."""
    done: dict[str, None] = {}
    for root in edges:
        stack = [root]
        while stack:
            name = stack[-1]
            waits = [] if name in done else [other for other in edges[name] if other not in done]
            if waits:
                stack.extend(reversed(waits))
            else:
                done.setdefault(stack.pop())
    return list(done)


def levels(edges: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Group subtasks by the length of the longest chain before them; those of one level may run in parallel."""
    depth: dict[str, int] = {}
    for name in in_order(edges):
        depth[name] = 1 + max((depth[other] for other in edges[name]), default=-1)
    found: list[list[str]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for name in edges:
        found[depth[name]].append(name)
    return tuple(map(tuple, found))
