"""A planner with all its ways, and models that never answer or refuse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from swarm.llm.base import Message, NoModels
from swarm.planner.planner import PlanCache, Planner
from swarm.settings import Settings
from swarm.testing.scripted_model import Script, ScriptedModels
from swarm.types.card import Card, Catalog
from swarm.types.events import Planned
from swarm.types.request import Request

CARDS = {
    name: Card(name=name, kind="instruction", description=text, model="local/template", fallback=fallback)
    for name, text, fallback in (("triage", "Classifies messages", ("reply",)), ("reply", "Writes replies", ()))
}
CATALOG = Catalog(version="v1", cards=CARDS)
TWO = json.dumps(
    {
        "subtasks": [
            {"id": "t1", "expert": "reply", "instruction": "Write one reply"},
            {"id": "t2", "expert": "reply", "instruction": "Write another"},
        ]
    }
)


def a_front(script: Script | None = None, cache: PlanCache | None = None, **settings: Any) -> Planner:
    """A front with a planner's model if there is a script for it."""
    given: dict[str, Any] = {"planner": "test/planner"} if script else {}
    return Planner(Settings(**given, **settings), ScriptedModels(script) if script else NoModels(), cache)


def never(messages: Sequence[Message]) -> str:
    raise AssertionError("the model was asked")


def says(text: str) -> Script:
    return lambda messages: text


class Cache:
    """A plan cache of one plan."""

    def __init__(
        self, planned: Planned | None = None, note: str = "plan cache: nothing near", guess: Planned | None = None
    ) -> None:
        self.planned, self.note, self.guess = planned, note, guess
        self.kept: list[Planned] = []

    async def find(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        return self.planned, self.note

    async def imitate(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        return self.guess, "examples: a guess"

    async def keep(self, request: Request, catalog: Catalog, planned: Planned) -> None:
        self.kept.append(planned)


def experts(planned: Planned) -> list[str]:
    return [subtask.expert for subtask in planned.subtasks]
