"""What a plan is: subtasks, the edges between them, and the conditions on them. A `Plan` that exists can run."""

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
"""A name of at most 64 characters, in a round `r1.name`. `name#3` is the third of a `for_each`, never in a plan."""
Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=256)]
"""`t1` or `t1.field`, as it stands inside `${...}`."""
ITEM = "item"
"""What `${item}` or `${item.field}` names in a subtask with `for_each`."""

RESULT_LINE = re.compile(r"^Result of [\w.-]{1,80} \([a-z0-9_-]{1,64}\): \$\{[\w.-]{1,80}\}$", re.ASCII | re.MULTILINE)
"""A line that `result_line` made."""
_NAMED = r"\$\{([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\}"
REFERENCE = re.compile(rf"(?<!\$){_NAMED}")
"""Where an instruction names a result, and the name as its group. `$${t1}` names none: it is the text `${t1}`."""
WRITTEN = re.compile(rf"\$(\$+\{{)|{_NAMED}")
"""What of an instruction does not stand for itself: an escape, with what it stands for as group 1, or a reference."""


def escaped(text: str) -> str:
    """`text` as a part of an instruction that is read as it is: the words of a user, never references.

    >>> escaped("Hi ${user.name}"), unescaped(escaped("Hi ${user.name}"))
    ('Hi $${user.name}', 'Hi ${user.name}')
    """
    return text.replace("${", "$${")


def unescaped(instruction: str) -> str:
    """An instruction as it is read, its references left as they are."""
    return WRITTEN.sub(lambda found: found[1] or found[0], instruction)


class Condition(Input):
    """What must hold of an earlier result for a subtask to run; exactly one comparison.

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
        """Nothing but what was given: None is a value to compare with, so it can be neither added nor left out."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}

    def holds(self, value: object) -> bool:
        """Whether it holds of `value`, of which it must be `comparable`. A value of another kind is equal to nothing.

        None is a null that stands there. Of a value that is missing nothing can be said, neither yes nor no.
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
        """Whether `value` can be compared at all: anything may be equal, only numbers are more or less."""
        if self.comparison not in ("at_least", "at_most"):
            return True
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    @property
    def comparison(self) -> str:
        """The name of the one comparison that was given."""
        (name,) = self.model_fields_set - {"result"}
        return name


def _same(one: object, other: object) -> bool:
    """Equal as JSON: 1 is 1.0, but neither is true."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _number(seconds: object) -> object:
    """A text such as `2s` is told what is wanted instead."""
    try:
        return float(seconds) if isinstance(seconds, str) else seconds
    except ValueError:
        raise ValueError(f"{seconds!r:.40} is no number; give seconds, such as 2 or 0.5") from None


class Subtask(Input):
    """One part of a plan: what one expert is asked.

    >>> Subtask(id="t2", expert="refund-policy", instruction="May ${t1.label} be returned?").references
    ('t1.label',)
    """

    id: SubtaskId
    expert: Name
    instruction: Text
    depends_on: tuple[SubtaskId, ...] = ()
    output: Annotated[dict[str, Any] | None, Plain] = None
    """A JSON schema that the result's data must fit."""
    when: Condition | None = None
    """Skipped unless this holds, failed if that cannot be said. What waits only for skipped subtasks is skipped too."""
    for_each: Reference | None = None
    """A list in an earlier result: the subtask runs once for each `${item}` of it."""
    timeout: Annotated[float | None, BeforeValidator(_number)] = Field(default=None, gt=0, le=86_400)
    """Seconds for one attempt, where the expert's card allows no less. None: as the card says."""

    @property
    def references(self) -> tuple[str, ...]:
        """The results that this subtask names, in `when`, in `for_each` and as `${...}`; once each."""
        named = [self.when.result] if self.when else []
        named += [self.for_each] if self.for_each else []
        named += REFERENCE.findall(self.instruction)
        return tuple(dict.fromkeys(i for i in named if not (self.for_each and i.partition(".")[0] == ITEM)))


def _dangling(subtask: Subtask, reference: str) -> str:
    """A reference that names no subtask, where it stands."""
    if reference == subtask.for_each:
        return f"for_each of subtask {subtask.id!r} is {reference!r}, which is no subtask of the plan"
    if subtask.when is not None and reference == subtask.when.result:
        return f"when of subtask {subtask.id!r} asks for {reference!r}, which is no subtask of the plan"
    remedy = "; only a subtask with for_each has an item" if reference.partition(".")[0] == ITEM else ""
    escape = f"; for these very characters write $${{{reference}}}"
    return f"subtask {subtask.id!r} uses ${{{reference}}}, which is no subtask of the plan{remedy}{escape}"


def result_line(subtask: str, expert: str) -> str:
    """How a planner hands a whole result over, below what it wants.

    >>> result_line("t1", "triage")
    'Result of t1 (triage): ${t1}'
    """
    return f"Result of {subtask} ({expert}): ${{{subtask}}}"


def referenced(reference: str, ids: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
    """Split `a.b.c` into the subtask it names and the path of fields inside its data; None if it names none."""
    known = ids if isinstance(ids, (set, frozenset, dict, Mapping)) else set(ids)
    parts = reference.split(".")
    for length in (2, 1):
        name = ".".join(parts[:length])
        if len(parts) >= length and name in known:
            return name, tuple(parts[length:])
    return None


class Plan(Input):
    """An acyclic set of subtasks. A Plan that exists is a Plan that can run.

    Edges are those declared in `depends_on` united with those used as `${id}` or `${id.field}`.
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
        """Subtask id -> ids it waits for. Raises ValueError for a name that is no subtask."""
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
        """The subtasks with every edge written out in `depends_on`."""
        edges = self.edges
        return tuple(
            s if s.depends_on == edges[s.id] else s.model_copy(update={"depends_on": edges[s.id]})
            for s in self.subtasks
        )

    @classmethod
    def read(cls, data: object) -> Plan:
        """Make a plan from parsed JSON or YAML, or raise InvalidPlan with the place and the remedy."""
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
    """The first cycle in a graph given as node -> predecessors, closed (`a, b, a`), or an empty tuple."""
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
