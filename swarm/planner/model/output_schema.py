"""Describe the form of a plan to a model: a JSON schema, examples and a skeleton. Pure.

Examples and skeleton are built from the classes that validate the answer and written by `json.dumps`, since models copy
an example to the letter rather than follow a rule.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from swarm.llm.base import ResponseFormat
from swarm.planner.compile.foreign_references import IDS
from swarm.types.card import Card
from swarm.types.plan import Aggregate, Condition, Plan, Subtask

_ORDER = ("when", "for_each", "id", "expert", "instruction", "depends_on")
_AGGREGATES = [way for way in get_args(Aggregate) if way != "auto"]


def response_format(cards: Mapping[str, Card], *, may_be_empty: bool = False) -> ResponseFormat:
    """Return the JSON schema of a plan of these experts, as strict servers accept it (`swarm.llm.strict_schema`).

    All objects are closed, with all fields required. Alternative objects in one place each begin with their own key.
    """
    plain = {
        "id": {"type": "string"},
        "expert": {"type": "string", "enum": list(cards)},
        "instruction": {"type": "string"},
        "depends_on": {"type": "array", "items": {"type": "string"}},
    }
    conditional = {
        "when": {"anyOf": [{"type": "null"}, *_conditions()]},
        "for_each": {"type": ["string", "null"]},
    } | plain
    step = {"anyOf": [_closed(plain), _closed(conditional)]}
    # without it a server bound to the grammar answers with an empty list
    subtasks = {"type": "array"} | ({} if may_be_empty else {"minItems": 1}) | {"items": step}
    return ResponseFormat("plan", _closed({"subtasks": subtasks, "aggregate": {"type": "string", "enum": _AGGREGATES}}))


def _conditions() -> Iterable[dict[str, Any]]:
    scalar = {"type": ["string", "number", "boolean"]}
    kinds: dict[str, dict[str, Any]] = {
        "equals": scalar,
        "not_equals": scalar,
        "one_of": {"type": "array", "items": scalar},
        "at_least": {"type": "number"},
        "at_most": {"type": "number"},
    }
    return (_closed({name: kind, "result": {"type": "string"}}) for name, kind in kinds.items())


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


# -- examples --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Example:
    """A request, the experts to choose from, and a valid plan for it."""

    experts: Mapping[str, str]
    request: str
    plan: Plan


EXAMPLES = (
    Example(
        {
            "ticket-reader": 'Reads a ticket; output: {"topic": ["billing", "fault"], "items": "array"}',
            "status-page": "Knows which services are down at the moment",
            "part-finder": "Finds the price and the stock of one spare part",
            "letter-writer": "Writes letters to customers",
        },
        "Here is a ticket from Mrs Sand, customer 4711. See what it is about and whether anything is down, look up "
        "every part it names, and if it is a fault write her a letter: ...",
        Plan(
            subtasks=(
                Subtask(
                    id="t1", expert="ticket-reader", instruction="Read this ticket: topic and parts.\n\n{{request}}"
                ),
                Subtask(id="t2", expert="status-page", instruction="Which services are down at the moment?"),
                Subtask(
                    id="t3",
                    expert="part-finder",
                    instruction="Price and stock of ${item}",
                    depends_on=("t1",),
                    for_each="t1.items",
                ),
                Subtask(
                    id="t4",
                    expert="letter-writer",
                    instruction="Write a letter to Mrs Sand, customer 4711, about her report of a fault. What is "
                    "down: ${t2}. The parts she names: ${t3}.",
                    depends_on=("t1", "t2", "t3"),
                    when=Condition(result="t1.topic", equals="fault"),
                ),
            ),
            aggregate="pass",
        ),
    ),
    Example(
        {"translator": "Translates into any language", "fact-checker": "Checks one claim"},
        'Translate "good luck" into Finnish and check that Finland has 188,000 lakes',
        Plan(
            subtasks=(
                Subtask(id="t1", expert="translator", instruction='Translate "good luck" into Finnish.'),
                Subtask(id="t2", expert="fact-checker", instruction="Check this claim: Finland has 188,000 lakes."),
            ),
            aggregate="join",
        ),
    ),
)


def written(plan: Plan) -> str:
    """Return a plan as a model should write it: in the order of the schema, without empty fields."""
    steps = [_written(subtask) for subtask in plan.subtasks]
    return json.dumps({"subtasks": steps, "aggregate": plan.aggregate}, ensure_ascii=False)


def _written(subtask: Subtask) -> dict[str, Any]:
    step = {"depends_on": [], **subtask.model_dump(mode="json", exclude_unset=True, exclude_none=True)}
    if "when" in step:
        step["when"] = dict(sorted(step["when"].items(), key=lambda item: item[0] == "result"))
    return {name: step[name] for name in _ORDER if name in step}


def shown(example: Example) -> str:
    experts = "\n".join(f"- {name}: {what}" for name, what in example.experts.items())
    return f"Experts of this example:\n{experts}\nRequest: {example.request}\nPlan: {written(example.plan)}"


def skeleton(cards: Mapping[str, Card], ids: str = IDS) -> str:
    """Return the smallest plan with an edge that these experts allow; `ids` is the prefix of its ids."""
    names = list(cards)
    one, other = f"{ids}1", f"{ids}2"
    first = Subtask(id=one, expert=names[0], instruction="...")
    second = Subtask(id=other, expert=names[-1], instruction=f"... ${{{one}}} ...", depends_on=(one,))
    return written(Plan(subtasks=(first, second), aggregate="pass"))
