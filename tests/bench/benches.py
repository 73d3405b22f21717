"""Every bench: its name, how many rounds it runs unless told, and its metrics with their units and bars."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from tests.bench import (
    capacity,
    dags,
    dialects,
    encoder,
    endpoint_faults,
    extract,
    faults,
    footprint,
    heads,
    knowledge,
    latency,
    load,
    overshoot,
    peering,
    planner,
    proof,
    requests,
    scale,
    soak,
    streaming,
    streams,
)  # fmt: skip
from tests.bench.report import Found, Metric, Samples


@dataclass(frozen=True)
class Bench:
    """`metrics` has every metric that `run` may give, the one the bench is known by first.

    `run` is told how many rounds, or how many minutes where that is what `counts` says.
    """

    name: str
    about: str
    run: Callable[[int], Awaitable[Samples | Found]]
    rounds: int
    metrics: dict[str, Metric]
    counts: Literal["rounds", "minutes"] = "rounds"
    in_all: bool = True


ALL = (
    Bench(
        "hop", "enqueue, idle worker, outcome seen", latency.hop, 10,
        {
            "hop_ms": Metric("ms", "≤ 2.5", row="queue hop: enqueue, idle worker, outcome seen", peers="hop_ms"),
            "hop_p95_ms": Metric("ms"),
        },
    ),
    Bench(
        "job", "a job of one given subtask, submit to answer", latency.job, 10,
        {
            "job_ms": Metric("ms", "≤ 6", "4", row="a whole job of one given subtask, submit to answer"),
            "job_p95_ms": Metric("ms"),
        },
    ),
    Bench(
        "experts-scale", "the same job beside 10, 1,000 and 5,000 experts, in turn", scale.experts_scale, 10,
        {
            "ratio_1000": Metric("", "≤ 1.3", row="a job's time beside 1,000 experts, over that beside 10"),
            "ratio_5000": Metric("", row="the same beside 5,000"),
            "job_ms_10": Metric("ms"),
            "job_ms_1000": Metric("ms"),
            "job_ms_5000": Metric("ms"),
        },
    ),
    Bench(
        "chain", "a job that is a chain of five given subtasks", latency.chain, 10,
        {
            "chain5_ms": Metric("ms", "≤ 20", "12", row="a chain of 5 given subtasks (10 hops)", peers="chain5_ms"),
            "chain5_p95_ms": Metric("ms"),
        },
    ),
    Bench(
        "fanout", "a job of 100 subtasks of 100 ms on 100 slots, over 100 ms", latency.fanout, 20,
        {
            "over_ideal_ms": Metric(
                "ms", "≤ 60", "30", row="one job of 100 subtasks of 100 ms on 100 slots, over the ideal",
                peers="over_ideal_ms",
            )
        },
    ),
    Bench(
        "throughput", "no-op subtasks in jobs of ten; one expert process, one router", capacity.throughput, 5,
        {
            "subtasks_per_s": Metric(
                "1/s", "≥ 1,500", "5,000", row="no-op subtasks of one expert process, jobs of 10, advances included",
                peers="tasks_per_s",
            ),
            "worker_cpu_ms": Metric("ms/subtask"), "router_cpu_ms": Metric("ms/subtask"),
            "redis_cpu_ms": Metric("ms/subtask"), "client_cpu_ms": Metric("ms/subtask"),
        },
    ),
    Bench(
        "slots", "16 worker processes with 20 slots each", capacity.slots, 2,
        {
            "busy": Metric("slots", "320", row="16 workers × 20 slots: busy at once"),
            "fill_seconds": Metric("s"),
        },
    ),
    Bench(
        "critical", "a job with a critical path of 2.00 s", latency.critical, 5,
        {
            "seconds": Metric(
                "s", "≤ 2.03", row="a job with a critical path of 2.00 s (0.5 then 0.5 beside 2.0, then a join)",
                peers="critical_s",
            )
        },
    ),
    Bench(
        "rate", "45 subtasks at 20 a second, burst 5, on two worker processes", capacity.rate, 3,
        {
            "seconds": Metric(
                "s", "2.0 to 2.2", "2.00", row="45 subtasks at 20 per second, burst 5, two workers: first to last start"
            ),
            "job_seconds": Metric("s"), "starts_in_a_second": Metric("starts"),
        },
    ),
    Bench(
        "waiting", "10,000 jobs of three subtasks that wait for one expert", footprint.waiting, 1,
        {
            "bytes_per_job": Metric(
                "bytes", "≤ 10,000", row="10,000 jobs of 3 subtasks blocked on one paused expert: Redis memory each"
            ),
            "fleet_cpu": Metric("% of a core", "≤ 2", row="the same: CPU of the fleet above idle"),
            "redis_cpu": Metric("% of a core"), "fleet_idle_cpu": Metric("% of a core"),
        },
    ),
    Bench("load", "hops, processor time and memory with many jobs in flight", load.load, 1, load.METRICS),
    Bench("dags", "makespan over critical path, real DAG shapes, jobs at once", dags.dags, 2, dags.METRICS),
    Bench(
        "recovery", "kill -9 to rerun at the default lease; max is the worst", faults.recovery, 10,
        {
            "seconds": Metric("s", "≤ 2.5"),
            "empty_seconds": Metric("s", "≤ 2.5", row="rerun after kill -9 of a worker, queue empty"),
            "ready_seconds": Metric("s", "≤ 2.5", row="rerun after kill -9 of a worker, 1,000 ready"),
            "router_seconds": Metric("s", "≤ 2.5", row="rerun after kill -9 of a router"),
            "not_once": Metric("jobs", "0", row="jobs of these that did not complete exactly once"),
        },
    ),
    Bench(
        "stalls", "kill -9 to rerun while Redis stalls again and again; max is the worst", faults.stalls, 20,
        {
            "seconds": Metric("s"),
            "over_seconds": Metric(
                "s", "≤ 2.5", row="rerun after kill -9 while Redis stalls again and again, over a stall"
            ),
            "short_seconds": Metric("s"), "long_seconds": Metric("s"), "not_once": Metric("jobs", "0"),
        },
    ),
    Bench("overshoot", "spent at the model server over the budget", overshoot.overshoot, 3, overshoot.METRICS),
    Bench("dialects", "the demo over each kind of model server", dialects.dialects, 1, dialects.METRICS),
    Bench("chaos", "jobs lost or ended twice, all faults", proof.chaos, 1, proof.METRICS),
    Bench(
        "cancel", "cancel to running calls closed at the model server, p95", faults.cancel, 10,
        {
            "ms": Metric("ms", "≤ 100", row="cancel: running calls closed, at the model server, p95"),
            "median_ms": Metric("ms"), "receipt_ms": Metric("ms"),
        },
    ),
    Bench(
        "faults", "one job for each fault of a model server", endpoint_faults.endpoint_faults, 1,
        endpoint_faults.METRICS,
    ),
    Bench(
        "streams", "200 streamed answers through one router process; half of them are cancelled", streams.streams, 3,
        streams.METRICS,
    ),
    Bench(
        "import", "import swarm in a fresh interpreter", footprint.importing, 15,
        {
            "ms": Metric("ms", "≤ 150", row="`import swarm`"),
            "cpu_ms": Metric("ms"),
            "client_ms": Metric("ms", row="`from swarm import SwarmClient`, redis and pydantic included"),
            "heavy": Metric("libraries", "0", row="heavy libraries that they load"),
        },
    ),
    Bench(
        "idle", "memory of an idle instruction worker process", footprint.idle, 3,
        {
            "rss_mb": Metric("MB", "≤ 80", row="idle instruction worker, no head or encoder loaded"),
            "uss_mb": Metric("MB"),
        },
    ),
    Bench("heads", "labels by the encoder's vectors, on Banking77 and SNIPS", heads.heads, 1, heads.METRICS),
    Bench("encoder", "texts to vectors and reranking, one thread", encoder.encoder, 3, encoder.METRICS),
    Bench("peers", "other queues and frameworks, on this machine", peering.peers, 3, peering.METRICS),
    Bench(
        "streaming", "makespan with the plan's text first, over that with it streamed; recorded shapes and latencies",
        streaming.streaming, 2,
        {name: Metric(unit, "> 1" if name == "gain" else "") for name, unit in streaming.UNITS.items()},
        in_all=False,
    ),
    Bench(
        "planner", "plans without a model, with a plan cache, and skipped planners, on recorded requests",
        planner.planner, 1, {name: Metric(unit, planner.BARS.get(name, "")) for name, unit in planner.UNITS.items()},
        in_all=False,
    ),
    Bench(
        "requests", "everyday requests over 12 cards, planned without a model",
        requests.requests, 1,
        {name: Metric(unit, requests.BARS.get(name, "")) for name, unit in requests.UNITS.items()},
        in_all=False,
    ),
    Bench(
        "knowledge", "passages found for questions of SQuAD: how well, and how fast at 10,000 passages",
        knowledge.knowledge, 1, knowledge.METRICS, in_all=False,
    ),
    Bench(
        "extract", "answers by quotes to questions of SQuAD: how well they hold the answer, and what is refused",
        extract.extract, 1, extract.METRICS, in_all=False,
    ),
    Bench(
        "soak", "memory under a steady load; what grows after the first minutes", soak.soak, 20, soak.METRICS,
        counts="minutes", in_all=False,
    ),
)  # fmt: skip
BY_NAME = {bench.name: bench for bench in ALL}
