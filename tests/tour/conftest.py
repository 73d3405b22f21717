"""The swarm of the tour: two cards, one Python expert, and a client. Read test_1 first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from experts.python_experts import load_implementations
from swarm import Settings, Solution, Subtask, SwarmClient
from workers.embedded import embedded

CARDS = {
    "returns.md": """\
---
name: returns
kind: rag
description: Answers what the returns policy says, with citations.
model: local/extract
documents: policy/
---
Quote the clause you rely on.
""",
    "policy/returns.md": """\
# Returns

A parcel may be returned within 31 days of its delivery. The customer pays for the return of large items.

# Damage

Goods that arrive broken are replaced free of charge.
""",
    "letter.md": """\
---
name: letter
kind: instruction
description: Writes a letter to the customer out of what was found.
model: local/template
---
Dear customer,
{{ instruction }}
{%- for result in results %}
- {{ result.text }}
{%- endfor %}
""",
}


class Carrier:
    """Knows where parcels are, but takes its time."""

    card = {"name": "carrier", "kind": "instruction", "description": "Says where a parcel is.", "version": "1"}

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.sleep(60 if "slowly" in subtask.instruction else 0)
        return Solution(text="Parcel 7 is in Graz.")


@pytest.fixture
async def swarm(settings: Settings, tmp_path: Path) -> AsyncIterator[SwarmClient]:
    """A client of a swarm that runs in this process: router, experts, and the catalog above."""
    for name, text in CARDS.items():
        path = tmp_path / "cards" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    loaded = load_implementations(["tests.tour.conftest:Carrier"])
    async with (
        embedded(settings, {}, tmp_path / "cards", loaded) as url,
        SwarmClient(url, settings=settings) as client,
    ):
        yield client
