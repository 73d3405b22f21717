"""How the results of earlier subtasks enter an instruction.

`${t1}` stands for the text of t1's solution, `${t1.a.b}` for a field of its data, `$${t1}` for these characters
themselves. Programs get the values in place
(`inline`); models get marks, and the values in fenced blocks after the instruction (`fenced`), so that words inside
a result cannot pass for words of ours. A subtask that was skipped, and every field of it, reads `(skipped)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from swarm.engine.references import SKIPPED, field, list_at
from swarm.errors import UnusableInput
from swarm.llm.untrusted import wrap_untrusted
from swarm.types.base import MAX_TEXT
from swarm.types.plan import ITEM, RESULT_LINE, WRITTEN, Subtask, referenced
from swarm.types.result import Solution

MAX_EXPANDED = 2 * MAX_TEXT
"""Characters of an instruction with all that its references stand for."""


def inline(instruction: str, inputs: Mapping[str, Solution]) -> str:
    """`instruction` with every reference replaced by what it stands for; in one pass, so values may hold `${...}`.

    A reference to something that is no input stays as it is. UnusableInput if a field is missing, or the whole
    would be longer than MAX_EXPANDED.

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
    """`instruction` with a short mark for every reference, and all inputs after it in fenced blocks.

    Nothing inside a block can close it. UnusableInput as with `inline`.
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
    """`instruction` without the lines by which a planner hands whole results over: for those who get them otherwise.

    >>> wish("Write a reply.\\n\\nResult of t1 (triage): ${t1}")
    'Write a reply.'
    """
    return RESULT_LINE.sub("", instruction).strip() or instruction


def with_item(subtask: Subtask, inputs: Mapping[str, Solution], number: int) -> dict[str, Solution]:
    """The inputs of one item of a `for_each`, counted from 1: the item itself, and what the instruction names besides.

    The result that holds the list is left out unless the instruction names it: each item would carry all of them.
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
    """What may still be put together, counted before it is: a short instruction can name a long result often."""

    def __init__(self, taken: int) -> None:
        self._taken = taken

    def take(self, characters: int) -> None:
        self._taken += characters
        if self._taken > MAX_EXPANDED:
            raise UnusableInput(
                f"the instruction with its results has more than {MAX_EXPANDED:,} characters; refer to fewer or shorter"
            )


def _value(reference: str, inputs: Mapping[str, Solution]) -> str | None:
    """What `a.b` stands for; None if it names no input."""
    named = referenced(reference, inputs)
    if named is None:
        return None
    name, path = named
    solution = inputs[name]
    return _written(field(name, solution.data, path)) if path and solution is not SKIPPED else solution.text


def _text(solution: Solution) -> str:
    """A solution as a model should see it: its words, and its fields if they say more."""
    if solution.data is None or _written(solution.data) == solution.text:
        return solution.text
    return f"{solution.text}\n{_written(solution.data)}"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
