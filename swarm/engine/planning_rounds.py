"""Planning rounds: ids that no two rounds share, and what becomes of subtasks that were begun before a plan was whole.

A planner names its subtasks as it likes; in the log they are `r<round>.<name>`. Pure.
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
"""Of a whole id."""


def in_round(planned: Planned, number: int, earlier: Collection[str] = ()) -> Planned:
    """The same with ids `r<number>.<id>`, also of what a piece waits for and does not hold.

    Edges must be written out in `depends_on`. Those to `earlier` subtasks of the job stay as they are.
    """
    ids = {i for subtask in planned.subtasks for i in (subtask.id, *subtask.depends_on)}.difference(earlier)
    return renamed(planned, {i: f"r{number}.{i}" for i in ids}, earlier).model_copy(update={"round": number})


def renamed(planned: Planned, names: Mapping[str, str], others: Collection[str] = ()) -> Planned:
    """The same with other ids, wherever they are named. Ids in `others` are known and stay."""
    known = {name: name for name in others} | dict(names)

    def whole(reference: str) -> str:
        """A reference with its fields."""
        named = referenced(reference, known)
        return reference if named is None else ".".join((known[named[0]], *named[1]))

    return planned.model_copy(
        update={
            "subtasks": tuple(_renamed(subtask, whole) for subtask in planned.subtasks),
            "fallbacks": {known.get(name, name): experts for name, experts in planned.fallbacks.items()},
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


# -- pieces ----------------------------------------------------------------------------------------------------


class DispatchedSubtasks:
    """What a round has begun while its planner still writes, under the planner's own ids."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[str, tuple[str, ...]]] = {}

    def take(self, piece: Planned) -> Planned:
        """The part of a piece that has not begun yet. What it cost is told when the round closes.

        A subtask that names a result without waiting for it is left for the whole plan to say what it means.
        """
        new = tuple(s for s in piece.subtasks if s.id not in self._begun and _written_out(s))
        self._begun |= _contents(new, piece.fallbacks)
        ids = {subtask.id for subtask in new}
        fallbacks = {name: experts for name, experts in piece.fallbacks.items() if name in ids}
        return piece.model_copy(update={"subtasks": new, "fallbacks": fallbacks, "closed": False, "usage": Usage()})

    def reconciled(self, final: Planned) -> Planned:
        """The whole plan, in which no id means something else than what was begun under it.

        A subtask that was begun otherwise than it is meant now gets an id of its own, `t2` becomes `t2-b`, and so
        does what was begun and waits for it. Under its first id it is not in the plan, and is withdrawn.
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
    """What may not change: as JSON, in which 1 is not true, and a condition on null is not that on nothing."""
    return {s.id: (s.model_dump_json(exclude_defaults=True), fallbacks.get(s.id, ())) for s in subtasks}


def _after(subtasks: Iterable[Subtask], roots: Iterable[str]) -> set[str]:
    """All that waits for `roots`, however far behind."""
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
    """The plan as its planner named it, to be read, changed and submitted."""
    subtasks = tuple(subtasks)
    short = {s.id: found[1] for s in subtasks if (found := _ROUND.fullmatch(s.id))}
    unique = len(set(short.values())) == len(short) and ITEM not in short.values()
    planned = renamed(Planned(subtasks=subtasks), short if unique and len(short) == len(subtasks) else {})
    return Plan.model_validate({"subtasks": planned.subtasks, "aggregate": aggregate})


def listing(plan: Plan) -> str:
    """A line for each subtask: who gets it, what it waits for, and the beginning of what is asked."""
    return "\n".join(_line(subtask) for subtask in plan.subtasks)


def _line(subtask: Subtask) -> str:
    about = " ".join(subtask.instruction.split())
    waits = f" after {', '.join(subtask.depends_on)}" if subtask.depends_on else ""
    when = f" if {subtask.when.result} fits" if subtask.when else ""
    each = f" for each of {subtask.for_each}" if subtask.for_each else ""
    return f"{subtask.id}  {subtask.expert}{waits}{when}{each}: {about if len(about) <= 200 else about[:199] + '…'}"
