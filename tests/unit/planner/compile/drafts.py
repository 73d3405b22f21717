"""Drafts in short, and what they compile to."""

from typing import Any

import pytest

from swarm.errors import BadDraft
from swarm.planner.compile.compiler import Compiled, CompileRules, compiled
from swarm.planner.parse.draft import Draft, DraftStep
from swarm.types.card import Card

LABELS = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "items": {"type": "array", "items": {"type": "object"}}},
}


def card(name: str, description: str = "", output: dict[str, Any] | None = None) -> Card:
    return Card(name=name, kind="instruction", description=description, model="local/template", output=output)


DESK = {
    one.name: one
    for one in (
        card("triage", "Tells what a message is about.", LABELS),
        card("refund-policy", "Answers what our policy says on refunds and returns."),
        card("reply-writer", "Writes a reply to a customer."),
    )
}
MEND = CompileRules(mend_edges=True)
STRICT = CompileRules()


def step(expert: str = "triage", id: str = "", **more: Any) -> DraftStep:
    return DraftStep(expert, id=id, **{"instruction": "do it", **more})


def compile_(*steps: DraftStep, rules: CompileRules = MEND, **more: Any) -> Compiled:
    known = more.pop("known", ())
    return compiled(Draft(steps, **more), DESK, rules, known=known)


def problems(*steps: DraftStep, rules: CompileRules = STRICT, **more: Any) -> list[str]:
    with pytest.raises(BadDraft) as refused:
        compile_(*steps, rules=rules, **more)
    return list(refused.value.problems)


def edges(plan: Compiled) -> dict[str, tuple[str, ...]]:
    return {subtask.id: subtask.depends_on for subtask in plan.subtasks}


def texts(plan: Compiled) -> list[str]:
    return [subtask.instruction for subtask in plan.subtasks]
