"""Add the edges that a draft declares: `depends_on` of its steps, and its list of links.

The ends of an edge are ids, numbers, experts, or products that a step declares. A name that fits several steps means
all those before: a needless edge costs time, a missing one costs the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarm.planner.compile.context import CompileContext, Use, quoted
from swarm.planner.compile.graph import makers
from swarm.planner.compile.references import Mention, Target, mentions
from swarm.text.expert_ranking import squeezed
from swarm.types.plan import escaped

_NO_STEP = frozenset(("", "none", "null", "start", "end", "begin", "finish"))
"""Ends of links that mark the beginning or the end of the plan."""
MAX_CUTS = 50
"""Cycles of one plan that are repaired; the order of a plan with more cannot be known."""


def declare(work: CompileContext) -> None:
    """Add all declared edges."""
    makes = makers([step.draft.arguments for step in work.steps])
    for at, step in enumerate(work.steps):
        place = f"{step.place}.depends_on"
        for name in dict.fromkeys(step.draft.depends_on):
            targets = _targets(work, at, name, place, makes)
            if not targets:
                work.dangling(place, name)
            for target in targets:
                work.edges.add(at, target, "depends_on")
    for i, link in enumerate(work.draft.links):
        _link(work, f"links.{i}", link)


def _targets(
    work: CompileContext, at: int, name: str, place: str, makes: Mapping[str, Sequence[int]]
) -> Sequence[Target]:
    places = work.places
    if name in work.twice and work.mend_edges:
        same = [i for i, step in enumerate(work.steps) if step.draft.id == name]
        return _before(work, at, name, place, same, "all that have this id")
    if (found := work.by_id(name, place)) is not None:
        return (found,)
    number = places.number(name)
    if number is not None and number[0] in places.bases.open and 0 < number[1] < at:
        work.mend(place, f"{name} can count from 0 or from 1; it waits for both")
        return (number[1] - 1, number[1])
    mention = next(mentions(name), None) or Mention(0, 0, name.lstrip("$#"), (), "ours")
    named = places.named(mention)
    if named is not None and work.is_step(named[0]):
        return (named[0],)
    for how, others in (("the steps of that expert", places.by_expert(name)), ("what makes it", makes.get(name, ()))):
        if others:
            return _before(work, at, name, place, others, how)
    return ()


def _before(work: CompileContext, at: int, name: str, place: str, steps: Sequence[int], how: str) -> Sequence[int]:
    """Choose, of the steps that a name may mean, those before this one, otherwise one after it."""
    before = [i for i in steps if i < at] or [i for i in steps if i != at][:1] or steps[:1]
    work.mend(place, f"{quoted(name)} read as {', '.join(map(work.id, before))}, {how}")
    return before


def _link(work: CompileContext, place: str, link: tuple[str, str]) -> None:
    """Add the edges of a link: between two steps, or between all steps of two experts that stand in this order."""
    ends = [work.places.ends(name) for name in link]
    if any(not steps and squeezed(name) in _NO_STEP for name, steps in zip(link, ends, strict=True)):
        return
    for name, steps in zip(link, ends, strict=True):
        work.by_id(name, place)
        if not steps:
            work.dangling(place, name)
    before, after = ends
    pairs = [(b, a) for b in after for a in before if isinstance(b, int) and (isinstance(a, str) or a < b)]
    for at, target in pairs or [(b, a) for b in after[:1] for a in before[:1] if isinstance(b, int)]:
        work.edges.add(at, target, "links")


def settle(work: CompileContext) -> bool:
    """Refuse or drop edges of a step to itself, and cycles. References along dropped edges become plain text.

    Returns whether no cycle is left.
    """
    for at in range(len(work.steps)):
        if at in work.edges.waits[at]:
            _drop(work, at, at, "it waits for itself", "name an earlier step, or none")
    stuck, cuts = any(at in waits for at, waits in enumerate(work.edges.waits)), 0
    while not stuck and (cycle := work.edges.cycle()):
        if (cuts := cuts + 1) > MAX_CUTS:
            work.problem("steps", f"more than {MAX_CUTS} cycles; let each step wait for earlier ones only")
            return False
        shown = " -> ".join(map(work.id, cycle if len(cycle) <= 10 else (*cycle[:5], *cycle[-5:])))
        at, target = work.edges.backward(cycle)
        stuck = not _drop(work, at, target, f"circular: {shown}", "remove one of these edges")
    return not stuck


def _drop(work: CompileContext, at: int, target: int, what: str, remedy: str) -> bool:
    """Drop an edge and the references along it; return False, with a problem reported, if that is not allowed."""
    step, place = work.steps[at], f"{work.steps[at].place}.depends_on"
    if not work.mend_edges or work.edges.is_firm(at, target):
        work.problem(place, f"{what}; {remedy}")
        return False
    work.edges.drop(at, target)
    step.pieces = [
        escaped(piece.written) if isinstance(piece, Use) and piece.target == target else piece for piece in step.pieces
    ]
    work.mend(place, f"{what}; it no longer waits for {work.id(target)}")
    return True
