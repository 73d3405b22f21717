"""How close whole jobs come to their critical path, on DAGs as planners and people have drawn them.

The shapes are development data beside the checkout; without them there is nothing to measure.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from swarm.types.plan import Plan, Subtask
from tests.bench.data import recorded
from tests.bench.report import Found, Metric, p95
from tests.bench.rig import ROUTER, BenchError, Rig, naps, rig
from tests.bench.serve import Pool

JOBS = {1: 10, 10: 50, 100: 200}
"""Jobs at once -> jobs in a round."""
CRITICAL = 1.0
"""Seconds. The naps of a shape are scaled to it."""
SLOTS = 1_000
METRICS = {
    f"{name}_{count}": metric
    for count in JOBS
    for name, metric in (
        ("ratio", Metric("x", row=f"makespan over critical path (1 s), real DAG shapes, jobs at once: {count}")),
        ("ratio_p95", Metric("x")),
    )
}


async def dags(rounds: int) -> Found:
    """Submit to answer, over the longest path through the job's subtasks, at 1, 10 and 100 jobs at once.

    `ratio` is the median over a round's jobs. Subtasks nap as long as people said that they take where the shape says
    so, else by chance between half and one and a half times their mean, scaled so that the longest path is 1 s.
    """
    shapes = _shapes()
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    async with rig(ROUTER, Pool(slots=SLOTS)) as bench:
        await bench.client.ask("a bench", plan=naps(0))
        for number in range(rounds):
            for count, jobs in JOBS.items():
                chance = random.Random(f"{number} {count}")
                ratios = await _round(bench, [_plan(shape, chance) for shape in chance.sample(shapes, jobs)], count)
                found[f"ratio_{count}"].append(median(ratios))
                found[f"ratio_p95_{count}"].append(p95(ratios))
    sizes = sorted(shape["n"] for shape in shapes)
    return Found(
        found, (f"{len(shapes):,} shapes of 2 to {sizes[-1]} subtasks, half of them of {median(sizes):g} or fewer",)
    )


async def _round(bench: Rig, plans: Sequence[Plan], count: int) -> list[float]:
    """The ratios of these jobs, `count` of which are under way at any time."""
    left, jobs = iter(plans), list[str]()

    async def one_after_the_other() -> list[float]:
        return [await _ratio(bench, plan, jobs) for plan in left]

    found = await asyncio.gather(*(one_after_the_other() for _ in range(count)))
    await bench.check_once(jobs)
    return [ratio for ratios in found for ratio in ratios]


async def _ratio(bench: Rig, plan: Plan, jobs: list[str]) -> float:
    begun = time.perf_counter()
    answer = await bench.client.ask("a bench", plan=plan)
    taken = time.perf_counter() - begun
    if answer.ending != "completed":
        raise BenchError(f"a job ended {answer.ending}: {answer.reason}")
    jobs.append(answer.job)
    return taken / CRITICAL


# -- shapes ------------------------------------------------------------------------------------------------------


def critical_path(waits: Mapping[int, Sequence[int]], seconds: Sequence[float]) -> float:
    """The longest way through the nodes, each of which waits for those in `waits`."""
    done: dict[int, float] = {}

    def until_done(node: int) -> float:
        if node not in done:
            done[node] = seconds[node] + max((until_done(other) for other in waits.get(node, ())), default=0.0)
        return done[node]

    return max(until_done(node) for node in range(len(seconds)))


def _plan(shape: Mapping[str, Any], chance: random.Random) -> Plan:
    waits: dict[int, list[int]] = {}
    for before, after in shape["edges"]:
        waits.setdefault(after, []).append(before)
    raw = shape.get("dur") or [chance.uniform(0.5, 1.5) for _ in range(shape["n"])]
    scale = CRITICAL / critical_path(waits, raw)
    return Plan(
        subtasks=tuple(
            Subtask(
                id=f"t{node}",
                expert="nap",
                instruction=f"nap {seconds * scale:.6f}",
                depends_on=tuple(f"t{other}" for other in waits.get(node, ())),
            )
            for node, seconds in enumerate(raw)
        ),
        aggregate="join",
    )


def _shapes() -> list[dict[str, Any]]:
    with recorded("dag_shapes.jsonl").open() as lines:
        return [shape for shape in map(json.loads, lines) if shape["n"] > 1]
