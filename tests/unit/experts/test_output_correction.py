"""JSON that does not fit is shown to its model again, with exactly what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from experts.documents.markdown import read_text
from experts.instruction.expert import ChatExpert
from experts.outcome import judged
from experts.rag.expert import CitingExpert, indexed
from swarm.errors import ModelUnavailable
from swarm.llm.base import Message, Models
from swarm.llm.fallback import with_fallbacks
from swarm.testing.scripted_model import ScriptedModel, ScriptedModels
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import FailedModel, Failure, Solution

SCHEMA = {"type": "object", "properties": {"label": {"enum": ["refund", "other"]}}, "required": ["label"]}
SORT = Subtask(id="t1", expert="sorter", instruction="My lamp broke, money back!")


def sorter(**changes: object) -> Card:
    fields = {"name": "sorter", "kind": "instruction", "description": "d", "model": "box/small", "output": SCHEMA}
    return Card.model_validate(fields | changes)


def learning(messages: Sequence[Message]) -> str:
    """Does better once it is shown what it said."""
    return '{"label": "refund"}' if "banana" in messages[-1].content else '{"label": "banana"}'


async def test_the_second_answer_knows_the_first_and_what_was_wrong_with_it() -> None:
    model = ScriptedModel(learning, "box/small")

    solution = await ChatExpert(sorter(), model).solve(SORT, {})

    assert solution.data == {"label": "refund"}
    assert (solution.usage.calls, len(model.calls)) == (2, 2)
    *before, own, told = model.calls[1]
    assert tuple(before) == model.calls[0]
    assert own == Message("assistant", '{"label": "banana"}')
    assert "label: 'banana' is not one of ['refund', 'other']" in told.content


async def test_a_model_is_corrected_twice_at_most_and_pays_for_every_turn() -> None:
    model = ScriptedModel(lambda messages: '{"label": "banana"}', "box/small")

    solution = await ChatExpert(sorter(), model).solve(SORT, {})
    outcome = await judged(solution, sorter(), SORT)

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.usage.calls, len(model.calls)) == ("bad_output", 3, 3)


async def test_a_correction_that_fails_leaves_the_answer_that_was_there() -> None:
    said = iter(['{"label": "banana"}'])

    def once(messages: Sequence[Message]) -> str:
        if (text := next(said, None)) is None:
            raise ModelUnavailable("gone")
        return text

    solution = await ChatExpert(sorter(), ScriptedModel(once, "box/small")).solve(SORT, {})

    assert solution.data == {"label": "banana"}


async def test_words_that_are_no_json_are_shown_as_well() -> None:
    model = ScriptedModel(lambda m: '{"label": "other"}' if len(m) > 2 else "I think it is a refund.", "box/small")

    solution = await ChatExpert(sorter(), model).solve(SORT, {})

    assert solution.data == {"label": "other"}
    assert "has no JSON" in model.calls[1][-1].content


async def test_an_answer_from_documents_is_corrected_too() -> None:
    index = indexed([read_text("a.md", "# Lamps\n\nA broken lamp is refunded within 14 days.")])
    model = ScriptedModel(learning, "box/small")
    card = sorter(kind="rag")

    solution = await CitingExpert(card, index, model).solve(SORT, {})

    assert (solution.data, solution.usage.calls) == ({"label": "refund"}, 2)


async def test_a_solution_names_the_models_that_failed_before_the_one_that_answered() -> None:
    class Rooms(ScriptedModels):
        def get(self, name: str) -> ScriptedModel:
            found = super().get(name)
            if name == "box/big":
                found.script = gone
            return found

    def gone(messages: Sequence[Message]) -> str:
        raise ModelUnavailable("the server is down")

    models: Models = Rooms(lambda messages: "yes")
    card = sorter(output=None)

    solution = await ChatExpert(card, with_fallbacks(models, ("box/big", "box/spare"))).solve(SORT, {})

    assert isinstance(solution, Solution)
    assert (solution.model, solution.failed_models) == (
        "box/spare",
        (FailedModel(model="box/big", reason="unavailable"),),
    )
