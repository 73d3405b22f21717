"""Plans: subtasks, their dependencies, conditions and loops. A `Plan` that exists can run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_serializer, model_validator

from swarm.errors import InvalidPlan
from swarm.types.base import Input, Name, Plain, Text, explain

MAX_SUBTASKS = 1_000
Aggregate = Literal["auto", "pass", "join", "vote", "synthesis"]
SubtaskId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?(#[0-9]{1,4})?$", max_length=76)]
"""A name of at most 64 characters; in a planning round `r1.name`. `name#3`, an item of a `for_each`, is in no plan."""
Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=256)]
"""`t1` or `t1.field`, as inside `${...}`."""
ITEM = "item"
"""Name of the current item, `${item}` or `${item.field}`, in a subtask with `for_each`."""

RESULT_LINE = re.compile(r"^Result of [\w.-]{1,80} \([a-z0-9_-]{1,64}\): \$\{[\w.-]{1,80}\}$", re.ASCII | re.MULTILINE)
"""A line written by `result_line`."""
_NAMED = r"\$\{([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\}"
REFERENCE = re.compile(rf"(?<!\$){_NAMED}")
"""A reference in an instruction, its name as group 1. `$${t1}` is none: it stands for the text `${t1}`."""
WRITTEN = re.compile(rf"\$(\$+\{{)|{_NAMED}")
"""An escape in an instruction, its text as group 1, or a reference."""


def escaped(text: str) -> str:
    """Escape `text` for use in an instruction, so that a user's words are never read as references.

    >>> escaped("Hi ${user.name}"), unescaped(escaped("Hi ${user.name}"))
    ('Hi $${user.name}', 'Hi ${user.name}')
    """
    return text.replace("${", "$${")


def unescaped(instruction: str) -> str:
    """Undo `escaped`; references stay as they are."""
    return WRITTEN.sub(lambda found: found[1] or found[0], instruction)


class Condition(Input):
    """Condition on an earlier result under which a subtask runs; exactly one comparison.

    >>> Condition(result="t1.label", one_of=("refund", "return")).holds("refund")
    True
    """

    result: Reference
    equals: Annotated[Any, Plain] = None
    not_equals: Annotated[Any, Plain] = None
    one_of: tuple[Annotated[Any, Plain], ...] | None = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_comparison(self) -> Self:
        if len(self.model_fields_set - {"result"}) != 1:
            raise ValueError("give exactly one of equals, not_equals, one_of, at_least, at_most")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        """Serialize only the given fields: None is a value to compare with, so it is neither added nor dropped."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}

    def holds(self, value: object) -> bool:
        """Whether the condition holds for `value`, which must be `comparable`. Values of different types are unequal.

        None means JSON null. For a missing value the condition is undefined: do not call this.
        """
        wanted = getattr(self, self.comparison)
        match self.comparison:
            case "equals":
                return _same(value, wanted)
            case "not_equals":
                return not _same(value, wanted)
            case "one_of":
                return any(_same(value, one) for one in wanted)
        if not isinstance(value, (int, float)) or not self.comparable(value):
            return False
        return bool(value >= wanted if self.comparison == "at_least" else value <= wanted)

    def comparable(self, value: object) -> bool:
        """Whether `value` can be compared: any value for equality, only numbers for order."""
        if self.comparison not in ("at_least", "at_most"):
            return True
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    @property
    def comparison(self) -> str:
        """Name of the one given comparison."""
        (name,) = self.model_fields_set - {"result"}
        return name


def _same(one: object, other: object) -> bool:
    """Compare as JSON values: 1 equals 1.0, and neither equals true."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _number(seconds: object) -> object:
    """Convert a numeric text; refuse one such as `2s` with the remedy."""
    try:
        return float(seconds) if isinstance(seconds, str) else seconds
    except ValueError:
        raise ValueError(f"{seconds!r:.40} is no number; give seconds, such as 2 or 0.5") from None


class Subtask(Input):
    """One part of a plan: an instruction for one expert.

    >>> Subtask(id="t2", expert="refund-policy", instruction="May ${t1.label} be returned?").references
    ('t1.label',)
    """

    id: SubtaskId
    expert: Name
    instruction: Text
    depends_on: tuple[SubtaskId, ...] = ()
    output: Annotated[dict[str, Any] | None, Plain] = None
    """JSON schema of the result's data."""
    when: Condition | None = None
    """Skip the subtask unless this holds; fail it if that is undefined. Skipped too if all it depends on is skipped."""
    for_each: Reference | None = None
    """A list in an earlier result: the subtask runs once for each `${item}` of it."""
    timeout: Annotated[float | None, BeforeValidator(_number)] = Field(default=None, gt=0, le=86_400)
    """Seconds for one attempt, at most those of the expert's card. None: those of the card."""

    @property
    def references(self) -> tuple[str, ...]:
        """References of this subtask, in `when`, in `for_each` and as `${...}`; each once."""
        named = [self.when.result] if self.when else []
        named += [self.for_each] if self.for_each else []
        named += REFERENCE.findall(self.instruction)
        return tuple(dict.fromkeys(i for i in named if not (self.for_each and i.partition(".")[0] == ITEM)))


def _dangling(subtask: Subtask, reference: str) -> str:
    """Return the error message for a reference that names no subtask."""
    if reference == subtask.for_each:
        return f"for_each of subtask {subtask.id!r} is {reference!r}, which is no subtask of the plan"
    if subtask.when is not None and reference == subtask.when.result:
        return f"when of subtask {subtask.id!r} asks for {reference!r}, which is no subtask of the plan"
    remedy = "; only a subtask with for_each has an item" if reference.partition(".")[0] == ITEM else ""
    escape = f"; for these very characters write $${{{reference}}}"
    return f"subtask {subtask.id!r} uses ${{{reference}}}, which is no subtask of the plan{remedy}{escape}"


def result_line(subtask: str, expert: str) -> str:
    """Return the line with which a planner appends a whole result to an instruction.

    >>> result_line("t1", "triage")
    'Result of t1 (triage): ${t1}'
    """
    return f"Result of {subtask} ({expert}): ${{{subtask}}}"


def referenced(reference: str, ids: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
    """Split `a.b.c` into a subtask id and the path of fields in its data; None if it names no subtask."""
    known = ids if isinstance(ids, (set, frozenset, dict, Mapping)) else set(ids)
    parts = reference.split(".")
    for length in (2, 1):
        name = ".".join(parts[:length])
        if len(parts) >= length and name in known:
            return name, tuple(parts[length:])
    return None


class Plan(Input):
    """An acyclic set of subtasks. A Plan that exists can run.

    Its edges are those declared in `depends_on` and those used as `${id}` or `${id.field}`.
    """

    subtasks: tuple[Subtask, ...] = Field(min_length=1, max_length=MAX_SUBTASKS)
    aggregate: Aggregate = "auto"

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        ids = [subtask.id for subtask in self.subtasks]
        if twice := sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []:
            raise ValueError(f"subtask id {twice[0]!r} is used more than once; give each its own")
        if unfit := next((i for i in ids if "#" in i or len(i) > 64 or i == ITEM), None):
            raise ValueError(f"subtask id {unfit!r} has a # or over 64 characters, or is 'item'; choose another")
        edges = self.edges
        if cycle := find_cycle(edges):
            shown = cycle if len(cycle) <= 10 else (*cycle[:5], f"({len(cycle) - 10} more)", *cycle[-5:])
            raise ValueError(f"circular dependency {' -> '.join(shown)}; remove one of these edges")
        return self

    @property
    def edges(self) -> dict[str, tuple[str, ...]]:
        """Subtask id -> ids it depends on. Raises ValueError for an unknown id."""
        known = {subtask.id: None for subtask in self.subtasks}
        found: dict[str, tuple[str, ...]] = {}
        for subtask in self.subtasks:
            waits = dict.fromkeys(subtask.depends_on)
            for reference in subtask.references:
                named = referenced(reference, known)
                if named is None:
                    raise ValueError(_dangling(subtask, reference))
                waits[named[0]] = None
            for other in waits:
                if other not in known:
                    raise ValueError(f"subtask {subtask.id!r} depends on {other!r}, which is no subtask of the plan")
            found[subtask.id] = tuple(waits)
        return found

    def united(self) -> tuple[Subtask, ...]:
        """Return the subtasks with every edge in `depends_on`."""
        edges = self.edges
        return tuple(
            s if s.depends_on == edges[s.id] else s.model_copy(update={"depends_on": edges[s.id]})
            for s in self.subtasks
        )

    @classmethod
    def read(cls, data: object) -> Plan:
        """Build a plan from parsed JSON or YAML. Raises InvalidPlan with the place and the remedy."""
        if isinstance(data, list):
            data = {"subtasks": data}
        given = data.get("subtasks") if isinstance(data, Mapping) else None
        if isinstance(given, (list, tuple)) and len(given) > MAX_SUBTASKS:
            raise InvalidPlan(f"{len(given):,} subtasks, at most {MAX_SUBTASKS:,} are accepted", "split the plan")
        try:
            return cls.model_validate(data)
        except ValueError as error:
            raise InvalidPlan(explain(error)) from None


def find_cycle(edges: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return the first cycle of a graph of node -> predecessors, closed (`a, b, a`); empty if it is acyclic."""
    done: set[str] = set()
    for root in edges:
        path: dict[str, Any] = {}
        stack = [(root, iter(edges[root]))]
        path[root] = None
        while stack:
            node, rest = stack[-1]
            following = next((n for n in rest if n not in done), None)
            if following is None:
                stack.pop()
                done.add(node)
                path.pop(node, None)
            elif following in path:
                nodes = list(path)
                return (*nodes[nodes.index(following) :], following)
            else:
                path[following] = None
                stack.append((following, iter(edges[following])))
    return ()
