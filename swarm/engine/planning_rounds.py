"""Planning rounds: unique ids across rounds, and subtasks dispatched before their plan is complete. Pure.

A planner chooses the ids of its subtasks; in the log they are `r<round>.<id>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain

from swarm.types.events import Planned
from swarm.types.plan import ITEM, REFERENCE, Plan, Subtask, referenced
from swarm.types.result import Mend, Usage

_ROUND = re.compile(r"r\d+\.(.+)")
MAX_ID = 64

Rename = Callable[[str], str]
"""Maps an id to its new id."""


def in_round(planned: Planned, number: int, earlier: Collection[str] = ()) -> Planned:
    """Prefix all ids of `planned` with `r<number>.`, also those of dependencies outside a piece.

    Edges must be complete in `depends_on`. Those to `earlier` subtasks of the job stay as they are.
    """
    ids = {i for subtask in planned.subtasks for i in (subtask.id, *subtask.depends_on)}.difference(earlier)
    return renamed(planned, {i: f"r{number}.{i}" for i in ids}, earlier).model_copy(update={"round": number})


def renamed(planned: Planned, names: Mapping[str, str], others: Collection[str] = ()) -> Planned:
    """Rename ids wherever they occur in `planned`. Ids in `others` stay."""
    known = {name: name for name in others} | dict(names)

    def whole(reference: str) -> str:
        """Rename the subtask in a reference, and keep its fields."""
        named = referenced(reference, known)
        return reference if named is None else ".".join((known[named[0]], *named[1]))

    return planned.model_copy(
        update={
            "subtasks": tuple(_renamed(subtask, whole) for subtask in planned.subtasks),
            "fallbacks": {known.get(name, name): experts for name, experts in planned.fallbacks.items()},
            "runner_ups": {known.get(name, name): expert for name, expert in planned.runner_ups.items()},
            "why": {known.get(name, name): reason for name, reason in planned.why.items()},
            "mends": tuple(Mend(place=whole(mend.place), what=mend.what) for mend in planned.mends),
        }
    )


def _renamed(subtask: Subtask, whole: Rename) -> Subtask:
    def reference(found: re.Match[str]) -> str:
        return f"${{{whole(found[1])}}}"

    when = subtask.when
    return subtask.model_copy(
        update={
            "id": whole(subtask.id),
            "depends_on": tuple(whole(i) for i in subtask.depends_on),
            "instruction": REFERENCE.sub(reference, subtask.instruction),
            "when": when and when.model_copy(update={"result": whole(when.result)}),
            "for_each": subtask.for_each and whole(subtask.for_each),
        }
    )


# -- early dispatch --------------------------------------------------------------------------------------------


class DispatchedSubtasks:
    """Subtasks that a round has dispatched while its planner still writes, under the planner's own ids."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[str, tuple[str, ...]]] = {}

    def take(self, piece: Planned) -> Planned:
        """Return the subtasks of a piece that are to be dispatched now; their usage is reported when the round closes.

        A subtask that references a result without depending on it waits for the complete plan.
        """
        new = tuple(s for s in piece.subtasks if s.id not in self._begun and _written_out(s))
        self._begun |= _contents(new, piece.fallbacks)
        ids = {subtask.id for subtask in new}
        fallbacks = {name: experts for name, experts in piece.fallbacks.items() if name in ids}
        return piece.model_copy(update={"subtasks": new, "fallbacks": fallbacks, "closed": False, "usage": Usage()})

    def reconciled(self, final: Planned) -> Planned:
        """Return the complete plan with new ids for subtasks that differ from what was dispatched under their id.

        Such a subtask gets an id of its own, `t2` becomes `t2-b`, and so do dispatched subtasks that depend on it. The
        old id is then not in the plan, so what was dispatched under it is withdrawn.
        """
        now = _contents(final.subtasks, final.fallbacks)
        changed = {name for name in now if name in self._begun and now[name] != self._begun[name]}
        if not changed:
            return final
        changed |= {name for name in _after(final.subtasks, changed) if name in self._begun}
        taken = {*now, *self._begun}
        names: dict[str, str] = {}
        for name in now:
            names[name] = _unused(name, taken) if name in changed else name
            taken.add(names[name])
        return renamed(final, names)


def _written_out(subtask: Subtask) -> bool:
    return all(referenced(reference, subtask.depends_on) for reference in subtask.references)


def _contents(
    subtasks: Iterable[Subtask], fallbacks: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the content of subtasks for comparison: as JSON, where 1 differs from true and null from absent."""
    return {s.id: (s.model_dump_json(exclude_defaults=True), fallbacks.get(s.id, ())) for s in subtasks}


def _after(subtasks: Iterable[Subtask], roots: Iterable[str]) -> set[str]:
    """Return all direct and indirect dependants of `roots`."""
    children: dict[str, list[str]] = {}
    for subtask in subtasks:
        for other in subtask.depends_on:
            children.setdefault(other, []).append(subtask.id)
    found: set[str] = set()
    stack = list(roots)
    while stack:
        new = [name for name in children.get(stack.pop(), ()) if name not in found]
        found.update(new)
        stack.extend(new)
    return found


def _unused(name: str, taken: Collection[str]) -> str:
    letters = chain("bcdefghijklmnopqrstuvwxyz", map(str, range(2, 10_000)))
    tries = (f"{name[: MAX_ID - 1 - len(letter)]}-{letter}" for letter in letters)
    return next(each for each in tries if each not in taken)


# -- a plan that is only shown ---------------------------------------------------------------------------------


def as_plan(subtasks: Iterable[Subtask], aggregate: str) -> Plan:
    """Return the plan with the planner's own ids, to be read, changed and submitted."""
    subtasks = tuple(subtasks)
    short = {s.id: found[1] for s in subtasks if (found := _ROUND.fullmatch(s.id))}
    unique = len(set(short.values())) == len(short) and ITEM not in short.values()
    planned = renamed(Planned(subtasks=subtasks), short if unique and len(short) == len(subtasks) else {})
    return Plan.model_validate({"subtasks": planned.subtasks, "aggregate": aggregate})


def listing(plan: Plan) -> str:
    """List subtasks, a line each: expert, dependencies and the start of the instruction."""
    return "\n".join(_line(subtask) for subtask in plan.subtasks)


def _line(subtask: Subtask) -> str:
    about = " ".join(subtask.instruction.split())
    waits = f" after {', '.join(subtask.depends_on)}" if subtask.depends_on else ""
    when = f" if {subtask.when.result} fits" if subtask.when else ""
    each = f" for each of {subtask.for_each}" if subtask.for_each else ""
    return f"{subtask.id}  {subtask.expert}{waits}{when}{each}: {about if len(about) <= 200 else about[:199] + '…'}"
