"""Compile a draft into a plan that can run: resolve its experts, ids, references and edges, and report each repair.

Nothing is guessed that the text does not say. A draft that cannot be repaired is refused with all its problems at once,
each worded for the model's next turn: the place, the problem, and the remedy or the candidates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

from swarm.errors import BadDraft
from swarm.planner.compile.conditions import check_fields, conditions
from swarm.planner.compile.context import MAX_MENDS, MAX_PLACEHOLDERS, CompileContext, DraftedSubtask, quoted, said
from swarm.planner.compile.declared_edges import declare, settle
from swarm.planner.compile.expert_names import ExpertNames, Similar
from swarm.planner.compile.foreign_references import NOTHING, Foreign
from swarm.planner.compile.graph import Edges, levels
from swarm.planner.compile.instructions import names as names_in
from swarm.planner.compile.instructions import write_instruction
from swarm.planner.compile.references import NumberBases, StepReferences, bases
from swarm.planner.parse.draft import Draft
from swarm.settings import Settings
from swarm.types.base import explain
from swarm.types.card import Card
from swarm.types.plan import ITEM, Aggregate, Plan, Subtask
from swarm.types.result import Mend

MAX_ID = 56
"""Characters of an id, with room left for a round's prefix."""


@dataclass(frozen=True, slots=True)
class CompileRules:
    """Limits of a plan. `mend_edges` drops self, dangling and circular edges instead of refusing them."""

    mend_edges: bool = False
    max_subtasks: int = 100
    max_depth: int = 20
    max_width: int = 1_000
    max_cost: int | None = None
    """The most that its experts may cost together, in micro-dollars."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.mend_edges, settings.max_subtasks, settings.max_depth)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan that can run: a subtask for every step, in the order of the text, with all edges in `depends_on`."""

    subtasks: tuple[Subtask, ...]
    aggregate: Aggregate
    mends: tuple[Mend, ...]
    """All repairs, including those that reading the text needed."""
    why: dict[str, str]
    """How each subtask's expert was found, by subtask id."""


def compiled(
    draft: Draft,
    cards: Mapping[str, Card],
    rules: CompileRules = CompileRules(),
    *,
    known: Collection[str] = (),
    names: ExpertNames | None = None,
    similar: Similar | None = None,
    costs: Mapping[str, int] | None = None,
    foreign: Foreign = NOTHING,
) -> Compiled:
    """Compile a draft. Raises BadDraft with all its problems, and nothing else.

    `known` are ids of earlier results that may be referred to. `names` are those of `cards`, built once where many
    drafts are compiled. `similar` finds experts by meaning, `costs` are estimates per expert. A reference that may be
    copied from `foreign` texts refers to no result.
    """
    if not draft.steps:
        raise BadDraft(["steps: the plan has none; give at least one"])
    if len(draft.steps) > rules.max_subtasks:
        raise BadDraft([f"steps: {len(draft.steps):,}, at most {rules.max_subtasks:,} are accepted; plan fewer"])
    work = _begun(draft, cards, rules, frozenset(known), names or ExpertNames(cards), similar, foreign)
    declare(work)
    for at in range(len(work.steps)):
        write_instruction(work, at)
        conditions(work, at)
        if work.placeholders > MAX_PLACEHOLDERS:
            break  # the draft is refused anyway
    acyclic = settle(work)
    check_fields(work)
    if acyclic:
        _check_caps(work, rules, costs or {})
    aggregate = _aggregate(work)
    subtasks = _plan(work, aggregate)
    why = {step.id: step.found.how or "named by the plan" for step in work.steps}
    return Compiled(subtasks, aggregate, tuple(work.mends), why)


def _begun(
    draft: Draft,
    cards: Mapping[str, Card],
    rules: CompileRules,
    known: frozenset[str],
    names: ExpertNames,
    similar: Similar | None,
    foreign: Foreign,
) -> CompileContext:
    """Resolve the steps' experts and ids, and collect the names by which they can be referred to."""
    steps = [
        DraftedSubtask(step, step.place or f"steps.{i}", names.find(step.expert, said(step), similar))
        for i, step in enumerate(draft.steps)
    ]
    written = [step.draft.id for step in steps]
    counts = Counter(name for name in written if name)
    called = _ids(written, known)
    experts = [(step.draft.expert, names.title(step.expert)) for step in steps]
    places = StepReferences(written, called, experts, known)
    twice = {name: count for name, count in counts.items() if count > 1}
    work = CompileContext(draft, cards, known, rules.mend_edges, steps, places, Edges(len(steps)), twice, foreign)
    work.mends += draft.mends[:MAX_MENDS]
    for step, name in zip(steps, called, strict=True):
        step.id = name
        _tell_names(work, step, names.title(step.expert))
    places.bases = _counted(work)
    return work


def _ids(written: Sequence[str], known: Collection[str]) -> list[str]:
    """Give every step a unique id: the written one if it is valid and free, otherwise t1, t2, ... by its place."""
    wanted = [re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:MAX_ID].strip("-") for name in written]
    reserved = {name for name in wanted if name}
    taken = {*known, ITEM}
    called = []
    for i, name in enumerate(wanted):
        base = name or f"t{i + 1}"
        free = base not in taken and (name or base not in reserved)
        called.append(base if free else _free(base, taken | reserved))
        taken.add(called[-1])
    return called


def _free(base: str, taken: Collection[str]) -> str:
    n = 2
    while f"{base}-{n}" in taken:
        n += 1
    return f"{base}-{n}"


def _tell_names(work: CompileContext, step: DraftedSubtask, title: str) -> None:
    """Report the problems and repairs of a step's expert and id."""
    written, found = step.draft.expert, step.found
    if found.expert is None:
        near = f"nearest: {', '.join(found.candidates)}" if found.candidates else "name one of those that were listed"
        work.problem(f"{step.place}.expert", f"no expert {quoted(written)}; {near}" if written else "missing; name one")
    elif found.how:
        work.mend(f"{step.place}.expert", f"{quoted(written)} read as {title}: {found.how}")
    if step.draft.id and step.draft.id in work.known:
        work.problem(f"{step.place}.id", f"{quoted(step.draft.id)} is solved already; refer to it, do not repeat it")
    elif step.draft.id and step.id != step.draft.id:
        work.mend(f"{step.place}.id", f"{quoted(step.draft.id)} is called {step.id}")


def _counted(work: CompileContext) -> NumberBases:
    """Find out whether numbers that refer to steps count from 0 or from 1."""
    numbers = [
        (at, *found)
        for at, step in enumerate(work.steps)
        for name in islice(names_in(step.draft, work.foreign), MAX_PLACEHOLDERS // len(work.steps) + 1)
        if (found := work.places.number(name)) is not None
    ]
    ends = [(work.places.ends(a)[:1], work.places.ends(b)[:1]) for a, b in work.draft.links] if numbers else []
    found_bases = bases(numbers, {(a, b) for before, after in ends for a in before for b in after})
    for note in found_bases.notes:
        work.mend("steps", note)
    return found_bases


def _check_caps(work: CompileContext, rules: CompileRules, costs: Mapping[str, int]) -> None:
    level = levels(work.edges)
    deepest, widest = max(level) + 1, max(Counter(level).values())
    cost = sum(costs.get(step.expert, 0) for step in work.steps)
    if deepest > rules.max_depth:
        work.problem(
            "steps", f"the longest chain has {deepest} steps, at most {rules.max_depth} are allowed; plan flatter"
        )
    if widest > rules.max_width:
        work.problem("steps", f"{widest} would run at once, at most {rules.max_width} are allowed; plan fewer")
    if rules.max_cost is not None and cost > rules.max_cost:
        estimate, cap = cost / 1e6, rules.max_cost / 1e6
        work.problem("steps", f"the plan would cost about ${estimate:.4f}, at most ${cap:.4f} is allowed; plan fewer")


_AGGREGATES: Mapping[str, Aggregate] = {
    "": "auto", "auto": "auto", "automatic": "auto", "default": "auto", "none": "auto",
    "pass": "pass", "last": "pass", "final": "pass", "passthrough": "pass", "single": "pass",
    "join": "join", "concat": "join", "concatenate": "join", "concatenation": "join", "sections": "join",
    "vote": "vote", "voting": "vote", "majority": "vote", "majorityvote": "vote", "consensus": "vote",
    "synthesis": "synthesis", "synthesize": "synthesis", "synthesise": "synthesis", "summarize": "synthesis",
    "summarise": "synthesis", "summary": "synthesis",
}  # fmt: skip


def _aggregate(work: CompileContext) -> Aggregate:
    written = work.draft.aggregate
    found = _AGGREGATES.get(re.sub(r"[^a-z]", "", written[:100].lower()))
    if found is None or (written and found != written):
        work.mend("aggregate", f"{quoted(written)} read as {found or 'auto: it is no known way'}")
    return found or "auto"


def _plan(work: CompileContext, aggregate: Aggregate) -> tuple[Subtask, ...]:
    """Build the subtasks, and check that they form a plan together with those already solved. Raises BadDraft."""
    built = [] if work.problems else [_subtask(work, at) for at in range(len(work.steps))]
    subtasks = tuple(subtask for subtask in built if subtask is not None)
    if not work.problems:
        solved = (Subtask(id=name, expert=work.steps[0].expert, instruction="solved") for name in sorted(work.known))
        try:
            Plan(subtasks=(*solved, *subtasks), aggregate=aggregate)
        except ValueError as error:
            work.problem("steps", explain(error))
    if work.problems:
        raise BadDraft(work.problems)
    return subtasks


def _subtask(work: CompileContext, at: int) -> Subtask | None:
    step = work.steps[at]
    pieces = (p if isinstance(p, str) else work.reference(p.target, p.path) for p in step.pieces)
    try:
        return Subtask(
            id=step.id,
            expert=step.expert,
            instruction="".join(pieces).strip(),
            depends_on=tuple(map(work.id, work.edges.waits[at])),
            output=None if step.draft.output is None else dict(step.draft.output),
            when=step.when,
            for_each=step.for_each or None,
        )
    except ValueError as error:
        work.problem(step.place, explain(error))
        return None
