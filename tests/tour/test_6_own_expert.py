"""An expert in plain Python is a class with a card and one coroutine. Fallbacks and retries are its card's affair.

The `Carrier` of conftest.py is one too. A worker is told which to load: `swarm worker --import acme.stock:Stock`.
"""

from collections.abc import Mapping
from pathlib import Path

from experts.python_experts import load_implementations
from swarm import Settings, Solution, Subtask, SwarmClient
from swarm.errors import ModelUnavailable
from workers.embedded import embedded


class Stock:
    """Counts what is in stock. What it knows for programs is `data`, what it says to people is `text`."""

    card = {
        "name": "stock",
        "kind": "instruction",
        "description": "Says how many pieces of a product are in stock.",
        "version": "1",
        "output": {"type": "object", "properties": {"pieces": {"type": "integer"}}, "required": ["pieces"]},
    }

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text="There are 3 left.", data={"pieces": 3})


class Warehouse:
    """Fails as long as nobody is there. Its card names who answers then."""

    card = {
        "name": "warehouse",
        "kind": "instruction",
        "description": "Asks the warehouse.",
        "version": "1",
        "fallback": ["stock"],
    }

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        raise ModelUnavailable("nobody at the warehouse", retry_after=0.01)


async def test_an_expert_of_ones_own(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "letter.md").write_text(
        "---\nname: letter\nkind: instruction\ndescription: Writes.\nmodel: local/template\n---\n{{ instruction }}\n"
    )
    own = load_implementations([f"{__name__}:Stock", f"{__name__}:Warehouse"])
    plan = [
        {"id": "count", "expert": "warehouse", "instruction": "How many lamps are there?"},
        {"id": "reply", "expert": "letter", "instruction": "We have ${count.pieces} lamps."},
    ]
    async with embedded(settings, {}, tmp_path, own) as url, SwarmClient(url, settings=settings) as swarm:
        answer = await swarm.ask("Reply to the customer", plan=plan)

    assert answer.text == "We have 3 lamps."
