"""Questions for an answer out of several results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swarm.answer.synthesis import SynthesisQuestion, question
from swarm.types.plan import Subtask
from swarm.types.result import Solution


def subtasks(*ids: str, instruction: str = "look it up") -> list[Subtask]:
    return [Subtask(id=i, expert=f"x-{i.rpartition('.')[2]}", instruction=instruction) for i in ids]


def asked(
    results: Mapping[str, str], request: str = "What is up?", *, sections: Sequence[str] | None = None, **more: Any
) -> SynthesisQuestion:
    found = question(
        request,
        subtasks(*results),
        list(results) if sections is None else sections,
        {i: Solution(text=text) for i, text in results.items()},
        more.pop("missing", ()),
        **more,
    )
    assert isinstance(found, SynthesisQuestion)
    return found


def prompt(found: SynthesisQuestion) -> str:
    return "\n\n".join(message.content for message in found.messages)
