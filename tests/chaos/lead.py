"""An expert in plain Python that has its work done by the swarm: what it asks for is drawn from its instruction.

The audit asks the same class, and answers it out of the jobs that it has judged before.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from swarm.errors import AskRefused
from swarm.runtime.expert_context import Context
from swarm.types.answer import Answer
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.chaos.script import chosen, whose

SPEC = "tests.chaos.lead:Lead"
NAME = "lead"
DEEPEST = 3
"""How many jobs may lie inside each other below the one that a caller submits; the default of the settings."""
_WANTED = re.compile(r"Have (\d+) parts done, (\d+) deep\.")
_EXPERTS = ("chat", "chat", "desk", "tuned", "judge", "echo")


class Ask(NamedTuple):
    """One job that is asked for: its text, and who is to answer or the plan."""

    text: str
    expert: str | None = None
    plan: Mapping[str, Any] | None = None


def asking(parts: int, deep: int) -> str:
    """The words of an instruction for a lead; with its tag behind them they are the instruction."""
    return f"Have {parts} parts done, {deep} deep."


def asks_of(instruction: str) -> list[Ask]:
    """What a lead asks for. The first part goes to another lead as long as the jobs are to lie deeper."""
    found = _WANTED.search(instruction)
    if found is None:
        return []
    job, name = whose(instruction)
    parts, deep = int(found[1]), int(found[2])
    return [_ask(f"{job}/{name}.{number}", parts, deep if number == 1 else 1) for number in range(1, parts + 1)]


def _ask(tag: str, parts: int, deep: int) -> Ask:
    if deep > 1:
        return Ask(f"{asking(parts, deep - 1)} tag={tag}", NAME)
    if chosen(f"{tag} in a plan", "yes", "no", "no") == "no":
        return Ask(f"Say what you know of it. tag={tag}", chosen(tag, *_EXPERTS))
    steps = [
        {"id": "t1", "expert": chosen(tag, *_EXPERTS), "instruction": f"Say what you know of it. tag={tag}.a"},
        {"id": "t2", "expert": "echo", "instruction": f"So: ${{t1}} tag={tag}.b"},
    ]
    return Ask(f"See to this part. tag={tag}", plan={"subtasks": steps, "aggregate": "auto"})


class Lead:
    """Joins the endings and the texts of what it asked for."""

    card: Mapping[str, Any] = {
        "name": NAME,
        "kind": "instruction",
        "description": "Has parts of its work done by others.",
        "version": "1",
        "timeout": 40,
    }

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution], context: Context) -> Solution:
        asks = asks_of(subtask.instruction)
        answers = await asyncio.gather(*(_asked(context, ask) for ask in asks))
        return Solution(text=joined(zip(asks, answers, strict=True)))


async def _asked(context: Context, ask: Ask) -> Answer | None:
    """Its answer; None where it would lie too deep."""
    try:
        return await context.ask(ask.text, expert=ask.expert, plan=ask.plan)
    except AskRefused as error:
        if "SWARM_ASK_DEPTH" in str(error):
            return None
        raise


def joined(told: Any) -> str:
    """The text of a lead: a paragraph for each job that it asked for."""
    return "\n\n".join(
        f"Of {'/'.join(whose(ask.text))}: " + ("too deep" if answer is None else f"{answer.ending}, {answer.text}")
        for ask, answer in told
    )
