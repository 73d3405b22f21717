"""Puts the results of earlier subtasks into an instruction.

`${t1}` is the text of t1's solution, `${t1.a.b}` a field of its data, and `$${t1}` an escaped `${t1}`. Programs get
the values in place (`inline`). Models get markers, and the values in delimited blocks after the instruction
(`fenced`), so that text of a result cannot pass for an instruction. A skipped subtask and its fields read `(skipped)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from swarm.engine.references import SKIPPED, field, list_at
from swarm.errors import UnusableInput
from swarm.llm.untrusted_text import wrap_untrusted
from swarm.types.base import MAX_TEXT
from swarm.types.plan import ITEM, RESULT_LINE, WRITTEN, Subtask, referenced
from swarm.types.result import Solution

MAX_EXPANDED = 2 * MAX_TEXT
"""Maximum characters of an instruction with its references replaced."""


def inline(instruction: str, inputs: Mapping[str, Solution]) -> str:
    """Replace every reference by its value, in one pass: a `${...}` inside a value stays as it is.

    A reference to no input is left unchanged. Raises UnusableInput if a field is missing or the result would be
    longer than MAX_EXPANDED.

    >>> inline("Reply about ${t1.label}.", {"t1": Solution(text="refund", data={"label": "refund"})})
    'Reply about refund.'
    """
    room = _Room(len(instruction))

    def put(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        value = _value(match[2], inputs)
        if value is None:
            return match[0]
        room.take(len(value) - len(match[0]))
        return value

    return WRITTEN.sub(put, instruction)


def fenced(instruction: str, inputs: Mapping[str, Solution]) -> str:
    """Replace every reference by a short marker, and append all inputs in delimited blocks.

    No content of a block can close it. Raises UnusableInput as `inline` does.
    """
    room = _Room(len(instruction))
    blocks: dict[str, str] = {}
    for name, solution in inputs.items():
        blocks[name] = _text(solution)
        room.take(len(name) + len(blocks[name]))

    def mark(match: re.Match[str]) -> str:
        escape, name = match.groups()
        if escape:
            return str(escape)
        if name not in blocks:
            value = _value(name, inputs)
            if value is None:
                return match[0]
            blocks[name] = value
            room.take(len(name) + len(value))
        return f"[{name}]"

    marked = WRITTEN.sub(mark, instruction)
    return f"{marked}\n\n{wrap_untrusted(blocks)}" if blocks else marked


def wish(instruction: str) -> str:
    """Remove the lines `Result of t1 (...): ${t1}` that a planner appends, for experts that get the results otherwise.

    >>> wish("Write a reply.\\n\\nResult of t1 (triage): ${t1}")
    'Write a reply.'
    """
    return RESULT_LINE.sub("", instruction).strip() or instruction


def with_item(subtask: Subtask, inputs: Mapping[str, Solution], number: int) -> dict[str, Solution]:
    """The inputs of item `number` (from 1) of a `for_each`: the item, and the results that the instruction names.

    The result with the list is left out unless the instruction names it, since each item would carry the whole list.
    """
    reference = subtask.for_each or ""
    items = list_at(reference, inputs)
    if len(items) < number:
        raise UnusableInput(f"{reference} has {len(items)} items, and this subtask is about item {number}")
    value = items[number - 1]
    named = referenced(reference, inputs)
    said = {found[0] for each in subtask.model_copy(update={"for_each": None, "when": None}).references
            if (found := referenced(each, inputs))}  # fmt: skip
    kept = {name: solution for name, solution in inputs.items() if name in said or not named or name != named[0]}
    return kept | {ITEM: Solution(text=_written(value), data=value)}


class _Room:
    """Counts characters before they are joined: a short instruction may name a long result many times."""

    def __init__(self, taken: int) -> None:
        self._taken = taken

    def take(self, characters: int) -> None:
        self._taken += characters
        if self._taken > MAX_EXPANDED:
            raise UnusableInput(
                f"the instruction with its results has more than {MAX_EXPANDED:,} characters; refer to fewer or shorter"
            )


def _value(reference: str, inputs: Mapping[str, Solution]) -> str | None:
    """The value of the reference `a.b`; None if it names no input."""
    named = referenced(reference, inputs)
    if named is None:
        return None
    name, path = named
    solution = inputs[name]
    return _written(field(name, solution.data, path)) if path and solution is not SKIPPED else solution.text


def _text(solution: Solution) -> str:
    """Format a solution for a model: its text, and its data unless that is the same."""
    if solution.data is None or _written(solution.data) == solution.text:
        return solution.text
    return f"{solution.text}\n{_written(solution.data)}"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
