"""Experts that consist of an instruction: a prompt for a model, or a template that needs no model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from experts.base import Expert, LoadBlob, time_left
from experts.kinds import TEMPLATE
from experts.limited_completion import written
from experts.output_correction import corrected
from experts.output_schema import find_json
from experts.prompt_inputs import fenced, inline, wish
from swarm.llm.base import Message, Model, Models, ResponseFormat
from swarm.llm.fallback import with_fallbacks
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution

DEFAULT_INSTRUCTION = "Answer the request. Be brief and exact; say so when you do not know."


async def build(card: Card, load_blob: LoadBlob, models: Models) -> Expert:
    """Build the expert of an instruction card."""
    if card.model == TEMPLATE:
        return TemplateExpert(card)
    return ChatExpert(card, model_of(card, models))


def model_of(card: Card, models: Models) -> Model:
    """The model of a card behind an endpoint, with its fallback models."""
    return with_fallbacks(models, (card.model, *card.fallback_models))


class ChatExpert:
    """Asks a model with the card's body as the system message. Also used for tuned models behind endpoints."""

    def __init__(self, card: Card, model: Model) -> None:
        self.card, self.model = card, model

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        schema = subtask.output or self.card.output
        messages = [
            Message("system", system_text(self.card.instruction, schema)),
            Message("user", fenced(subtask.instruction, inputs)),
        ]
        response_format = ResponseFormat(self.card.name, schema) if schema else None
        if schema:
            completion = await corrected(self.model, messages, self.card, schema, data_in, response_format)
        else:
            completion = await written(self.model, messages, self.card)
        data = data_in(completion.text) if schema else None
        return Solution(
            text=completion.text,
            data=data,
            model=completion.model,
            usage=completion.usage,
            caveats=("cut",) if completion.cut else (),
            failed_models=completion.failed,
        )


class TemplateExpert:
    """Renders the card's body as a template. Its variables are:

    * `instruction`: the subtask's, with every `${...}` replaced by its value, and without the result lines that a
      planner appended, since they are in `results`;
    * `results`: a list of `{id, text, data, citations, confidence}` of its inputs, in plan order;
    * `inputs` and `data`: the texts and the data alone, by subtask id.

    With an output schema, the rendered text is parsed as JSON.
    """

    def __init__(self, card: Card) -> None:
        from experts.instruction.template import compiled

        self.card = card
        self._template = compiled(card.instruction)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        from experts.instruction.template import render

        values = {
            "instruction": inline(wish(subtask.instruction), inputs),
            "results": [_seen(name, solution) for name, solution in inputs.items()],
            "inputs": {name: solution.text for name, solution in inputs.items()},
            "data": {name: solution.data for name, solution in inputs.items()},
        }
        text = await in_thread(render, self._template, values, time_left(self.card.timeout))
        data = data_in(text) if subtask.output or self.card.output else None
        citations = dict.fromkeys(cited for solution in inputs.values() for cited in solution.citations)
        words = " ".join(text.split())
        used = tuple(cited for cited in citations if " ".join(cited.quote.split()) in words)
        return Solution(text=text, data=data, citations=used, model=self.card.model)


def system_text(instruction: str, schema: Mapping[str, Any] | None) -> str:
    """The system message: the card's body, and the output schema if there is one."""
    text = instruction or DEFAULT_INSTRUCTION
    if not schema:
        return text
    return f"{text}\n\nAnswer with JSON only, fitting this JSON schema:\n{json.dumps(schema, ensure_ascii=False)}"


def data_in(text: str) -> Any:
    """The JSON in an answer, or None. It does not raise, so that the usage is kept; the schema check follows."""
    try:
        return find_json(text)
    except ValueError:
        return None


def _seen(name: str, solution: Solution) -> dict[str, Any]:
    """A solution as plain values, since templates must not reach the product's objects."""
    return {"id": name, **solution.model_dump(include={"text", "data", "citations", "confidence"})}
