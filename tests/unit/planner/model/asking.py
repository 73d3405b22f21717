"""Plans as a model writes them, and a planner that asks for one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from swarm.llm.base import Completion, Message
from swarm.planner.model.planner import ModelPlanner
from swarm.settings import Settings
from swarm.testing.scripted_model import Script, ScriptedModel
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Subtask

CARDS = {
    name: Card(name=name, kind="instruction", description=text, model="openai/x", fallback=fallback)
    for name, text, fallback in (
        ("triage", "Sorts messages by topic", ("reply",)),
        ("policy", "Knows the refund policy", ()),
        ("reply", "Writes replies to customers", ()),
    )
}
REQUEST = "Sort this message, look up the policy and write a reply: 'My lamp is broken'"


def step(name: str, expert: str, instruction: str = "do it", *after: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "expert": expert, "instruction": instruction, "depends_on": list(after), **more}


def plan_text(*steps: Mapping[str, Any], aggregate: str = "pass") -> str:
    return json.dumps({"subtasks": steps, "aggregate": aggregate})


GOOD = plan_text(step("t1", "triage"), step("t2", "policy"), step("t3", "reply", "with ${t1} and ${t2}", "t1", "t2"))
UNKNOWN = plan_text(step("t1", "triage"), step("t2", "moonlanding"))


def answers(*texts: str | Completion | Exception) -> Script:
    """One after the other; the last for ever."""
    left = list(texts)

    def script(messages: Sequence[Message]) -> str | Completion:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return script


class Published:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.events: list[Planned] = []

    async def __call__(self, planned: Planned) -> None:
        self.events.append(planned)

    @property
    def subtasks(self) -> list[Subtask]:
        return [subtask for event in self.events for subtask in event.subtasks]


async def plan(script: Script, text: str = REQUEST, **more: Any) -> tuple[Planned, ScriptedModel]:
    model = ScriptedModel(script, "test/planner")
    settings = Settings(**{"planner": "test/planner", "plan_timeout": 120.0, **more.pop("settings", {})})
    return await ModelPlanner(model, settings).plan(text, more.pop("cards", CARDS), **more), model


def experts(planned: Planned) -> list[str]:
    return [subtask.expert for subtask in planned.subtasks]


# -- streamed ------------------------------------------------------------------------------------------------------


def stream(*texts: str | Exception, size: int = 7) -> Callable[[Sequence[Message]], AsyncIterator[str]]:
    """Each call gets the next text in small pieces; an exception after it breaks the stream off."""
    left = list(texts)

    async def script(messages: Sequence[Message]) -> AsyncIterator[str]:
        text = left.pop(0) if len(left) > 1 else left[0]
        assert isinstance(text, str)
        for at in range(0, len(text), size):
            yield text[at : at + size]
        if left and isinstance(left[0], Exception):
            error = left.pop(0)
            assert isinstance(error, Exception)
            raise error

    return script
