"""What goes wrong, and how soon it is right again: recovery, cancel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterable
from statistics import median

from swarm.broker.keys import ADVANCE, expert_queue
from swarm.client.client import Job
from swarm.settings import Settings
from swarm.types.events import Ended, Started
from swarm.types.plan import Plan
from tests.bench.experts import HANG_CARD, NAP_CARD
from tests.bench.model_server import HangingModel
from tests.bench.report import Samples, p95
from tests.bench.rig import ROUTER, BenchError, Rig, naps, rig, until
from tests.bench.serve import Pool

NAPS = expert_queue(NAP_CARD)
READY = 1_000
WORKER = Pool(slots=4)
CALLS = 20
DRAINED = 60.0
STALLS = ((0.5, 1.0), (0.9, 1.1))
"""Seconds that Redis stands still, and runs."""
STALLED_NAP = 3.0

# -- recovery --------------------------------------------------------------------------------------------------


async def recovery(rounds: int) -> Samples:
    """From kill -9 to the start of the rerun, at the default lease, `rounds` times each:

    of the worker that runs a subtask, with nothing else queued and with 1,000 ready; and of a router that has taken
    decisions up, to the moment when all of them are taken up anew. Of several at once the last counts. The three go
    on side by side, each on a Redis of its own. `not_once` counts jobs that did not complete exactly once.
    """
    (empty, one), (ready, two), (router, three) = await asyncio.gather(
        _kill_workers(rounds, 0), _kill_workers(rounds, READY), _kill_routers(rounds)
    )
    return {
        "seconds": empty + ready,
        "empty_seconds": empty,
        "ready_seconds": ready,
        "router_seconds": router,
        "not_once": [one + two + three],
    }


async def _kill_workers(kills: int, ready: int) -> tuple[list[float], int]:
    jobs: list[Job] = []
    killed: dict[str, float] = {}
    async with rig(ROUTER, WORKER, WORKER, WORKER, settings=Settings(window=100)) as bench:
        for _ in range(kills):
            await _load(bench, jobs, ready)
            held = await _held(bench, NAPS)
            victim = _worker(list(held.values())[-1])
            killed[victim] = time.time()
            _, *_ = await asyncio.gather(
                bench.kill(_pid(victim)), bench.start(WORKER), _taken_over(bench, held, _pid(victim))
            )
            # a subtask that loses three workers is poison; ten kills by chance on the same one are not the question
            await _done(bench, [name for name, owner in held.items() if _worker(owner) == victim])
        if ready:
            await bench.start(Pool(slots=400))
        not_once = await _not_once(jobs)
        times = [await _reruns(job, killed) for job in jobs]
    worst = {name: max(found[name] for found in times if name in found) for name in killed}
    return list(worst.values()), not_once


async def stalls(rounds: int) -> Samples:
    """From kill -9 of the worker that runs a subtask to the start of the rerun, while Redis stalls again and again.

    `rounds` kills with each kind of stall, at any moment of it; the two go on side by side, each on a Redis of its own.
    `over_seconds` is what is beyond the stall itself; `not_once` counts jobs that did not complete exactly once.
    """
    (short, one), (long, two) = await asyncio.gather(*(_kill_in_stalls(rounds, stall) for stall in STALLS))
    return {
        "seconds": short + long,
        "over_seconds": [*(s - STALLS[0][0] for s in short), *(s - STALLS[1][0] for s in long)],
        "short_seconds": short,
        "long_seconds": long,
        "not_once": [one + two],
    }


async def _kill_in_stalls(kills: int, stall: tuple[float, float]) -> tuple[list[float], int]:
    jobs: list[Job] = []
    killed: dict[str, float] = {}
    chance = random.Random(kills)
    async with (
        rig(ROUTER, WORKER, WORKER, WORKER, settings=Settings(window=100)) as bench,
        _stalling(bench.redis, stall),
    ):
        for _ in range(kills):
            jobs.append(await bench.client.submit("a bench", plan=naps(STALLED_NAP)))
            await until(lambda: bench.waiting(NAPS, "leases"), "a subtask runs")
            (owner,) = (await _held(bench, NAPS)).values()
            await asyncio.sleep(chance.uniform(0, sum(stall)))
            killed[_worker(owner)] = time.time()
            await asyncio.gather(bench.kill(_pid(_worker(owner))), bench.start(WORKER))
            await jobs[-1].answer(DRAINED)
        not_once = await _not_once(jobs)
        times = [await _reruns(job, killed) for job in jobs]
    return [seconds for found in times for seconds in found.values()], not_once


@contextlib.asynccontextmanager
async def _stalling(pid: int, stall: tuple[float, float]) -> AsyncIterator[None]:
    """Have a process stand still for so many seconds, and run for so many, by turns."""

    async def go_on() -> None:
        try:
            while True:
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(stall[0])
                os.kill(pid, signal.SIGCONT)
                await asyncio.sleep(stall[1])
        finally:
            os.kill(pid, signal.SIGCONT)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _load(bench: Rig, jobs: list[Job], ready: int) -> None:
    """Have at least one subtask running and `ready` more ready."""
    if not ready:
        jobs.append(await bench.client.submit("a bench", plan=naps(0.5)))
    while ready and await bench.waiting(NAPS) < ready:
        jobs.append(await bench.client.submit("a bench", plan=naps(*[0.5] * 100)))
        await asyncio.sleep(0.02)
    await until(lambda: bench.waiting(NAPS, "leases"), "a subtask runs")


async def _reruns(job: Job, killed: dict[str, float]) -> dict[str, float]:
    """Killed worker -> seconds until the last of its subtasks of this job began anew."""
    holder: dict[tuple[str, int], str] = {}
    found: dict[str, float] = {}
    async for event in job.events():
        if isinstance(event, Started):
            before = holder.get((event.subtask, event.attempt))
            if before in killed:
                found[before] = max(found.get(before, 0.0), event.at / 1000 - killed[before])
            holder[event.subtask, event.attempt] = event.worker
    return found


async def _kill_routers(kills: int) -> tuple[list[float], int]:
    jobs: list[Job] = []
    times: list[float] = []
    plan = naps(0.02, 0.02, 0.02, chain=True)
    async with rig(Pool(slots=50), ROUTER, ROUTER) as bench:
        for _ in range(kills):
            batch = [await bench.client.submit("a bench", plan=plan) for _ in range(30)]
            jobs += batch
            pid, at, held = await _freeze_a_router(bench, jobs)
            restart = asyncio.gather(bench.kill(pid), bench.start(ROUTER))
            await _taken_over(bench, held, pid)
            times.append(time.perf_counter() - at)
            await restart
        return times, await _not_once(jobs)


async def _freeze_a_router(bench: Rig, jobs: list[Job]) -> tuple[int, float, dict[str, str]]:
    """Stop a router at a moment when it has claims: its process id, that moment, and the claims."""
    plan = naps(0.02, 0.02, 0.02, chain=True)
    async with asyncio.timeout(DRAINED):
        while True:
            for pid in bench.pids[1:]:
                os.kill(pid, signal.SIGSTOP)
                at = time.perf_counter()
                claims = await _held(bench, ADVANCE)
                if held := {delivery: owner for delivery, owner in claims.items() if _pid(_worker(owner)) == pid}:
                    return pid, at, held
                os.kill(pid, signal.SIGCONT)
                await asyncio.sleep(0.003)
            if not await bench.waiting(ADVANCE):
                jobs.append(await bench.client.submit("a bench", plan=plan))


async def _held(bench: Rig, queue: str) -> dict[str, str]:
    """Delivery -> owner of what is claimed, the latest last."""
    keys = bench.connection.keys
    names = [name.decode() for name in await bench.connection.call("ZRANGE", keys.queue(queue, "leases"), 0, -1)]
    owners = await asyncio.gather(*(bench.connection.call("HGET", keys.delivery(name), "owner") for name in names))
    return {name: owner.decode() for name, owner in zip(names, owners, strict=True) if owner}


async def _taken_over(bench: Rig, held: dict[str, str], pid: int) -> None:
    """Return when nothing of what this process held is its own any more."""
    mine = {delivery: owner for delivery, owner in held.items() if _pid(_worker(owner)) == pid}

    async def gone() -> bool:
        keys = bench.connection.keys
        now = await asyncio.gather(*(bench.connection.call("HGET", keys.delivery(name), "owner") for name in mine))
        return all(owner is None or owner.decode() != mine[name] for name, owner in zip(mine, now, strict=True))

    await until(gone, "what the killed process held is taken over")


async def _done(bench: Rig, deliveries: Iterable[str]) -> None:
    """Return when these deliveries have been run to their end."""
    keys = [bench.connection.keys.delivery(name) for name in deliveries]

    async def gone() -> bool:
        return not await bench.connection.call("EXISTS", *keys)

    await until(gone, "what was taken over is done")


async def _not_once(jobs: Iterable[Job]) -> int:
    """How many did not complete, or not exactly once."""
    wrong = 0
    for job in jobs:
        await job.answer(DRAINED)
        endings = [event.ending async for event in job.events() if isinstance(event, Ended)]
        wrong += endings != ["completed"]
    return wrong


def _worker(owner: str) -> str:
    return owner.rpartition(":")[0]


def _pid(worker: str) -> int:
    """Worker names end in the process id and a little chance."""
    return int(worker.split("-")[-2])


# -- cancel ----------------------------------------------------------------------------------------------------


async def cancel(rounds: int) -> Samples:
    """From cancelling a job to the moment when the model server sees a running call closed; 20 calls each round.

    `ms` is the 95th percentile of a round's calls; `receipt_ms` is when `Job.cancel` returns.
    """
    found: dict[str, list[float]] = {"ms": [], "median_ms": [], "receipt_ms": []}
    plan = Plan.read([{"id": f"s{n}", "expert": "hang", "instruction": "Say hello"} for n in range(CALLS)])
    async with HangingModel() as server:
        pool = Pool(slots=CALLS // 2, environ={"SWARM_ENDPOINT_BENCH_URL": server.url})
        async with rig(ROUTER, pool, pool, cards=[HANG_CARD]) as bench:
            for number in range(rounds + 1):
                times, receipt = await _cancelled(bench, server, plan)
                if number:  # the first one opens what stays open
                    found["ms"].append(p95(times))
                    found["median_ms"].append(median(times))
                    found["receipt_ms"].append(receipt)
    return found


async def _cancelled(bench: Rig, server: HangingModel, plan: Plan) -> tuple[list[float], float]:
    async def running() -> bool:
        return server.open == CALLS

    async def over() -> bool:
        return not server.open

    server.closed.clear()
    job = await bench.client.submit("a bench", plan=plan)
    await until(running, f"{CALLS} calls are open")
    begun = time.perf_counter()
    receipt = await job.cancel()
    returned = time.perf_counter()
    await until(over, "every call is closed", timeout=10)
    if len(server.closed) != CALLS or receipt.ending != "cancelled":
        raise BenchError(f"{len(server.closed)} calls were closed, the job ended {receipt.ending}")
    return [(at - begun) * 1000 for at in server.closed], (returned - begun) * 1000
