"""Words of the request in a model's plan: nothing in them may be taken for a reference.

`{{request}}` in an instruction stands for all of them, which the model need not copy: while a draft is compiled a mark
stands there instead. Where a model has copied a `${...}` of the request, that is escaped.
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
"""A character that no text has: it is reserved for use inside programs."""
BESIDE = 6
"""Characters beside a reference by which a quote of the request is known."""
MOST_QUOTES = 50


def marked(draft: Draft, known: Collection[str] = (), name: str = REQUEST) -> Draft:
    """The draft with a mark for each placeholder in an instruction, or in an argument that is a text.

    `${request}` is one too, unless a step or one of the `known` results is called so.
    """
    called = name in known or any(step.id == name for step in draft.steps)
    # Dollar signs before it belong to it: they would make a reference of a request that begins with a brace.
    ours = rf"\$*\{{\{{\s{{0,8}}{name}\s{{0,8}}\}}\}}"
    pattern = re.compile(ours if called else rf"{ours}|\$+\{{{name}\}}")
    return replace(draft, steps=tuple(_marked(step, pattern) for step in draft.steps))


def unquoted(draft: Draft, request: str) -> Draft:
    """The draft with an escape before each `${...}` that it has copied from the request with what is beside it."""
    if (quotes := _quotes(request)) is None:
        return draft
    return replace(draft, steps=tuple(_with(step, lambda text: quotes.sub(_escape, text)) for step in draft.steps))


def _escape(found: re.Match[str]) -> str:
    """A quote of the request, whose own escapes a model may have kept."""
    return escaped(unescaped(found[0]))


def _quotes(request: str) -> re.Pattern[str] | None:
    """Finds references of a request in another text, each together with what is before or behind it."""
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
    """The subtasks with the words of the request, which must hold no reference, for each mark.

    Raises BadDraft if an instruction, or the whole plan, would be too long.
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
    """The words for the marks. A dollar sign at their end is kept apart from what follows, or it would escape that."""
    if request.endswith("$"):
        instruction = re.sub(rf"{_MARK}(?=\S)", f"{_MARK} ", instruction)
    return instruction.replace(_MARK, request)


def _marked(step: DraftStep, pattern: re.Pattern[str]) -> DraftStep:
    return _with(step, lambda text: pattern.sub(_MARK, text))


def _with(step: DraftStep, change: Callable[[str], str]) -> DraftStep:
    """The step with its texts changed."""
    arguments = {name: change(value) if isinstance(value, str) else value for name, value in step.arguments.items()}
    return replace(step, instruction=change(step.instruction), arguments=arguments)
