"""Choose which of the values found in a text are its plan.

Several values may be parts of one plan, the same plan twice, or different plans. The first whole plan counts, unless a
later one is announced as the final or corrected one. Values that only add steps are added. Nothing is read behind the
beginning of another chat turn, or of pretended results. Everything left out is reported.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from swarm.planner.parse.chat_turns import another_speaks, said_in_tokens, unmarked
from swarm.planner.parse.known_experts import KnownExperts, normalized
from swarm.planner.parse.raw_steps import Further, NotAStep, RawStep, RawSteps
from swarm.planner.parse.refusals import is_program, program_span
from swarm.planner.parse.scanner import Candidate
from swarm.planner.parse.values import Bare, UnreadableValue

_FINAL = re.compile(
    r"\b(?:final|corrected|revised|updated|improved|optimi[sz]ed)\b(?:\W+\w+){0,3}?\W+"
    r"(?P<what>plan|answer|version|json|list|output|sequence|steps|calls?|solution|subtasks|result)\b",
    re.I,
)
_LAST = re.compile(r"\bfinal\W+(?:steps|calls?)\b", re.I)
"""Words that announce the last steps of the plan, not another plan."""
_OTHER = re.compile(
    r"\b(?:alternative(?:ly)?|(?:an)?other (?:way|plan|option|approach|possib\w+|solution|version|example)"
    r"|equivalent(?:ly)?|option \w|versions?|instead|(?:the )?same (?:plan|calls?|thing|results?|steps?)|for example)\b"
    r"|^[\s`*)\]]*+or\b|\n[^\w\n]*+or\b",
    re.I,
)
_FURTHER = re.compile(
    r"\b(?:second|third|fourth|fifth|next|last|other|remaining|final|rest of the)\s+"
    r"(?:part|half|question|request|task|steps?|calls?)\b"
    r"|\b(?:then|finally|lastly|afterwards|additionally|furthermore|followed by|after (?:that|this|which))\b",
    re.I,
)
_POSSIBLE = re.compile(r"\b(?:could|might) (?:also|well|just as well)\b|\b(?:one|you|we) (?:could|might)\b", re.I)
_NEAR = 300
"""Characters before a part that are searched for an announcement of it."""
_SENTENCE = re.compile(r"\n|[.:!?] |[.:!?]$")
# possessive: otherwise a long run of blanks would be split in every possible way
_ADJACENT = re.compile(
    r"(?:[\s,;+&.|\-*\u2022\"'\])}]|`(?!``\w))*+(?:(?:and|then|next)?[\s:,]*+)?(?:\d{1,3}[.):]\s*+)?"
    r"(?:</?[^<>\n]{1,40}>\s*+|```\w*+\s*+)*+"
)


@dataclass(frozen=True, slots=True)
class PlanPart:
    """A value of the text, and the steps in it."""

    found: Candidate
    outline: RawSteps
    misfit: str = ""
    """The path of an entry among its steps that is no step; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The parts that make up the plan, in the order of the text, with notes on the choice."""

    parts: tuple[PlanPart, ...]
    notes: tuple[str, ...] = ()
    turned: bool = False
    """Whether another chat turn begins behind the plan."""

    @property
    def end(self) -> int:
        return self.parts[-1].found.end


def choose(parts: Iterable[PlanPart], text: str, stopped: UnreadableValue | None, known: KnownExperts) -> Choice | None:
    """Choose the plan among `parts`; None if there is none.

    Raises UnreadableValue if the plan goes on behind the place where reading stopped.
    """
    able = [part for part in parts if part.outline.steps or part.misfit]
    notes: dict[str, None] = {}
    if able and is_program(text):
        able = _written_out(able, text, known)
        notes["the text has a program beside the plan"] = None
    inline: list[PlanPart] = []
    if any(not part.found.inline for part in able):
        able = _in_line(able, text, known)
        inline = [part for part in able if part.found.inline]
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
    kept, turned = _kept(able, text, notes, known)
    if broken := next((part for part in kept if part.misfit), None):
        raise NotAStep(broken.misfit)
    _check_mentions(inline, kept, text, known)
    if stopped is not None and not turned:
        _check_end(kept, text, stopped, notes)
    return Choice(tuple(kept), tuple(notes), turned)


def _written_out(able: list[PlanPart], text: str, known: KnownExperts) -> list[PlanPart]:
    """Keep the plans in or beside a program that are written out, not computed; those beside it come first."""
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
        raise UnreadableValue("program", 0)
    return _with_variables(chosen, able)


def _with_variables(chosen: list[PlanPart], able: list[PlanPart]) -> list[PlanPart]:
    """Return the parts and the calls whose results they use, in the order of the text."""
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


def _is_sound(part: PlanPart) -> bool:
    ids = [step.id for step in part.outline.steps if step.id]
    return part.outline.whole and not part.misfit and len(set(ids)) == len(ids)


def _uses(step: RawStep, variables: Collection[str]) -> bool:
    """Whether the step uses a variable that no call of the text assigns, so that only the program knows its value."""
    return any(_head(word) not in variables for word in _words(step.arguments))


def _head(word: str) -> str:
    """Return the variable of an expression: `found` of `found.items[0]`."""
    return re.split(r"\W", word, maxsplit=1)[0]


def _words(value: object) -> Iterator[Bare]:
    if isinstance(value, Bare):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _words(item)


def _computed(step: RawStep) -> bool:
    return any(isinstance(value, Bare) for value in (*step.arguments.values(), step.id, step.expert, *step.depends_on))


def _kept(able: list[PlanPart], text: str, notes: dict[str, None], known: KnownExperts) -> tuple[list[PlanPart], bool]:
    kept, said, before = [able[0]], _signatures(able[0]), text[: able[0].found.start]
    since, looked, apart = kept[0], 0, False
    for i, part in enumerate(able[1:], 1):
        if since is not kept[-1]:
            since, looked, apart = kept[-1], i - 1, False
        while looked < i - 2 and able[looked + 1].found.end <= part.found.start - _NEAR:
            looked += 1  # the text before it was searched for an earlier part
        begin = max(since.found.end, able[looked].found.end)
        gap = text[begin : part.found.start]
        if another_speaks(gap, before):
            if said_in_tokens(gap) and any(_is_fresh(further, kept, known) for further in able[i:]):
                raise Further
            notes["the text behind the plan was not read: another chat turn, or made-up results"] = None
            return kept, True
        mine, gap = _signatures(part), unmarked(gap)
        apart = apart or _OTHER.search(gap) is not None
        adjacent = begin == since.found.end and _ADJACENT.fullmatch(gap) is not None
        match _relation(part, mine, said, kept, _Between(gap[-_NEAR:], adjacent, apart), known):
            case "again":
                notes["repeated steps were taken once"] = None
            case "replaces":
                notes["an earlier plan was replaced by the one announced after it"] = None
                kept, said = [part], mine
            case "fuller":
                notes["an earlier plan was replaced by one that has its steps and more"] = None
                kept, said = [part], mine
            case "another":
                notes["a further plan in the text was left out"] = None
            case "adds":
                kept.append(part)
                said |= mine
            case _ if _is_fresh(part, kept, known):
                raise Further
            case _:
                notes["a further plan in the text was left out"] = None
    return kept, False


_Relation = Literal["again", "replaces", "fuller", "another", "adds", "unclear"]


class _Between(NamedTuple):
    """The text between a plan and a part behind it: its end, whether it is only separators, whether it says "or"."""

    near: str
    adjacent: bool
    apart: bool


def _relation(
    part: PlanPart, mine: set[str], said: set[str], kept: list[PlanPart], between: _Between, known: KnownExperts
) -> _Relation:
    """Decide how a part relates to the plan before it."""
    first, (near, adjacent, apart) = kept[0].outline, between
    if mine <= said and not part.misfit:
        return "again"
    if part.outline.whole and _FINAL.search(near) and not (_LAST.search(near) and not mine & said):
        return "replaces"
    if not adjacent and (apart or (part.misfit and first.whole)):
        return "another"
    if part.outline.whole and said < mine:
        return "fuller"
    joined = adjacent or not first.whole or len(first.steps) == 1 or _FURTHER.search(near)
    if mine & said:
        return "unclear"
    if _ids(part) & {id for one in kept for id in _ids(one)}:
        return "unclear" if joined else "another"
    return "adds" if joined and (adjacent or _all_known(part, known)) else "unclear"


def _is_fresh(part: PlanPart, kept: list[PlanPart], known: KnownExperts) -> bool:
    """Whether the part has a step for a known expert that the plan lacks, with all values written out."""
    said = {call for one in kept for call in _calls(one)}
    own = [step for step in part.outline.steps if known(step.expert) and not _computed(step)]
    return any(_call(step) not in said for step in own)


def _all_known(part: PlanPart, known: KnownExperts) -> bool:
    return not known or all(known(step.expert) for step in part.outline.steps)


def _ids(part: PlanPart) -> set[str]:
    return {step.id for step in part.outline.steps if step.id}


def _check_end(kept: list[PlanPart], text: str, stopped: UnreadableValue, notes: dict[str, None]) -> None:
    gap = text[kept[-1].found.end : stopped.at]
    if not another_speaks(gap, text[: kept[0].found.start]):
        gap = unmarked(gap)
        goes_on = _FURTHER.search(gap[-_NEAR:]) and not _OTHER.search(gap)
        if not kept[0].outline.whole or _ADJACENT.fullmatch(gap) or goes_on:
            raise stopped
    notes["the text behind the plan cannot be read"] = None


def _in_line(able: list[PlanPart], text: str, known: KnownExperts) -> list[PlanPart]:
    """Count inline calls of experts as steps if they follow another call in the same sentence."""
    parts: list[PlanPart] = []
    for part in able:
        before = parts[-1] if parts else None
        if part.found.inline and before and not before.found.inline:
            gap = text[before.found.end : part.found.start]
            if not _SENTENCE.search(gap) and not _OTHER.search(gap) and _all_known(part, known):
                part = replace(part, found=replace(part.found, inline=False))
        parts.append(part)
    return parts


def _check_mentions(inline: list[PlanPart], kept: list[PlanPart], text: str, known: KnownExperts) -> None:
    """Refuse a plan if a sentence beside it calls an expert with arguments that no step of the plan has.

    Calls behind the beginning of another chat turn, as far as labels show one, do not count.
    """
    begins, ends = kept[0].found.start, kept[-1].found.end
    said = {call for part in kept for call in _calls(part)}
    places: list[int] = []
    for part in inline:
        behind = part.found.start > ends
        near = text[max(0, ends if behind else 0, part.found.start - 200) : part.found.start]
        if _calls(part) <= said or _OTHER.search(near) or _POSSIBLE.search(near):
            continue
        places.append(part.found.start if behind else ends)
        if any(known(step.expert) and step.arguments and not _computed(step) for step in part.outline.steps):
            first = bisect_left(places, True, key=lambda place: another_speaks(text[ends:place], text[:begins]))
            if first < len(places) and not said_in_tokens(text[ends : places[first]]):
                return
            raise Further


def _calls(part: PlanPart) -> set[str]:
    """Return what its steps call, without ids and edges."""
    return set(map(_call, part.outline.steps))


def _call(step: RawStep) -> str:
    return f"{normalized(step.expert)}|{step.arguments!r}"


def _signatures(part: PlanPart) -> set[str]:
    return {f"{step.id}|{signature(step)}" for step in part.outline.steps}


def signature(step: RawStep) -> str:
    """Return a step's content without its id, for comparison."""
    return f"{normalized(step.expert)}|{step.instruction}|{step.arguments!r}|{step.depends_on!r}"
