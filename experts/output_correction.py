"""JSON of a model that does not fit its schema is shown to it again, with exactly what is wrong.

At most `CORRECTIONS` times inside one attempt, paid and timed as part of it: asked with the same words, a model gives
the same answer.
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
"""Characters of an answer that its model is shown again."""
LEAST = 0.25
"""Seconds below which no further turn is begun."""


async def corrected(
    model: Model,
    messages: Sequence[Message],
    card: Card,
    schema: Mapping[str, Any],
    read: Callable[[str], Any],
    form: ResponseFormat | None = None,
    rules: Sequence[str] = (),
) -> Completion:
    """A completion whose data, as `read` finds it, fits `schema`, if the model can do it; else its last one.

    Its usage counts every turn. Raises as `written` does for the first turn.
    """
    completion = await written(model, messages, card, form, as_json=True, rules=rules)
    for _ in range(CORRECTIONS):
        problem = await in_thread(misfit, read(completion.text), completion.text, schema)
        if not problem or time_left(card.timeout) < LEAST:
            break
        try:
            again = await written(model, _shown(messages, completion, problem), card, form, as_json=True, rules=rules)
        except ExpertError as error:
            return replace(completion, usage=completion.usage + failed(error, messages))
        completion = replace(again, usage=completion.usage + again.usage)
    return completion


def _shown(messages: Sequence[Message], completion: Completion, problem: str) -> list[Message]:
    """The question again, with the answer and what is wrong with it. Of a long answer the beginning is enough."""
    told = f"That answer cannot be used: {problem}. Answer again, with JSON only that fits the schema."
    return [*messages, Message("assistant", completion.text[:MAX_SHOWN]), Message("user", told)]
