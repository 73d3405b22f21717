"""Read `when` and `for_each` of a step, and check the fields a plan uses against the schemas of their results."""

from __future__ import annotations

import json
from collections.abc import Sequence

from swarm.planner.compile import fields
from swarm.planner.compile.context import CompileContext, Use, quoted
from swarm.planner.compile.graph import How
from swarm.planner.compile.instructions import told_path
from swarm.planner.compile.references import Target, mentions
from swarm.types.base import explain
from swarm.types.plan import ITEM, Condition


def conditions(work: CompileContext, at: int) -> None:
    """Read `when` and `for_each` of a step, and add their edges."""
    step = work.steps[at]
    if any(value is not None for value in (step.draft.when or {}).values()):
        _when(work, at)
    if step.draft.for_each:
        place = f"{step.place}.for_each"
        step.for_each = _result(work, at, fields.bare(step.draft.for_each), place, "for_each") or ""
        if step.for_each and step.for_each != step.draft.for_each:
            work.mend(place, f"{quoted(step.draft.for_each)} read as {step.for_each}")


def _when(work: CompileContext, at: int) -> None:
    step = work.steps[at]
    written, place = step.draft.when or {}, f"{step.place}.when"
    read, wrong = fields.condition(written)
    if read is None:
        work.problem(place, wrong)
        return
    result = _result(work, at, str(read["result"]), place, "when")
    if result is None:
        return
    try:
        step.when = Condition.model_validate(read | {"result": result})
    except ValueError as error:
        work.problem(place, explain(error))
        return
    if read | {"result": result} != dict(written):
        shown = step.when.model_dump(mode="json", exclude_unset=True)
        work.mend(place, f"read as {json.dumps(shown, ensure_ascii=False)[:200]}")


def _result(work: CompileContext, at: int, name: str, place: str, how: How) -> str | None:
    """Return the result that a condition or a list names, in our form; None after reporting a problem."""
    if how == "when" and work.steps[at].draft.for_each and name.partition(".")[0] == ITEM:
        return name
    found = next(mentions(name), None) or next(mentions(f"${{{name}}}"), None)
    use = work.resolved(at, found, f"${{{name}}}", place) if found else None
    if use is None:
        work.problem(place, f"{quoted(name)} is no result of the plan; {work.every_step()}")
        return None
    work.edges.add(at, use.target, how)
    path = told_path(work, use)
    _check(work, use.target, path, place, a_list=how == "for_each")
    return ".".join((work.id(use.target), *path))


def check_fields(work: CompileContext) -> None:
    """Check the schemas of steps, and the fields that instructions use of results with a known schema."""
    for step in work.steps:
        if step.draft.output is not None and (wrong := fields.schema_problem(step.draft.output)):
            work.problem(f"{step.place}.output", wrong)
        for piece in step.pieces:
            if isinstance(piece, Use) and piece.path:
                _check(work, piece.target, piece.path, f"{step.place}.instruction")


def _check(work: CompileContext, target: Target, path: Sequence[str], place: str, *, a_list: bool = False) -> None:
    end, there = fields.declared(work.schema(target), path)
    if there:
        reference = work.reference(target, path)
        work.problem(place, f"{reference} is no field of that result; it has {', '.join(there[:20])}")
    elif a_list and end is not None and end.get("type") not in (None, "array"):
        work.problem(place, f"{work.reference(target, path)} is no list but {end['type']}; name a list")
