"""Which of the values found in a text are its plan.

Several may be parts of one plan, the same plan said twice, or different plans. The first whole plan counts, unless a
later one is announced as the final or corrected one; what merely adds steps is added; what follows once the planner
plays another's turn, or tells results, is not read. Whatever is left out is reported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from swarm.planner.literals import Bare, Unreadable
from swarm.planner.outline import Misfit, Outline, Written
from swarm.planner.rungs import Found, Names, normal
from swarm.planner.suspects import is_program, program_span

_TURN = re.compile(
    r"(?:^|\n)[ \t>*]*(?:#{1,5}\s*)?\*{0,2}(?:observation|human|user|instruction|question|response|tool (?:result"
    r"|response|output)|results?|output"
    r"|example \d+)\b[^\n:]{0,30}(?::|\n|$)|<\|im_start\|>|<\|eot_id\|>|<tool_response>|\[/?INST\]|<\|(?:user"
    r"|assistant)\|>",
    re.I,
)
_FINAL = re.compile(
    r"\b(?:final|corrected|revised|updated|improved|optimi[sz]ed)\b(?:\W+\w+){0,3}?\W+"
    r"(?:plan|answer|version|json|list|output|sequence|steps|calls?|solution|subtasks|result)\b",
    re.I,
)
_OTHER = re.compile(
    r"\b(?:alternative(?:ly)?|(?:an)?other (?:way|plan|option|approach|possib\w+|solution|version|example)"
    r"|equivalent(?:ly)?|option \w|versions?|instead|(?:the )?same (?:plan|calls?|thing|results?|steps?)|for example)\b"
    r"|^[\s`*)\]]*or\b|\n\W*or\b",
    re.I,
)
_FURTHER = re.compile(
    r"\b(?:second|third|fourth|fifth|next|last|other|remaining|rest of the)\s+(?:part|half|question|request|task)\b",
    re.I,
)
_SENTENCE = re.compile(r"\n|[.:!?] |[.:!?]$")
_ADJACENT = re.compile(
    r"[\s,;+&.|\-*\u2022`\"'\])}]*(?:(?:and|then|next)?[\s:,]*)?(?:\d{1,3}[.):]\s*)?(?:</?[^<>\n]{1,40}>\s*|```\w*\s*)*"
)


@dataclass(frozen=True, slots=True)
class Part:
    """A value of the text and the steps in it."""

    found: Found
    outline: Outline
    misfit: str = ""
    """Where something stands among its steps that is none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The parts that make the plan, in the order of the text, and what was decided on the way."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


def choose(parts: Iterable[Part], text: str, stopped: Unreadable | None, known: Names) -> Choice | None:
    """The plan among `parts`; None if there is none. Raises Unreadable if the plan goes on where the text is cut."""
    able = [part for part in parts if part.outline.steps or part.misfit]
    notes: dict[str, None] = {}
    if able and is_program(text):
        able = _written_out(able, text, known)
        notes["the text has a program beside the plan"] = None
    if any(not part.found.inline for part in able):
        able = _in_line(able, text, known)
        said = {text for part in able if not part.found.inline for text in _calls(part)}
        if any(part.found.inline and known(step.expert) and not _calls(part) <= said
               for part in able for step in part.outline.steps):  # fmt: skip
            notes["calls that a sentence mentions were left out"] = None
        able = [part for part in able if not part.found.inline]
    if not able:
        return None
    sound = next((i for i, part in enumerate(able) if _is_sound(part)), 0)
    if sound and able[0].outline.whole:
        notes["an earlier plan with repeated ids was left out"] = None
        able = able[sound:]
    kept, turned = _kept(able, text, notes)
    if broken := next((part for part in kept if part.misfit), None):
        raise Misfit(broken.misfit)
    if stopped is not None and not turned:
        _check_end(kept, text, stopped, notes)
    return Choice(tuple(kept), tuple(notes))


def _written_out(able: list[Part], text: str, known: Names) -> list[Part]:
    """The plans in or beside a program that are written out, not computed; those beside it if there are any."""
    begins, ends = program_span(text)
    variables = {part.found.id for part in able if part.found.id}
    able = [
        part for part in able if part.outline.whole or not any(_uses(step, variables) for step in part.outline.steps)
    ]
    beside = [part for part in able if part.found.end < begins or part.found.start > ends]
    literal = [part for part in able if part.outline.whole and not any(map(_computed, part.outline.steps))]
    able = [part for part in able if part.outline.keys or all(known(step.expert) for step in part.outline.steps)]
    chosen = (
        [part for part in literal if part in beside and part in able]
        or [p for p in literal if p in able]
        or [p for p in beside if p in able]
    )
    if not chosen:
        raise Unreadable("program", 0)
    return _with_variables(chosen, able)


def _with_variables(chosen: list[Part], able: list[Part]) -> list[Part]:
    """The parts and the calls whose results they take, in order."""
    giving = {part.found.id: part for part in able if part.found.id}
    kept, waiting = {id(part) for part in chosen}, list(chosen)
    while waiting:
        for step in waiting.pop().outline.steps:
            for word in _words(step.arguments):
                part = giving.get(_head(word))
                if part is not None and id(part) not in kept:
                    kept.add(id(part))
                    waiting.append(part)
    return [part for part in able if id(part) in kept]


def _is_sound(part: Part) -> bool:
    ids = [step.id for step in part.outline.steps if step.id]
    return part.outline.whole and not part.misfit and len(set(ids)) == len(ids)


def _uses(step: Written, variables: Collection[str]) -> bool:
    """Whether the step takes what only the program could tell: a variable that no call of the text gives."""
    return any(_head(word) not in variables for word in _words(step.arguments))


def _head(word: str) -> str:
    """`found` of `found.items[0]`."""
    return re.split(r"\W", word, maxsplit=1)[0]


def _words(value: object) -> Iterator[Bare]:
    if isinstance(value, Bare):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _words(item)


def _computed(step: Written) -> bool:
    return any(isinstance(value, Bare) for value in (*step.arguments.values(), step.id, step.expert, *step.depends_on))


def _kept(able: list[Part], text: str, notes: dict[str, None]) -> tuple[list[Part], bool]:
    if len(able) == 1:
        return able, False
    kept, said, ids = [able[0]], _signatures(able[0]), _ids(able[0])
    for part in able[1:]:
        gap = text[kept[-1].found.end : part.found.start]
        if _TURN.search(gap):
            notes["what follows the plan was not read: another turn, or pretended results"] = None
            return kept, True
        mine = _signatures(part)
        if part.misfit and kept[0].outline.whole:
            notes["a further plan in the text was left out"] = None
        elif mine <= said and not part.misfit:
            notes["steps said twice were taken once"] = None
        elif part.outline.whole and _FINAL.search(gap[-300:]):
            notes["an earlier plan was replaced by the one announced after it"] = None
            kept, said, ids = [part], mine, _ids(part)
        elif ids & _ids(part) or mine & said or _is_another(kept[0], gap):
            notes["a further plan in the text was left out"] = None
        else:
            kept.append(part)
            said |= mine
            ids |= _ids(part)
    return kept, False


def _is_another(first: Part, gap: str) -> bool:
    """Whether what comes behind `gap` is a plan of its own, rather than more of the same."""
    if _ADJACENT.fullmatch(gap):
        return False
    if _OTHER.search(gap):
        return True
    return first.outline.whole and len(first.outline.steps) > 1 and not _FURTHER.search(gap)


def _ids(part: Part) -> set[str]:
    return {step.id for step in part.outline.steps if step.id}


def _check_end(kept: list[Part], text: str, stopped: Unreadable, notes: dict[str, None]) -> None:
    gap = text[kept[-1].found.end : stopped.at]
    whole = kept[0].outline.whole and not _ADJACENT.fullmatch(gap)
    if not whole and not _TURN.search(gap):
        raise stopped
    notes["what follows the plan cannot be read"] = None


def _in_line(able: list[Part], text: str, known: Names) -> list[Part]:
    """Calls of experts in the same line as a call before them are steps like that, whatever stands between."""
    parts: list[Part] = []
    for part in able:
        before = parts[-1] if parts else None
        if part.found.inline and before and not before.found.inline and before.found.rung == part.found.rung:
            gap = text[before.found.end : part.found.start]
            if not _SENTENCE.search(gap) and all(known(step.expert) for step in part.outline.steps):
                part = replace(part, found=replace(part.found, inline=False))
        parts.append(part)
    return parts


def _calls(part: Part) -> set[str]:
    """What its steps call, but for ids and edges."""
    return {f"{normal(step.expert)}|{step.arguments!r}" for step in part.outline.steps}


def _signatures(part: Part) -> set[str]:
    return {f"{step.id}|{signature(step)}" for step in part.outline.steps}


def signature(step: Written) -> str:
    """What a step says, but for its id."""
    return f"{normal(step.expert)}|{step.instruction}|{step.arguments!r}|{step.depends_on!r}"
