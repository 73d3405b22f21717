"""What is asked of a model again, and when it is given up."""

from __future__ import annotations

from itertools import product

from swarm.planner.model.prompt import PROBLEMS
from swarm.planner.model.shortlist import CANDIDATES, MOST
from swarm.types.card import Card
from tests.unit.planner.model.asking import answers, plan, plan_text, step


async def test_names_of_no_expert_add_only_so_many_candidates() -> None:
    cards = {
        f"expert-{word}-{i}": Card(
            name=f"expert-{word}-{i}", kind="instruction", description=f"Knows {word}", model="openai/x"
        )
        for word in ("".join(letters) for letters in product("abcde", "vwxyz", "klmno"))
        for i in range(5)
    }
    steps = (step(f"t{i}", f"{word}-knower") for i, word in enumerate({card.split("-")[1] for card in cards}))
    _, model = await plan(answers(plan_text(*steps)), cards=cards, settings={"max_subtasks": 200})

    assert model.requests[1].format is not None
    shown = model.requests[1].format.schema["properties"]["subtasks"]["items"]["anyOf"][0]["properties"]["expert"][
        "enum"
    ]
    assert MOST < len(shown) <= MOST + CANDIDATES * PROBLEMS
