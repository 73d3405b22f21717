"""The experts that the benches ask. Worker processes load those in plain Python by import string."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from experts.catalog.loader import versioned
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution

NAP, ABSENT = "tests.bench.experts:Nap", "tests.bench.experts:Absent"


NAP_CARD = versioned(
    Card(name="nap", kind="instruction", description="Sleeps.", model="local/python", implementation=NAP)
)


class Nap:
    """Sleeps for the seconds that its instruction says: `nap 0.1`. `nap 0` does nothing at all."""

    card = NAP_CARD

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        if seconds := float(subtask.instruction.removeprefix("nap ")):
            await asyncio.sleep(seconds)
        return Solution(text="slept")


ABSENT_CARD = versioned(
    Card(name="absent", kind="instruction", description="Never comes.", model="local/python", implementation=ABSENT)
)
"""No worker loads it, so what is asked of it waits."""
HANG_CARD = versioned(Card(name="hang", kind="instruction", description="Asks a model that hangs.", model="bench/hang"))
TEMPLATE_CARD = versioned(
    Card(
        name="echo", kind="instruction", description="Echoes.", model="local/template", instruction="{{ instruction }}"
    )
)
