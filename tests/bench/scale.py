"""What the number of experts costs: the same job beside 10, 1,000 and 5,000 experts, all served by one process."""

from __future__ import annotations

import contextlib
from statistics import median

from experts.catalog.loader import versioned
from swarm.types.card import Card
from tests.bench.experts import NAP_CARD, TEMPLATE_CARD
from tests.bench.latency import NO_OP, WARM, asked
from tests.bench.report import Samples
from tests.bench.rig import ROUTER, Rig, rig
from tests.bench.serve import Pool

SIZES = (10, 1_000, 5_000)


async def experts_scale(rounds: int, samples: int = 20) -> Samples:
    """A whole job of one given subtask, submit to answer, in swarms that differ in the number of their experts.

    They stand side by side, each with a Redis, a router and an expert process of its own. Jobs are asked of them in
    turn, one at a time, so that whatever else the machine does meets all of them alike.
    """
    async with contextlib.AsyncExitStack() as stack:
        swarms = {size: await stack.enter_async_context(rig(ROUTER, Pool(), cards=cards(size))) for size in SIZES}
        await _round(swarms, WARM)
        found = [await _round(swarms, samples) for _ in range(rounds)]
    times = {f"job_ms_{size}": [each[size] for each in found] for size in SIZES}
    ratios = {f"ratio_{size}": [each[size] / each[SIZES[0]] for each in found] for size in SIZES[1:]}
    return ratios | times


def cards(count: int) -> list[Card]:
    """The expert that is asked, and others that wait for work beside it."""
    others = (TEMPLATE_CARD.model_copy(update={"name": f"other-{number}"}) for number in range(count - 1))
    return [NAP_CARD, *map(versioned, others)]


async def _round(swarms: dict[int, Rig], samples: int) -> dict[int, float]:
    """The median of so many jobs in each swarm."""
    times: dict[int, list[float]] = {size: [] for size in swarms}
    for _ in range(samples):
        for size, swarm in swarms.items():
            times[size].append(await asked(swarm, NO_OP))
    return {size: median(taken) for size, taken in times.items()}
