"""`{{request}}` in a model's instruction: it stands for the words of the request, which the model need not copy.

While a draft is compiled a mark stands there instead, since nothing in a request may be taken for a reference.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from swarm.errors import BadDraft
from swarm.planner.draft import Draft, DraftStep
from swarm.planner.local import MAX_PLAN
from swarm.plans import Subtask
from swarm.values import MAX_TEXT

_OURS = r"\{\{\s{0,8}request\s{0,8}\}\}"
_BY_NAME = re.compile(_OURS)
_PLACEHOLDER = re.compile(rf"{_OURS}|\$\{{request\}}")
_MARK = "\ufdd2"
"""A character that no text has: it is reserved for use inside programs."""


def marked(draft: Draft, known: Collection[str] = ()) -> Draft:
    """The draft with a mark for each placeholder in an instruction, or in an argument that is a text.

    `${request}` is one too, unless a step or one of the `known` results is called so.
    """
    called = "request" in known or any(step.id == "request" for step in draft.steps)
    pattern = _BY_NAME if called else _PLACEHOLDER
    return replace(draft, steps=tuple(_marked(step, pattern) for step in draft.steps))


def bound(subtasks: tuple[Subtask, ...], request: str) -> tuple[Subtask, ...]:
    """The subtasks with the words of the request, which must hold no reference, for each mark.

    Raises BadDraft if an instruction, or the whole plan, would be too long.
    """
    size = len(request.encode())
    sizes = [len(s.instruction.encode()) + s.instruction.count(_MARK) * size for s in subtasks]
    if max(sizes, default=0) > MAX_TEXT or sum(sizes) > MAX_PLAN:
        raise BadDraft(
            [f"the instructions come to {sum(sizes):,} bytes with the request in them; use {{{{request}}}} less"]
        )
    return tuple(
        s.model_copy(update={"instruction": s.instruction.replace(_MARK, request)}) if _MARK in s.instruction else s
        for s in subtasks
    )


def _marked(step: DraftStep, pattern: re.Pattern[str]) -> DraftStep:
    arguments = {
        name: pattern.sub(_MARK, value) if isinstance(value, str) else value for name, value in step.arguments.items()
    }
    return replace(step, instruction=pattern.sub(_MARK, step.instruction), arguments=arguments)
