"""A job's log -> where the job stands. Pure, so that anyone can fold it again and finds the same.

There is no clock here; time comes in as the time of a `tick`.
"""

from __future__ import annotations

from collections.abc import Iterable

from swarm.engine import retry
from swarm.engine.progress import SETTLED, UNAFFORDABLE, Graph, Progress, SubtaskState, item_id, parent_id
from swarm.engine.settling import ON_REQUEST, SubtaskStates
from swarm.types.events import (
    Accepted,
    Answered,
    AnyEvent,
    CancelAsked,
    Ended,
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

_NOTHING = Usage()


def fold(progress: Progress, events: Iterable[AnyEvent]) -> Progress:
    """The progress after `events`, which must be the next ones of the log, in its order."""
    state = _Fold(progress)
    for event in events:
        state.take(event)
    return state.progress()


class _Fold(SubtaskStates):
    """What each kind of event does to a progress."""

    def take(self, event: AnyEvent) -> None:
        if self.ended:
            return
        match event:
            case OutcomeRecorded():
                self._outcome(event)
            case Released():
                self._released(event)
            case Started():
                self._started(event)
            case Planned():
                self._planned(event)
            case RoundOpened():
                self._round_opened(event.round)
            case Valued():
                self._valued(event)
            case Withdrawn():
                self._taken_back(event)
            case Tick():
                if event.at >= self.due:
                    late = "the deadline passed" if self.deadline else "the job reached its greatest age"
                    self._because("deadline", late)
            case CancelAsked() if event.subtask:
                self._cancel(event.subtask)
            case CancelAsked():
                self._because("cancelled", ON_REQUEST)
            case Answered():
                self._answered(event)
            case Accepted():
                self.attempts, self.window, self.max_items = event.attempts, event.window, event.max_items
                self.due, self.deadline, self.catalog = event.due, event.deadline, event.catalog
                self.replans, self.plan_only = event.replans, event.plan_only
            case Ended():
                self.ended, self.cause = True, event.ending

    # -- attempts

    def _released(self, event: Released) -> None:
        name, step = event.subtask, self.steps.get(event.subtask)
        if step is None and (parent := self.steps.get(parent_id(name))) is not None:
            # An item of what was withdrawn or cancelled before it could be expanded: it must be taken back.
            self._put(name, SubtaskState(state="withdrawn", round=parent.round, attempt=event.attempt))
        elif step is not None and step.state in SETTLED:
            # Decided before that was known. It stays settled, but a withdrawal must name this attempt.
            self._put(name, step.model_copy(update={"attempt": event.attempt}))
        self._change(name, state="running", attempt=event.attempt, delay=event.delay)

    def _started(self, event: Started) -> None:
        """What waited for its delay is in flight from here on. Of the others that is known since their release."""
        step = self.steps.get(event.subtask)
        if step is not None and step.delay and step.state == "running" and step.attempt == event.attempt:
            self._put(event.subtask, step.model_copy(update={"delay": 0}))

    def _taken_back(self, event: Withdrawn) -> None:
        step = self.steps.get(event.subtask)
        if step is not None and step.unwanted and step.attempt == event.attempt:
            self._put(event.subtask, step.model_copy(update={"attempt": 0}))

    def _cancel(self, name: str) -> None:
        """Give up one subtask on request, with all its items that are not settled; or one item."""
        step = self.steps.get(name)
        if step is None or step.state in SETTLED:
            return
        for number in range(1, step.items + 1):
            self._change(item_id(name, number), state="failed", reason="cancelled", message=ON_REQUEST)
        self._give_up(name, reason="cancelled", message=ON_REQUEST)
        self._complete()

    def _outcome(self, event: OutcomeRecorded) -> None:
        name, step = event.subtask, self.steps.get(event.subtask)
        if spent := event.usage != _NOTHING:
            self.usage += event.usage
        if step is None:
            return
        if spent:
            used = step.usage + event.usage if step.usage else event.usage
            step = step.model_copy(update={"usage": used})
            self._put(name, step)
        if step.state in SETTLED:
            return
        if event.failure is None:
            self._change(name, state="solved", body=event.body, size=event.size)
            self._went_well(name)
        elif step.state == "running" and step.attempt == event.attempt:
            self._failed(name, step, event.failure)
        self._complete()

    def _failed(self, name: str, step: SubtaskState, failure: Failure) -> None:
        tried, refused, seed = step.tried + 1, step.refused, f"{name}:{step.turn}"
        others = step.turn < len(self.graph.fallbacks.get(parent_id(name), ()))
        why = {"reason": failure.reason, "message": failure.message[:500]}
        if failure.broken and others:
            delay = None
        elif failure.limited and not others:
            tried, refused = step.tried, refused + 1
            delay = retry.delay_of_refusal(failure, refused, seed)
        else:
            delay = retry.delay(failure, tried, self.attempts, seed)
        if delay is not None:
            self._change(name, state="retrying", tried=tried, refused=refused, delay=delay, **why)
        elif others:
            self._change(name, state="retrying", tried=0, refused=0, turn=step.turn + 1, delay=0, **why)
        else:
            self._give_up(name, **why)

    def _valued(self, event: Valued) -> None:
        self.values, self.unknown = self.values | event.values, self.unknown | event.missing
        self._branch([subtask.id for subtask in self.graph.subtasks])
        self._complete()

    # -- planning

    def _round_opened(self, number: int) -> None:
        if self.open_round is not None and self.open_round < number:
            self._withdraw(name for name, step in self.steps.items() if step.round == self.open_round)
        if self.open_round is None or self.open_round < number:
            self.open_round = number

    def _planned(self, event: Planned) -> None:
        self.usage += event.usage
        given = event.round == 0 and not self.planned and self.open_round is None
        if not given and event.round != self.open_round:
            return
        if event.failure is not None:
            self._not_planned(event.round)
            if self.planned:
                self.unplanned = event.failure.message[:500]
            else:
                unaffordable = event.failure.reason in UNAFFORDABLE
                self._because("over_budget" if unaffordable else "rejected", event.failure.message)
        elif not event.closed:
            self._grow(event)
        else:
            self._close(event)
        self._complete()

    def _not_planned(self, number: int) -> None:
        """A round came to nothing. What was planned before stays, and is not planned again."""
        self._withdraw(name for name, step in self.steps.items() if step.round == number)
        self.open_round, self.again, self.replan = None, False, 0

    def _close(self, event: Planned) -> None:
        """The round's whole plan: what was begun and is not in it, or not like this, is withdrawn."""
        if self.planned and not event.subtasks:
            self._not_planned(event.round)
            return
        self._withdraw(self._rejected(event))
        if self.planned:
            self._replace(event.round)
        self._grow(event)
        self.unplanned = ""
        self.open_round, self.planned, self.rounds = None, True, self.rounds + 1
        self.again, self.replan = event.again, 0
        self.left_out = event.left_out
        if event.round:
            self._drop_unreachable(event.round)

    def _rejected(self, event: Planned) -> list[str]:
        if not self.steps:
            return []
        final = {subtask.id: (subtask, event.fallbacks.get(subtask.id, ())) for subtask in event.subtasks}
        begun = {s.id: (s, self.graph.fallbacks.get(s.id, ())) for s in self.graph.subtasks}
        return [
            name
            for name, step in self.steps.items()
            if step.round == event.round and final.get(parent_id(name)) != begun.get(parent_id(name))
        ]

    def _replace(self, number: int) -> None:
        """A new plan was made around what failed: that leaves the plan. The answer is to be made anew."""
        lost = ("failed", "dropped")
        self._withdraw(n for n, step in self.steps.items() if step.round != number and step.state in lost)
        self.answer, self.answer_failed, self.unanswered, self.lacking = "", False, "", ""

    def _grow(self, event: Planned) -> None:
        new = tuple(s for s in event.subtasks if s.id not in self.steps)
        fallbacks = {s.id: event.fallbacks[s.id] for s in new if s.id in event.fallbacks}
        self.graph = Graph(
            subtasks=self._ordered(event) if event.closed else self.graph.subtasks + new,
            fallbacks=self.graph.fallbacks | fallbacks,
            aggregate=event.aggregate if event.closed else self.graph.aggregate,
            branches=self.graph.branches or any(s.when or s.for_each for s in new),
        )
        self._children = None
        for subtask in new:
            self._put(subtask.id, SubtaskState(round=event.round))
        for subtask in new:
            lost = [i for i in subtask.depends_on if self._gave_up(i)]
            if lost:
                self._drop_descendants(lost[0])
        if self.graph.branches:
            self._branch([subtask.id for subtask in new])

    def _ordered(self, event: Planned) -> tuple[Subtask, ...]:
        """The subtasks in the order of the whole plan, in which those that were begun early need not have come."""
        known = {subtask.id: subtask for subtask in (*event.subtasks, *self.graph.subtasks)}
        names = [subtask.id for subtask in event.subtasks]
        return (*(s for s in self.graph.subtasks if s.id not in names), *(known[name] for name in names))

    def _drop_unreachable(self, number: int) -> None:
        """In a whole plan, what waits for something that is not in it, or in a circle, would wait for ever."""
        waiting = {
            s.id: {i for i in s.depends_on if not self._is_there(i) or self._waits(i, number)}
            for s in self.graph.subtasks
            if self._waits(s.id, number)
        }
        stack = [name for name, others in waiting.items() if not others]
        while stack:
            name = stack.pop()
            for child in self._children_of(name):
                if name in waiting.get(child, ()):
                    waiting[child].remove(name)
                    if not waiting[child]:
                        stack.append(child)
        for name, others in waiting.items():
            if others:
                why = f"it waits for {min(others)}, which can never be solved"
                self._change(name, state="dropped", reason="dependency", because=min(others), message=why)

    def _is_there(self, name: str) -> bool:
        return name in self.steps and self.steps[name].state != "withdrawn"

    def _waits(self, name: str, number: int) -> bool:
        step = self.steps.get(name)
        return step is not None and step.round == number and step.state == "waiting"

    # -- the answer

    def _answered(self, event: Answered) -> None:
        self.usage += event.usage
        self.answer, self.answers = event.body, self.answers + 1
        if event.lacking and self.cause in ("completed", "partial") and self._may_plan_again():
            self.cause, self.why, self.lacking = None, "", event.lacking
            self._complete()
        else:
            self.answer_failed = event.failure is not None or not event.body
            self.unanswered = event.failure.message[:500] if event.failure is not None and not event.body else ""
