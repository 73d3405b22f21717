"""What the swarm takes while it does nothing: waiting, import, idle."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import psutil

from swarm.broker.keys import expert_queue
from swarm.types.plan import Plan
from tests.bench.experts import ABSENT_CARD, HANG_CARD, TEMPLATE_CARD, Nap
from tests.bench.report import Samples
from tests.bench.rig import ROOT, ROUTER, BenchError, Rig, rig, until
from tests.bench.serve import Pool

JOBS, SUBTASKS, TEXT = 10_000, 3, "x" * 200
AT_ONCE = 200
WATCHED = 6.0
"""Seconds over which processor time is compared."""
HEAVY = ("openai", "httpx", "httpx2", "numpy", "arq")
IMPORT = f"""
import json, sys, time
begun, used = time.perf_counter(), time.process_time()
import swarm
taken, spent = time.perf_counter() - begun, time.process_time() - used
from swarm import SwarmClient
client = time.perf_counter() - begun
print(json.dumps([taken * 1000, spent * 1000, client * 1000, sum(name in sys.modules for name in {HEAVY!r})]))
"""


async def waiting(rounds: int) -> Samples:
    """10,000 jobs of three subtasks side by side, all released, all blocked on an expert that no worker serves.

    The request's text has 200 bytes; its plan comes on top. Memory is Redis' `used_memory`, without what a
    growing append-only file buffers; the fleet is one router and two expert processes.
    """
    found: dict[str, list[float]] = {"bytes_per_job": [], "fleet_cpu": [], "redis_cpu": [], "fleet_idle_cpu": []}
    plan = Plan.read([{"id": f"s{n}", "expert": "absent", "instruction": f"Part {n}"} for n in range(SUBTASKS)])
    for _ in range(rounds):
        async with rig(ROUTER, Pool(), Pool(), cards=(Nap.card, ABSENT_CARD)) as bench:
            await asyncio.sleep(1.0)
            idle, empty = await _cpu(bench), await bench.memory()
            for _ in range(JOBS // AT_ONCE):
                await asyncio.gather(*(bench.client.submit(TEXT, plan=plan) for _ in range(AT_ONCE)))
            await until(lambda: _released(bench), "everything is released", timeout=120, pause=0.2)
            await until(lambda: _written(bench), "Redis has written its file", timeout=60, pause=0.2)
            await asyncio.sleep(1.0)
            found["bytes_per_job"].append((await bench.memory() - empty) / JOBS)
            busy = await _cpu(bench)
            found["fleet_cpu"].append(busy[0] - idle[0])
            found["redis_cpu"].append(busy[1] - idle[1])
            found["fleet_idle_cpu"].append(idle[0])
    return found


async def importing(rounds: int) -> Samples:
    """`import swarm` in fresh interpreters, then its client, and how many heavy libraries the two bring along."""
    found: list[list[float]] = []
    for _ in range(rounds + 1):
        said = subprocess.run([sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(json.loads(said.stdout))
    taken, spent, client, heavy = zip(*found[1:], strict=True)  # the first one compiles
    return {"ms": taken, "cpu_ms": spent, "client_ms": client, "heavy": heavy}


async def idle(rounds: int) -> Samples:
    """Resident memory of a worker process that serves instruction experts and has nothing to do."""
    async with rig(cards=(Nap.card, HANG_CARD, TEMPLATE_CARD)) as bench:
        pids = [await bench.start(Pool()) for _ in range(rounds)]
        await asyncio.sleep(2.0)
        memory = [psutil.Process(pid).memory_full_info() for pid in pids]
    return {"rss_mb": [m.rss / 1e6 for m in memory], "uss_mb": [m.uss / 1e6 for m in memory]}


async def _cpu(bench: Rig) -> tuple[float, float]:
    """Per cent of a core that the workers and Redis take now."""
    groups = (bench.pids, [bench.redis])
    before = [sum(map(bench.cpu, group)) for group in groups]
    await asyncio.sleep(WATCHED)
    workers, redis = (sum(map(bench.cpu, group)) - spent for group, spent in zip(groups, before, strict=True))
    return workers / WATCHED * 100, redis / WATCHED * 100


async def _released(bench: Rig) -> bool:
    return await bench.waiting(expert_queue(ABSENT_CARD)) == JOBS * SUBTASKS


async def _written(bench: Rig) -> bool:
    facts = await bench.info("persistence")
    if facts["aof_last_write_status"] != "ok":
        raise BenchError("Redis cannot write its append-only file")
    return facts["aof_rewrite_in_progress"] == "0" and facts["aof_rewrite_scheduled"] == "0"
