"""Keep text of the request in a model's plan from being read as a reference.

`{{request}}` in an instruction stands for the whole request, which the model need not copy; a mark stands in its place
while a draft is compiled. A `${...}` that the model copied from the request is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import islice

from swarm.errors import BadDraft
from swarm.planner.compile.foreign_references import REQUEST
from swarm.planner.local.planner import MAX_PLAN
from swarm.planner.parse.draft import Draft, DraftStep
from swarm.types.base import MAX_TEXT
from swarm.types.plan import Subtask, escaped, unescaped

_MARK = "\ufdd2"
"""The mark: a character that texts do not contain, since Unicode reserves it for internal use."""
BESIDE = 6
"""Characters beside a reference that show that it was copied from the request."""
MOST_QUOTES = 50


def marked(draft: Draft, known: Collection[str] = (), name: str = REQUEST) -> Draft:
    """Replace each placeholder in the instructions and the text arguments of a draft by the mark.

    `${request}` is a placeholder too, unless a step or one of the `known` results has this id.
    """
    called = name in known or any(step.id == name for step in draft.steps)
    # Dollar signs before it are replaced too: with a request that begins with a brace they would form a reference.
    ours = rf"\$*\{{\{{\s{{0,8}}{name}\s{{0,8}}\}}\}}"
    pattern = re.compile(ours if called else rf"{ours}|\$+\{{{name}\}}")
    return replace(draft, steps=tuple(_marked(step, pattern) for step in draft.steps))


def unquoted(draft: Draft, request: str) -> Draft:
    """Escape each `${...}` of a draft that was copied from the request together with its neighbours."""
    if (quotes := _quotes(request)) is None:
        return draft
    return replace(draft, steps=tuple(_with(step, lambda text: quotes.sub(_escape, text)) for step in draft.steps))


def _escape(found: re.Match[str]) -> str:
    """Escape a copied text, in which the model may have kept the escapes."""
    return escaped(unescaped(found[0]))


def _quotes(request: str) -> re.Pattern[str] | None:
    """Build a pattern of the references of a request, each with the text before or behind it."""
    every = list(islice(re.finditer(r"\$\{[^{}$\n]{1,256}\}", request), MOST_QUOTES))
    if not every:
        return None
    ways = []
    for found in every:
        before, behind = request[: found.start()].rstrip("$")[-BESIDE:], request[found.end() :][:BESIDE]
        name = r"(?<!\$)\$+" + re.escape(found[0][1:])
        ways += [re.escape(before) + name] if before.strip() else []
        ways += [name + re.escape(behind)] if behind.strip() else []
    return re.compile("|".join(ways or [rf"\A\s{{0,99}}{name}\s{{0,99}}\Z"]))


def bound(subtasks: tuple[Subtask, ...], request: str, name: str = REQUEST) -> tuple[Subtask, ...]:
    """Replace each mark by the request, whose references must be escaped already.

    Raises BadDraft if an instruction or the whole plan would be too long.
    """
    size = len(request.encode())
    sizes = [len(s.instruction.encode()) + s.instruction.count(_MARK) * size for s in subtasks]
    if max(sizes, default=0) > MAX_TEXT or sum(sizes) > MAX_PLAN:
        raise BadDraft(
            [f"the instructions come to {sum(sizes):,} bytes with the request in them; use {{{{{name}}}}} less"]
        )
    return tuple(
        s.model_copy(update={"instruction": _filled(s.instruction, request)}) if _MARK in s.instruction else s
        for s in subtasks
    )


def _filled(instruction: str, request: str) -> str:
    """Replace the marks. A space keeps a dollar sign at the end of the request from escaping the text behind."""
    if request.endswith("$"):
        instruction = re.sub(rf"{_MARK}(?=\S)", f"{_MARK} ", instruction)
    return instruction.replace(_MARK, request)


def _marked(step: DraftStep, pattern: re.Pattern[str]) -> DraftStep:
    return _with(step, lambda text: pattern.sub(_MARK, text))


def _with(step: DraftStep, change: Callable[[str], str]) -> DraftStep:
    """Apply a function to the texts of a step."""
    arguments = {name: change(value) if isinstance(value, str) else value for name, value in step.arguments.items()}
    return replace(step, instruction=change(step.instruction), arguments=arguments)
