"""What a job's log means, told again in the plainest way and without the scheduler's code: an oracle for properties.

A `Story` reads a log event by event into the facts that it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable

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
from swarm.types.result import Failure
from tests.properties.engine.facts import OVER, Facts

DUE = 10_000
NO_MONEY = {"over_budget", "unpriced"}


class Story(Facts):
    """What a log means."""

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
