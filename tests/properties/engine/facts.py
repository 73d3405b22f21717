"""The bare facts of a job's log, and where every subtask stands by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from swarm.types.answer import Ending
from swarm.types.events import Accepted, OutcomeRecorded
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Usage

OVER = {"solved", "skipped", "failed", "lost", "withdrawn"}


@dataclass
class Facts:
    """What a log says so far; the state of a subtask is derived from it, each time anew."""

    accepted: Accepted = field(default_factory=Accepted)
    open_round: int | None = None
    closed: int = 0
    again: bool = False
    joined: dict[str, Subtask] = field(default_factory=dict)
    round_of: dict[str, int] = field(default_factory=dict)
    chain: dict[str, tuple[str, ...]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    taken_back: set[tuple[str, int]] = field(default_factory=set)
    solved: dict[str, OutcomeRecorded] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    released: dict[str, list[int]] = field(default_factory=dict)
    failures: dict[str, dict[int, Failure]] = field(default_factory=dict)
    """By attempt: only the failure of the last attempt released counts, once."""
    delayed: set[tuple[str, int]] = field(default_factory=set)
    """Attempts that were released with a delay and have not started."""
    called_off: set[str] = field(default_factory=set)
    """Subtasks and items that somebody cancelled one by one."""
    unexpanded: set[str] = field(default_factory=set)
    """Those of them that had no items yet."""
    cancelled: bool = False
    late: bool = False
    rejected: bool = False
    finished: Ending | None = None
    wants_plan: bool = False
    lacking: bool = False
    answered: bool = False
    usage: Usage = field(default_factory=Usage)
    _states: dict[str, str] | None = None

    def states(self) -> dict[str, str]:
        """Of every subtask of a plan: one of OVER, `expanded` or `open`."""
        if self._states is not None:
            return self._states
        known: dict[str, str] = {}

        def state(name: str) -> str:
            if name not in self.joined:
                return "open"  # it is still to come
            if name not in known:
                known[name] = self._state(self.joined[name], [state(i) for i in self.joined[name].depends_on])
            return known[name]

        self._states = {name: state(name) for name in self.joined}
        return self._states

    def _state(self, subtask: Subtask, parents: list[str]) -> str:
        name = subtask.id
        if name in self.withdrawn:
            return "withdrawn"
        if name in self.called_off:
            return "failed"
        if {"failed", "lost"} & set(parents):
            return "lost"
        if set(parents) - {"solved", "skipped"}:
            return "open"
        if parents and "solved" not in parents:
            return "skipped"
        if subtask.when is not None:
            wanted = subtask.when.result
            if parents[subtask.depends_on.index(wanted.rpartition(".")[0])] == "skipped":
                return "skipped"
            if self._nobody_can_say(subtask):
                return "failed"
            if wanted not in self.values:
                return "open"
            if not subtask.when.holds(self.values[wanted]):
                return "skipped"
        if subtask.for_each is not None:
            if parents[subtask.depends_on.index(subtask.for_each.rpartition(".")[0])] == "skipped":
                return "skipped"
            return self._expanded(name, subtask.for_each + "[]")
        return "solved" if name in self.solved else "failed" if name in self.given_up else "open"

    def _nobody_can_say(self, subtask: Subtask) -> bool:
        """Whether its condition asks for what is not there, or whether a word is more than a number."""
        if subtask.when is None:
            return False
        word = isinstance(self.values.get(subtask.when.result), str)
        return subtask.when.result in self.missing or (word and subtask.when.at_least is not None)

    def _expanded(self, name: str, place: str) -> str:
        if place in self.missing or self.values.get(place, 0) > self.accepted.max_items:
            return "failed"
        if place not in self.values:
            return "open"
        items = [f"{name}#{number}" for number in range(1, self.values[place] + 1)]
        if any(each not in self.solved and each not in self.given_up for each in items):
            return "expanded"
        return "solved" if not items or self.solved.keys() & set(items) else "failed"

    def items(self, name: str) -> list[str]:
        """The items of a subtask that was expanded, those that were withdrawn included."""
        place = (self.joined[name].for_each or "") + "[]"
        ran = name in self.withdrawn or self.states()[name] in ("expanded", "solved", "failed")
        if not ran or place not in self.values or place in self.missing or self._nobody_can_say(self.joined[name]):
            return []
        if name in self.unexpanded:
            return []
        if self.values[place] > self.accepted.max_items:
            return []
        found = [f"{name}#{number}" for number in range(1, self.values[place] + 1)]
        return [each for each in found if name not in self.withdrawn or each in self.withdrawn]

    def over_nothing(self) -> set[str]:
        """What is solved because the list that it goes through is empty: it has no result of its own."""
        return {name for name, state in self.states().items() if state == "solved" and name not in self.solved} - {
            name for name in self.joined if self.items(name)
        }

    def names(self) -> set[str]:
        """Everything that may have attempts, or had."""
        return {each for name in self.joined for each in (name, *self.items(name))} | self.withdrawn

    def parts(self) -> dict[str, str]:
        """What the job is made of now, with the state of each: subtasks, and items in place of what was expanded."""
        found: dict[str, str] = {}
        for name, state in self.states().items():
            items = self.items(name)
            for each in (items or [name]) if state != "withdrawn" else ():
                if each in self.withdrawn:
                    continue
                over = "solved" if each in self.solved else "failed" if each in self.given_up else "open"
                found[each] = over if items else state
        return found

    def settled(self) -> set[str]:
        states = self.states()
        subtasks = {name for name, state in states.items() if state in OVER}
        return subtasks | self.withdrawn | {name for name, state in self.parts().items() if state in OVER}

    def in_flight(self) -> set[str]:
        """What has a last released attempt that is not known to be over."""
        open_ones = {name for name, state in self.parts().items() if state == "open" and name in self.released}
        last = {name: self.released[name][-1] for name in open_ones}
        running = {name for name, attempt in last.items() if attempt not in self.failures.get(name, {})}
        return {name for name in running if (name, last[name]) not in self.delayed}

    def to_take_back(self) -> set[tuple[str, int]]:
        unwanted = self.withdrawn | self.called_off
        last = {(name, self.released[name][-1]) for name in unwanted & self.released.keys()}
        return last - self.taken_back
