"""What a job's log means, told again in the plainest way and without the scheduler's code: an oracle for properties.

A `Story` keeps the bare facts of a log and derives from them, each time anew, where every subtask stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from swarm.engine.scheduler import HEAVY
from swarm.types.answer import Ending
from swarm.types.events import (
    Accepted,
    Answered,
    AnyEvent,
    CancelAsked,
    OutcomeRecorded,
    Planned,
    Released,
    RoundOpened,
    Started,
    Tick,
    Valued,
    Withdrawn,
)
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Usage

DUE = 10_000
OVER = {"solved", "skipped", "failed", "lost", "withdrawn"}
NO_MONEY = {"over_budget", "unpriced"}


@dataclass
class Story:
    """What a log means."""

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

    def told(self, log: Iterable[AnyEvent]) -> Story:
        """The same story, with what the log says next."""
        for event in log:
            self.tell(event)
            self._states = None
            self.see_whether_finished()
        return self

    def tell(self, event: AnyEvent) -> None:
        match event:
            case Accepted():
                self.accepted = event
            case RoundOpened():
                if self.open_round is not None:
                    self.withdraw(self.of_round(self.open_round))
                self.open_round = event.round
            case Planned():
                self.usage += event.usage
                if event.round == self.open_round or (event.round == 0 and not self.closed):
                    self.plan(event)
            case Valued():
                self.values |= event.values
                self.missing |= set(event.missing)
            case Released():
                gone = self.withdrawn | self.called_off
                if event.subtask not in self.names() and event.subtask.partition("#")[0] in gone:
                    self.withdrawn.add(event.subtask)
                self.released.setdefault(event.subtask, []).append(event.attempt)
                if event.delay:
                    self.delayed.add((event.subtask, event.attempt))
            case Started():
                self.delayed.discard((event.subtask, event.attempt))
            case Withdrawn():
                self.taken_back.add((event.subtask, event.attempt))
            case OutcomeRecorded():
                self.usage += event.usage
                self.outcome(event)
            case Tick():
                self.late |= event.at >= DUE
            case CancelAsked() if event.subtask:
                self.call_off(event.subtask)
            case CancelAsked():
                self.cancelled = True
            case Answered():
                self.answer(event)

    # -- planning

    def plan(self, event: Planned) -> None:
        if event.failure is not None or (event.closed and self.closed and not event.subtasks):
            self.withdraw(self.of_round(event.round))
            self.open_round, self.rejected = None, not self.closed
            self.again = self.wants_plan = False
            return
        if event.closed:
            final = {subtask.id for subtask in event.subtasks}
            self.withdraw([name for name in self.of_round(event.round) if name not in final])
            if self.closed:
                self.replace(event.round)
        for subtask in event.subtasks:
            chain = (subtask.expert, *event.fallbacks.get(subtask.id, ()))
            assert self.joined.setdefault(subtask.id, subtask) == subtask, "an id with two meanings"
            assert self.chain.setdefault(subtask.id, chain) == chain, "an id with two meanings"
            self.round_of[subtask.id] = event.round
        if event.closed:
            self.open_round, self.wants_plan = None, False
            self.closed, self.again = self.closed + 1, event.again

    def of_round(self, number: int) -> list[str]:
        return [name for name, round in self.round_of.items() if round == number]

    def withdraw(self, names: list[str]) -> None:
        self.withdrawn |= {each for name in names for each in (name, *self.items(name))}
        self._states = None

    def replace(self, number: int) -> None:
        """What failed before leaves the plan; the answer is to be made anew."""
        before = {name: state for name, state in self.states().items() if self.round_of[name] != number}
        items = [each for name in before for each in self.items(name) if each in self.given_up]
        self.withdrawn |= {*items, *(name for name, state in before.items() if state in ("failed", "lost"))}
        self.answered = self.lacking = False

    def answer(self, event: Answered) -> None:
        if event.lacking and self.finished in ("completed", "partial") and self.may_plan_again():
            self.finished, self.lacking = None, True
        else:
            self.answered = True

    def call_off(self, name: str) -> None:
        """What of it is not settled by now is given up; what waited for it is lost with it."""
        state = self.states().get(name) or self.parts().get(name, "withdrawn")
        if state in OVER:
            return
        items = [each for each in self.items(name) if self.parts()[each] == "open"] if state == "expanded" else []
        if state != "expanded":
            self.unexpanded.add(name)
        self.called_off |= {name, *items}
        self.given_up |= {name, *items}

    def may_plan_again(self) -> bool:
        for_good = self.called_off - self.withdrawn or self.without_money()
        return self.again and self.closed - 1 < self.accepted.replans and not for_good

    def without_money(self) -> set[str]:
        """What was given up because a budget did not allow it."""
        given_up = self.given_up - self.called_off - self.withdrawn
        return {name for name in given_up if self.last_failure(name).reason in NO_MONEY}

    def last_failure(self, name: str) -> Failure:
        return max(self.failures[name].items())[1]

    # -- attempts

    def outcome(self, event: OutcomeRecorded) -> None:
        name = event.subtask
        if name in self.withdrawn or name in self.given_up or name in self.solved:
            return
        if event.failure is None:
            self.solved[name] = event
        elif event.attempt == self.released[name][-1]:
            self.failures.setdefault(name, {}).setdefault(event.attempt, event.failure)
            if self.turn(name) == len(self.chain_of(name)):
                self.given_up.add(name)

    def chain_of(self, name: str) -> tuple[str, ...]:
        return self.chain[name.partition("#")[0]]

    def turn(self, name: str) -> int:
        """Which expert of the chain is to be asked next, the chain's length when none is left."""
        turn = tried = 0
        for _, failure in sorted(self.failures.get(name, {}).items()):
            tried += 1
            if not failure.retryable or failure.reason in NO_MONEY or tried == self.accepted.attempts:
                turn, tried = turn + 1, 0
        return turn

    # -- where everything stands

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

    # -- the end

    def see_whether_finished(self) -> None:
        if not self.closed or self.open_round is not None or self.finished or self.cancelled or self.late:
            return
        states = [state for state in self.parts().values() if state != "skipped"]
        if set(states) - OVER:
            return
        won = states.count("solved")
        if not states:
            self.rejected = True
        elif (won < len(states) or self.lacking) and self.may_plan_again():
            self.wants_plan = True
        elif self.without_money():
            self.finished = "over_budget"
        else:
            self.finished = "completed" if won == len(states) else "partial" if won else "failed"

    def ending(self) -> Ending | None:
        if self.cancelled:
            return "cancelled"
        if self.finished == "over_budget":
            return "over_budget"
        if self.late:
            return "deadline"
        return "rejected" if self.rejected else self.finished

    def asks_for_a_plan(self) -> bool:
        return self.wants_plan and self.open_round is None

    def heavy(self) -> bool:
        solved = [name for name, state in self.parts().items() if state == "solved"]
        return sum(self.solved[name].size for name in solved if name in self.solved) > HEAVY
