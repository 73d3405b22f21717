"""Asks a model to correct JSON that violates its schema, showing it the answer and the exact problem.

There are at most `CORRECTIONS` such turns in one attempt, within its time and budget. A repetition of the same prompt
would only give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experts.base import time_left
from experts.limited_completion import written
from experts.output_schema import misfit
from swarm.errors import ExpertError
from swarm.llm.base import Completion, Message, Model, ResponseFormat
from swarm.llm.openai.usage import failed
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Card

CORRECTIONS = 2
MAX_SHOWN = 8_000
"""Maximum characters of the rejected answer in the correction prompt."""
LEAST = 0.25
"""Minimum seconds left for starting another turn."""


async def corrected(
    model: Model,
    messages: Sequence[Message],
    card: Card,
    schema: Mapping[str, Any],
    read: Callable[[str], Any],
    response_format: ResponseFormat | None = None,
    rules: Sequence[str] = (),
) -> Completion:
    """Request a completion until the data that `read` finds in it fits `schema`; else return the last one.

    Its usage includes every turn. Raises as `written` does for the first turn.
    """
    completion = await written(model, messages, card, response_format, as_json=True, rules=rules)
    for _ in range(CORRECTIONS):
        problem = await in_thread(misfit, read(completion.text), completion.text, schema)
        if not problem or time_left(card.timeout) < LEAST:
            break
        try:
            again = await written(
                model, _shown(messages, completion, problem), card, response_format, as_json=True, rules=rules
            )
        except ExpertError as error:
            return replace(completion, usage=completion.usage + failed(error, messages))
        completion = replace(again, usage=completion.usage + again.usage)
    return completion


def _shown(messages: Sequence[Message], completion: Completion, problem: str) -> list[Message]:
    """The messages of a correction turn: the first ones, the answer (cut to MAX_SHOWN), and the problem."""
    remark = f"That answer cannot be used: {problem}. Answer again, with JSON only that fits the schema."
    return [*messages, Message("assistant", completion.text[:MAX_SHOWN]), Message("user", remark)]
