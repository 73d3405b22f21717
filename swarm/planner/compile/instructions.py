"""Write the instruction of a step: its text and its arguments, with every reference to a result in our form.

    {"instruction": "Summarise it", "arguments": {"text": "<node-0>", "words": 50}}

becomes

    Summarise it
    text: ${t1}
    words: 50

Nothing is added. A step without text, such as a call without arguments, gets its expert's name as the instruction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice

from swarm.planner.compile import fields
from swarm.planner.compile.context import CompileContext, DraftedSubtask, Use, quoted
from swarm.planner.compile.foreign_references import Foreign
from swarm.planner.compile.references import Mention, mentions, numbered_value, whole
from swarm.planner.parse.draft import DraftStep
from swarm.types.plan import ITEM, REFERENCE, escaped

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Delimiters of a reference's number while arguments are turned into text; no language uses these characters."""
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_NESTED = 20
_LONGEST_NAME = 200
_LOOKED_AT = 100
"""Placeholders of one text that are searched to find out how the plan counts."""


def write_instruction(work: CompileContext, at: int) -> None:
    """Write the instruction of a step, and add the edges that its references need."""
    step = work.steps[at]
    uses: list[Use] = []
    lines = [step.draft.instruction.strip()]
    for name, value in step.draft.arguments.items():
        shown = _shown(work, at, value, uses)
        lines.append(shown if name.isdigit() else f"{name}: {shown}")
    text = "\n".join(line for line in lines if line.strip()) or step.draft.expert[:_LONGEST_NAME] or step.expert
    parts = _MARK.split(text) if uses else [text]
    for i, part in enumerate(parts):
        if i % 2 and int(part) < len(uses):
            _use(work, at, uses[int(part)])
        else:
            _read(work, at, part)


def names(step: DraftStep, foreign: Foreign) -> Iterator[str]:
    """Yield the names in a step that may refer to a step by number, without copies of foreign text."""
    yield from step.depends_on
    for text in (step.instruction, *_texts(dict(step.arguments))):
        for found in islice(mentions(text), _LOOKED_AT):
            if found.form in ("ours", "marked", "said") and not foreign.has(found):
                yield found.name
        if (value := numbered_value(text)) is not None and not foreign.says(text):
            yield value.name


def _texts(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < _NESTED and isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item, depth + 1)


def _shown(work: CompileContext, at: int, value: object, uses: list[Use]) -> str:
    """Return a text as it is, other values as JSON, with a mark for each string that only names an earlier step."""
    marked = _marked(work, at, value, uses, 0)
    return marked if isinstance(marked, str) else json.dumps(marked, ensure_ascii=False, default=str)


def _marked(work: CompileContext, at: int, value: object, uses: list[Use], depth: int) -> object:
    if isinstance(value, str):
        if (use := _named_whole(work, at, value)) is None:
            return value
        uses.append(use)
        return f"{_OPEN}{len(uses) - 1}{_CLOSE}"
    if depth < _NESTED and isinstance(value, list):
        return [_marked(work, at, item, uses, depth + 1) for item in value]
    if depth < _NESTED and isinstance(value, dict):
        return {key: _marked(work, at, item, uses, depth + 1) for key, item in value.items()}
    return value


def _named_whole(work: CompileContext, at: int, text: str) -> Use | None:
    """Resolve a value that only names an earlier step: `node-1`, "the output of step 1", or an id with a number."""
    found = whole(text)
    if found is None or found.name in work.twice:
        return None
    if work.places.by_id(found.name) is None and numbered_value(text) is None:
        return None
    named = work.places.named(found)
    earlier = named is not None and (isinstance(named[0], str) or named[0] < at)
    if named is None or not earlier:
        return None
    if work.foreign.says(text):
        work.doubtful(at, found, text, _place(work.steps[at]))
        return None
    return Use(*named, text)


def _read(work: CompileContext, at: int, text: str) -> None:
    """Read the references in a text."""
    step, end = work.steps[at], 0
    for found in mentions(text):
        if not work.counted():
            return
        step.pieces.append(text[end : found.start])
        end = found.end
        written = text[found.start : found.end]
        if work.foreign.has(found):
            work.doubtful(at, found, written, _place(step))
            step.pieces.append(escaped(written))
        elif step.draft.for_each and found.name == ITEM:
            step.pieces.append(f"${{{'.'.join((ITEM, *found.path))}}}")
        elif (use := work.resolved(at, found, written, _place(step))) is not None:
            _use(work, at, use)
        else:
            step.pieces.append(_literal(work, found, written, _place(step)))
    step.pieces.append(text[end:])


def _literal(work: CompileContext, found: Mention, written: str, place: str) -> str:
    """Escape a mention of no step: a dangling reference, which is reported, or plain text."""
    if REFERENCE.fullmatch(written) or found.form == "marked":
        work.dangling(place, written)
    return escaped(written)


def _use(work: CompileContext, at: int, use: Use) -> None:
    step = work.steps[at]
    path = told_path(work, use)
    step.pieces.append(Use(use.target, path, use.written))
    work.edges.add(at, use.target, "instruction")
    if (ours := work.reference(use.target, path)) != use.written:
        work.mend(_place(step), f"{quoted(use.written)} read as {ours}")


def told_path(work: CompileContext, use: Use) -> tuple[str, ...]:
    """Remove a first field that means the whole result, such as `.output`, from a path.

    In foreign forms of reference a field is kept only if the result has a schema: a text has no fields.
    """
    schema = work.schema(use.target)
    properties = schema.get("properties") if schema else None
    if not use.path or (isinstance(properties, dict) and use.path[0] in properties):
        return use.path
    if use.path[0].lower() in fields.WHOLE:
        return use.path[1:]
    return use.path if schema is not None or use.written.startswith("${") else ()


def _place(step: DraftedSubtask) -> str:
    return f"{step.place}.instruction"
