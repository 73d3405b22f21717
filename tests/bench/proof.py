"""The row of `tests.chaos`: jobs lost, ended twice or overspent while everything breaks. Its long run is by hand."""

from __future__ import annotations

import json
import sys

from tests.bench.commands import run
from tests.bench.report import Metric, Samples

JOBS = 100
SECONDS = 400.0
METRICS = {
    "lost": Metric("jobs", "0", row=f"jobs lost, of {JOBS} in chaos"),
    "ended_twice": Metric("jobs", "0", row=f"jobs ended twice, of {JOBS} in chaos"),
    "over_budget": Metric("jobs", "0", row=f"jobs over their budget, of {JOBS} in chaos"),
    "rerun_s": Metric("s", "≤ 2.5"),
    "accepted": Metric("jobs"),
    "seconds": Metric("s"),
}


async def chaos(rounds: int) -> Samples:
    """One seed of `tests.chaos` each round, with all faults."""
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for seed in range(1, rounds + 1):
        command = [sys.executable, "-m", "tests.chaos", "--jobs", str(JOBS), "--seed", str(seed), "--json"]
        told = json.loads(await run(command, SECONDS, fine=(0, 1)))
        found["lost"].append(len(told["found"].get("lost", ())))
        found["ended_twice"].append(len(told["found"].get("ended_twice", ())))
        found["over_budget"].append(len(told["found"].get("overspent", ())))
        found["accepted"].append(told["accepted"])
        found["seconds"].append(told["seconds"])
        if "median" in told["recovery"]["alone"]:
            found["rerun_s"].append(told["recovery"]["alone"]["median"])
    return {name: values for name, values in found.items() if values}
