"""Every bench: its name, how many rounds it runs unless told, and its metrics with their units and bars."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.bench import capacity, faults, footprint, latency, planner, streaming
from tests.bench.report import Samples


@dataclass(frozen=True)
class Bench:
    """`units` has every metric that `run` gives, the one the bench is known by first. Bars are shown, never checked."""

    name: str
    about: str
    run: Callable[[int], Awaitable[Samples]]
    rounds: int
    units: dict[str, str]
    bars: dict[str, str] = field(default_factory=dict)


ALL = (
    Bench(
        "hop", "enqueue, idle worker, outcome seen", latency.hop, 10,
        {"hop_ms": "ms", "hop_p95_ms": "ms", "told_ms": "ms"}, {"hop_ms": "<= 2.5"},
    ),
    Bench(
        "job", "a job of one given subtask, submit to answer", latency.job, 10,
        {"job_ms": "ms", "job_p95_ms": "ms"}, {"job_ms": "<= 6, aim 4"},
    ),
    Bench(
        "chain", "a job that is a chain of five given subtasks", latency.chain, 10,
        {"chain5_ms": "ms", "chain5_p95_ms": "ms"}, {"chain5_ms": "<= 20, aim 12"},
    ),
    Bench(
        "fanout", "a job of 100 subtasks of 100 ms on 100 slots, over 100 ms", latency.fanout, 20,
        {"over_ideal_ms": "ms"}, {"over_ideal_ms": "<= 60, aim 30"},
    ),
    Bench(
        "throughput", "no-op subtasks in jobs of ten; one expert process, one router", capacity.throughput, 5,
        {
            "subtasks_per_s": "1/s", "worker_cpu_ms": "ms/subtask", "router_cpu_ms": "ms/subtask",
            "redis_cpu_ms": "ms/subtask", "client_cpu_ms": "ms/subtask",
        },
        {"subtasks_per_s": ">= 1500, aim 5000"},
    ),
    Bench(
        "slots", "16 worker processes with 20 slots each", capacity.slots, 2,
        {"busy": "slots", "fill_seconds": "s"}, {"busy": "320"},
    ),
    Bench(
        "dag", "a job with a critical path of 2.00 s", latency.dag, 5, {"seconds": "s"}, {"seconds": "<= 2.03"},
    ),
    Bench(
        "waiting", "10,000 jobs of three subtasks that wait for one expert", footprint.waiting, 1,
        {
            "bytes_per_job": "bytes", "fleet_cpu": "% of a core", "redis_cpu": "% of a core",
            "fleet_idle_cpu": "% of a core",
        },
        {"bytes_per_job": "<= 10,000", "fleet_cpu": "<= 2"},
    ),
    Bench(
        "recovery", "kill -9 to rerun at the default lease; max is the worst", faults.recovery, 10,
        {"seconds": "s", "empty_seconds": "s", "ready_seconds": "s", "router_seconds": "s", "not_once": "jobs"},
        {"seconds": "<= 2.5", "empty_seconds": "<= 2.5", "ready_seconds": "<= 2.5", "router_seconds": "<= 2.5",
         "not_once": "0"},
    ),
    Bench(
        "cancel", "cancel to running calls closed at the model server, p95", faults.cancel, 10,
        {"ms": "ms", "median_ms": "ms", "receipt_ms": "ms"}, {"ms": "<= 100"},
    ),
    Bench(
        "streaming", "makespan with the plan's text first, over that with it streamed; recorded shapes and latencies",
        streaming.streaming, 2, streaming.UNITS, {"gain": "> 1"},
    ),
    Bench(
        "planner", "plans without a model, with a plan cache, and skipped planners, on recorded requests",
        planner.planner, 1, planner.UNITS, planner.BARS,
    ),
    Bench(
        "import", "import swarm in a fresh interpreter", footprint.importing, 15,
        {"ms": "ms", "cpu_ms": "ms", "heavy": "libraries"}, {"ms": "<= 150", "heavy": "0"},
    ),
    Bench(
        "idle", "memory of an idle instruction worker process", footprint.idle, 3,
        {"rss_mb": "MB", "uss_mb": "MB"}, {"rss_mb": "<= 80"},
    ),
)  # fmt: skip
BY_NAME = {bench.name: bench for bench in ALL}
