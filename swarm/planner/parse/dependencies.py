"""Read which steps a step depends on, as far as its own text says so."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from swarm.planner.parse.key_aliases import AliasedKeys
from swarm.planner.parse.known_experts import normalized
from swarm.planner.parse.raw_steps import MAX_STEPS, VARIABLE, RawStep, RawSteps, clean, dotted
from swarm.planner.parse.values import Bare

_NO_STEP = frozenset(("", "none", "null", "na", "nil", "start", "nodependencies", "nodependency", "1"))
_SPLIT = re.compile(r"\s*(?:[,;&|]|\band\b)\s*")


def refer(steps: Sequence[RawStep]) -> None:
    """Replace each unquoted `x` among arguments that is the variable of a call by `${x}`. All others become text."""
    ids = {step.id for step in steps if step.id and VARIABLE.fullmatch(step.id)}
    for step in steps:
        step.arguments = {key: _referred(value, ids) for key, value in step.arguments.items()}


def _referred(value: object, ids: Collection[str]) -> object:
    if isinstance(value, list):
        return [_referred(item, ids) for item in value]
    if isinstance(value, dict):
        return {key: _referred(item, ids) for key, item in value.items()}
    if not isinstance(value, Bare):
        return value
    variable = VARIABLE.fullmatch(value)
    if variable and variable["name"] in ids:
        return f"${{{variable['name']}{dotted(variable['path'])}}}"
    return str(value)


def names_that_are_ids(found: RawSteps) -> None:
    """Use `name` as the id where dependencies do."""
    names = [step.name for step in found.steps]
    spoken = {str(other) for step in found.steps for other in step.depends_on}
    spoken.update(name for link in found.links for name in link)
    if any(step.id for step in found.steps) or not spoken & (set(names) - {""}) or len(set(names)) < len(names):
        return
    for step in found.steps:
        step.id = step.name


def split_dependencies(found: RawSteps) -> None:
    """Split `"t1, t2"` into two ids, unless one step has the whole text as its id."""
    ids = {step.id for step in found.steps} | {step.expert for step in found.steps}
    for step in found.steps:
        named: list[object] = []
        for other in map(str, step.depends_on):
            parts = [other] if other in ids else [part for part in _SPLIT.split(other.strip("[]()")) if part]
            named += [part.strip("\"' ") for part in parts if part in ids or normalized(part) not in _NO_STEP - {"1"}]
        step.depends_on = list(dict.fromkeys(named))


def names_in(value: object) -> list[object]:
    """Return the ids in a dependency value as text; -1 means no dependency."""
    if isinstance(value, list):
        return [name for item in value[:MAX_STEPS] for name in names_in(item)]
    if isinstance(value, dict):
        keyed = AliasedKeys(value)
        for key in ("id", "step", "task", "name", "stepid", "taskid", "on", "source", "from", "node"):
            if isinstance(keyed.get(key), (str, int)):
                return names_in(keyed[key])
        return [clean(str(key))[:200] for key in list(value)[:MAX_STEPS]]
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, (int, float)):
        return [] if value < 0 else [str(int(value)) if float(value).is_integer() else str(value)]
    return [clean(value)[:2_000].strip()] if isinstance(value, str) and value.strip() else []


def link(edge: object) -> tuple[str, str] | None:
    if isinstance(edge, dict):
        keyed = AliasedKeys(edge)
        ends = [
            next((keyed[key] for key in keys if key in keyed), None)
            for keys in (("source", "from", "start", "parent"), ("target", "to", "end", "child"))
        ]
    elif isinstance(edge, str):
        ends = [part.strip() for part in re.split(r"->|=>|\u2192", edge[:500])]
    else:
        ends = list(edge) if isinstance(edge, list) else []
    if len(ends) != 2 or not all(isinstance(end, (str, int)) and str(end).strip() for end in ends):
        return None
    return clean(str(ends[0])).strip(), clean(str(ends[1])).strip()
