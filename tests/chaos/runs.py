"""A job's plan and log -> what became of each part, and what should have become of it.

Written apart from the scheduler that it judges: edges, conditions, lists and inputs are worked out here once more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

from experts.prompt_inputs import with_item
from experts.registry import MakeContext
from swarm.engine.references import SKIPPED, gathered
from swarm.types.events import (
    Accepted,
    AnyEvent,
    CancelAsked,
    Ended,
    OutcomeRecorded,
    Planned,
    Released,
    RoundOpened,
    Started,
)
from swarm.types.plan import Condition, Subtask
from swarm.types.result import Failure, Solution
from tests.chaos.oracle import Oracle

State = Literal["solved", "skipped", "failed", "dropped", "open"]
"""`dropped`: something that it waited for failed. `open`: not settled when the job ended."""
NAMED = re.compile(r"\$\{([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\}")


@dataclass(frozen=True)
class Part:
    """A subtask of the plan, or one item of it."""

    name: str
    subtask: Subtask
    state: State
    expert: str
    """Who was asked last."""
    waits: tuple[str, ...] = ()
    """The parts whose results it has, as far as they are parts of the plan as it ran."""
    inputs: Mapping[str, Solution] = field(default_factory=dict)
    """What its expert was given."""
    solution: Solution | None = None
    expected: Solution | None = None
    """What the oracle answers; None where it would not answer either, or nothing was to be answered."""


@dataclass
class Tries:
    """What the log says of one part."""

    released: list[Released] = field(default_factory=list)
    started: list[Started] = field(default_factory=list)
    outcomes: list[OutcomeRecorded] = field(default_factory=list)

    @property
    def solved(self) -> OutcomeRecorded | None:
        return next((each for each in self.outcomes if each.failure is None), None)

    @property
    def failures(self) -> list[tuple[OutcomeRecorded, Failure]]:
        return [(each, each.failure) for each in self.outcomes if each.failure is not None]

    def started_by(self, outcome: OutcomeRecorded) -> Started | None:
        """When and by whom the attempt had last been begun when it came to this."""
        had = [each for each in self.started if each.attempt == outcome.attempt and each.seq < outcome.seq]
        return had[-1] if had else None

    @property
    def pending(self) -> bool:
        """Whether an attempt was handed to the queue and nothing came of it."""
        return len({each.attempt for each in self.released}) > len({each.attempt for each in self.outcomes})


@dataclass
class Run:
    """One job as it ran."""

    version: str
    plan: Planned
    parts: dict[str, Part] = field(default_factory=dict)
    """In the order of the plan; items in place of what had a list."""
    tries: Mapping[str, Tries] = field(default_factory=dict)
    ran_wrongly: list[str] = field(default_factory=list)
    cancelled: int = 0
    """The place in the log where it was asked to end; 0: it was not."""

    def of(self, *states: State) -> list[str]:
        return [part.name for part in self.parts.values() if part.state in states]

    def before(self, name: str) -> set[str]:
        """All parts that one built on."""
        found: set[str] = set()
        stack = [name]
        while stack:
            fresh = [each for each in self.parts[stack.pop()].waits if each not in found]
            found.update(fresh)
            stack += fresh
        return found

    @property
    def sinks(self) -> list[str]:
        used = {each for part in self.parts.values() for each in part.waits}
        return [name for name, part in self.parts.items() if name not in used and part.state != "skipped"]


def tries_of(events: Iterable[AnyEvent], unseen: Container[str] = ()) -> dict[str, Tries]:
    """By part, up to the end of the job; results of `unseen` came too late to be part of it."""
    found: dict[str, Tries] = {}
    for event in events:
        match event:
            case Released():
                found.setdefault(event.subtask, Tries()).released.append(event)
            case Started():
                found.setdefault(event.subtask, Tries()).started.append(event)
            case OutcomeRecorded() if event.failure is not None or event.subtask not in unseen:
                found.setdefault(event.subtask, Tries()).outcomes.append(event)
            case Ended():
                break
    return found


def plan_in(events: Iterable[AnyEvent]) -> Planned:
    """The plan that the job ran by: the first that was closed with something in it.

    A job that ended while its plan was being written ran by the pieces that had come of it (`closed` is False then).
    """
    known = list(takewhile(lambda event: not isinstance(event, Ended), events))
    plans = [each for each in known if isinstance(each, Planned)]
    if (closed := next((each for each in plans if each.closed and each.subtasks), None)) is not None:
        return closed
    number = open_round(known)
    pieces = [each for each in plans if each.round == number]
    if not pieces:
        return Planned()
    return Planned(round=number, subtasks=tuple(one for each in pieces for one in each.subtasks), closed=False)


def open_round(events: Iterable[AnyEvent]) -> int:
    """The round that was still being planned when the job ended; 0: none."""
    number = 0
    for event in events:
        match event:
            case RoundOpened():
                number = max(number, event.round)
            case Planned() if event.closed and event.round == number:
                number = 0
            case Ended():
                break
    return number


def version_of(events: Iterable[AnyEvent]) -> str:
    return next((each.catalog for each in events if isinstance(each, Accepted)), "")


def edges_of(subtask: Subtask) -> set[str]:
    """What a subtask of a given plan waits for: what it says, and what its words, condition and list name."""
    named = [subtask.when.result] if subtask.when else []
    named += [subtask.for_each] if subtask.for_each else []
    named += [name for name in NAMED.findall(subtask.instruction) if not (subtask.for_each and _head(name) == "item")]
    return {*subtask.depends_on, *map(_head, named)}


def _head(reference: str) -> str:
    return reference.partition(".")[0]


async def run_of(
    events: Sequence[AnyEvent],
    bodies: Mapping[str, Solution],
    oracle: Oracle,
    unseen: Container[str] = (),
    asking: Callable[[str], MakeContext] | None = None,
) -> Run:
    """Walk through the plan with what the log holds, and ask the oracle about every part that was answered.

    `asking` makes the context of an expert that asks for jobs, given what it came to.
    """
    run = Run(version_of(events), plan_in(events), tries=tries_of(events, unseen), cancelled=_cancelled(events))
    walk = _Walk(run, bodies, oracle, asking)
    for subtask in _in_order(run.plan.subtasks):
        await walk.take(subtask)
    order = [each.id for each in run.plan.subtasks]
    run.parts = dict(sorted(run.parts.items(), key=lambda item: order.index(item[0].partition("#")[0])))
    return run


def _cancelled(events: Iterable[AnyEvent]) -> int:
    return next((each.seq for each in events if isinstance(each, CancelAsked) and not each.subtask), 0)


def _in_order(subtasks: tuple[Subtask, ...]) -> Iterator[Subtask]:
    """Each after all that it waits for."""
    left, done = list(subtasks), set[str]()
    while left:
        ready = next((each for each in left if done.issuperset(each.depends_on)), left[0])
        left.remove(ready)
        done.add(ready.id)
        yield ready


class _Walk:
    """Goes through a plan, and knows of each subtask what those behind it get."""

    def __init__(
        self,
        run: Run,
        bodies: Mapping[str, Solution],
        oracle: Oracle,
        asking: Callable[[str], MakeContext] | None,
    ) -> None:
        self._run, self._bodies, self._oracle, self._asking = run, bodies, oracle, asking
        self._states: dict[str, State] = {}
        self._results: dict[str, Solution] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        """Subtask -> the parts that stand for it; of one that was skipped, those before it."""

    async def take(self, subtask: Subtask) -> None:
        name, waits = subtask.id, self._waits(subtask)
        state, count = self._verdict(subtask)
        if state is not None:
            self._settle(name, state)
            self._names[name] = waits if state == "skipped" else (name,)
            if state != "skipped":
                self._run.parts[name] = Part(name, subtask, state, subtask.expert, waits)
            self._must_not_run(subtask, state)
        elif subtask.for_each is None:
            await self._part(name, subtask, waits, 0)
            self._settle(name, self._run.parts[name].state, self._run.parts[name].solution)
            self._names[name] = (name,)
        elif count:
            await self._items(subtask, waits, count)
        else:  # an empty list has an empty result, and nothing ran for it
            self._settle(name, "solved", gathered({}))
            self._names[name] = waits
            self._must_not_run(subtask, "solved")

    async def _items(self, subtask: Subtask, waits: tuple[str, ...], count: int) -> None:
        names = [f"{subtask.id}#{number}" for number in range(1, count + 1)]
        for number, name in enumerate(names, start=1):
            await self._part(name, subtask.model_copy(update={"id": name}), waits, number)
        states = [self._run.parts[name].state for name in names]
        found = {name: self._run.parts[name].solution for name in names}
        solved = {name: solution for name, solution in found.items() if solution is not None}
        state: State = "open" if "open" in states else "solved" if solved else "failed"
        self._settle(subtask.id, state, gathered(solved))
        self._names[subtask.id] = tuple(names)

    async def _part(self, name: str, subtask: Subtask, waits: tuple[str, ...], item: int) -> None:
        tries = self._run.tries.get(name, Tries())
        solved = tries.solved
        expert = solved.expert if solved else tries.released[-1].expert if tries.released else subtask.expert
        state: State = "solved" if solved else "failed" if tries.failures and not tries.pending else "open"
        solution = self._bodies.get(solved.body) if solved else None
        if solved is not None and solution is None:
            self._run.ran_wrongly.append(f"the result of {name} is not in Redis")
        inputs = self._inputs(subtask, item)
        context = self._asking(solution.text) if self._asking and solution else None
        asked = self._oracle.solution(self._run.version, expert, subtask, inputs, context) if solved else None
        expected = await asked if asked is not None else None
        self._run.parts[name] = Part(name, subtask, state, expert, waits, inputs, solution, expected)

    def _inputs(self, subtask: Subtask, item: int) -> Mapping[str, Solution]:
        inputs = {each: self._results[each] for each in subtask.depends_on if each in self._results}
        return with_item(subtask, inputs, item) if item else inputs

    # -- what should become of a subtask

    def _verdict(self, subtask: Subtask) -> tuple[State | None, int]:
        """What it comes to without running; None: it runs, as so many items if it has a list."""
        before = [self._states[each] for each in subtask.depends_on if each in self._states]
        if any(state in ("failed", "dropped") for state in before):
            return "dropped", 0
        if "open" in before:
            return "open", 0
        if before and "solved" not in before:
            return "skipped", 0
        if subtask.when is not None and not self._holds(subtask.when):
            return "skipped", 0
        if subtask.for_each is None:
            return None, 0
        if self._states.get(_head(subtask.for_each)) == "skipped":
            return "skipped", 0
        items = self._value(subtask.for_each)
        return None, len(items) if isinstance(items, list) else 0

    def _holds(self, when: Condition) -> bool:
        value = self._value(when.result)
        if "equals" in when.model_fields_set:
            return bool(value == when.equals)
        return value is not None and bool(value != when.not_equals)

    def _value(self, reference: str) -> Any:
        name, _, path = reference.partition(".")
        if self._states.get(name) != "solved":
            return None
        data = self._results[name].data
        for part in path.split("."):
            data = data[part]
        return data

    def _must_not_run(self, subtask: Subtask, state: State) -> None:
        begun = [
            name for name, tries in self._run.tries.items() if name.partition("#")[0] == subtask.id and tries.started
        ]
        if begun:
            self._run.ran_wrongly.append(f"{', '.join(begun)} ran, which should be {state}")

    def _settle(self, name: str, state: State, solution: Solution | None = None) -> None:
        self._states[name] = state
        if state == "skipped":
            self._results[name] = SKIPPED
        elif solution is not None:
            self._results[name] = solution

    def _waits(self, subtask: Subtask) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for each in subtask.depends_on for name in self._names.get(each, ())))
