"""Reducer: applies the events of a job's log to its Progress. Pure, so folding a log again gives the same.

It reads no clock; time enters as the time of a `tick` event.
"""

from __future__ import annotations

from collections.abc import Iterable

from swarm.engine import retry
from swarm.engine.progress import SETTLED, UNAFFORDABLE, Graph, Progress, SubtaskState, item_id, parent_id
from swarm.engine.settling import ON_REQUEST, MutableProgress
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
    """Return the progress after `events`, which must be the next ones of the log, in order."""
    reducer = _Reducer(MutableProgress(progress))
    for event in events:
        reducer.apply(event)
    return reducer.job.progress()


class _Reducer:
    """Applies each kind of event to a job's progress."""

    def __init__(self, job: MutableProgress) -> None:
        self.job = job

    def apply(self, event: AnyEvent) -> None:
        if self.job.ended:
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
                if event.at >= self.job.due:
                    late = "the deadline passed" if self.job.deadline else "the job reached its maximum age"
                    self.job.end_with("deadline", late)
            case CancelAsked() if event.subtask:
                self._cancel(event.subtask)
            case CancelAsked():
                self.job.end_with("cancelled", ON_REQUEST)
            case Answered():
                self._answered(event)
            case Accepted():
                self.job.attempts, self.job.window, self.job.max_items = event.attempts, event.window, event.max_items
                self.job.due, self.job.deadline, self.job.catalog = event.due, event.deadline, event.catalog
                self.job.replans, self.job.plan_only = event.replans, event.plan_only
            case Ended():
                self.job.ended, self.job.cause = True, event.ending

    # -- attempts

    def _released(self, event: Released) -> None:
        name, step = event.subtask, self.job.steps.get(event.subtask)
        if step is None and (parent := self.job.steps.get(parent_id(name))) is not None:
            # an item of a subtask that was withdrawn or cancelled before its expansion: it must be withdrawn
            self.job.put(name, SubtaskState(state="withdrawn", round=parent.round, attempt=event.attempt))
        elif step is not None and step.state in SETTLED:
            # released before the settlement was known: it stays settled, but a withdrawal must name this attempt
            self.job.put(name, step.model_copy(update={"attempt": event.attempt}))
        self.job.change(name, state="running", attempt=event.attempt, delay=event.delay)

    def _started(self, event: Started) -> None:
        """Count a delayed attempt as in flight from now on; other attempts are so from their release."""
        step = self.job.steps.get(event.subtask)
        if step is not None and step.delay and step.state == "running" and step.attempt == event.attempt:
            self.job.put(event.subtask, step.model_copy(update={"delay": 0}))

    def _taken_back(self, event: Withdrawn) -> None:
        step = self.job.steps.get(event.subtask)
        if step is not None and step.unwanted and step.attempt == event.attempt:
            self.job.put(event.subtask, step.model_copy(update={"attempt": 0}))

    def _cancel(self, name: str) -> None:
        """Give up one subtask on request, with its unsettled items; or one item."""
        step = self.job.steps.get(name)
        if step is None or step.state in SETTLED:
            return
        for number in range(1, step.items + 1):
            self.job.change(item_id(name, number), state="failed", reason="cancelled", message=ON_REQUEST)
        self.job.give_up(name, reason="cancelled", message=ON_REQUEST)
        self.job.finish_plan()

    def _outcome(self, event: OutcomeRecorded) -> None:
        name, step = event.subtask, self.job.steps.get(event.subtask)
        if spent := event.usage != _NOTHING:
            self.job.usage += event.usage
        if step is None:
            return
        if spent:
            used = step.usage + event.usage if step.usage else event.usage
            step = step.model_copy(update={"usage": used})
            self.job.put(name, step)
        if step.state in SETTLED:
            return
        if step.runner_up and (event.failure is not None or not event.found):
            if step.state == "running" and step.attempt == event.attempt:
                self._solved(name, body=step.nothing_body, size=step.nothing_size, runner_up=False)
        elif event.failure is None and not event.found and parent_id(name) in self.job.graph.runner_ups:
            kept = {"nothing_by": event.expert, "nothing_body": event.body, "nothing_size": event.size}
            self.job.change(name, state="retrying", runner_up=True, delay=0, **kept)
        elif event.failure is None:
            second = step.runner_up and step.attempt == event.attempt
            self._solved(name, body=event.body, size=event.size, runner_up=second)
        elif step.state == "running" and step.attempt == event.attempt:
            self._failed(name, step, event.failure)
        self.job.finish_plan()

    def _solved(self, name: str, **result: object) -> None:
        self.job.change(name, state="solved", **result)
        self.job.solved(name)

    def _failed(self, name: str, step: SubtaskState, failure: Failure) -> None:
        tried, refused, seed = step.tried + 1, step.refused, f"{name}:{step.turn}"
        others = step.turn < len(self.job.graph.fallbacks.get(parent_id(name), ()))
        why = {"reason": failure.reason, "message": failure.message[:500]}
        if failure.broken and others:
            delay = None
        elif failure.limited and not others:
            tried, refused = step.tried, refused + 1
            delay = retry.delay_of_refusal(failure, refused, seed)
        else:
            delay = retry.delay(failure, tried, self.job.attempts, seed)
        if delay is not None:
            self.job.change(name, state="retrying", tried=tried, refused=refused, delay=delay, **why)
        elif others:
            self.job.change(name, state="retrying", tried=0, refused=0, turn=step.turn + 1, delay=0, **why)
        else:
            self.job.give_up(name, **why)

    def _valued(self, event: Valued) -> None:
        self.job.values, self.job.unknown = self.job.values | event.values, self.job.unknown | event.missing
        self.job.branch([subtask.id for subtask in self.job.graph.subtasks])
        self.job.finish_plan()

    # -- planning

    def _round_opened(self, number: int) -> None:
        if self.job.open_round is not None and self.job.open_round < number:
            self.job.withdraw(name for name, step in self.job.steps.items() if step.round == self.job.open_round)
        if self.job.open_round is None or self.job.open_round < number:
            self.job.open_round = number

    def _planned(self, event: Planned) -> None:
        self.job.usage += event.usage
        given = event.round == 0 and not self.job.planned and self.job.open_round is None
        if not given and event.round != self.job.open_round:
            return
        if event.failure is not None:
            self._not_planned(event.round)
            if self.job.planned:
                self.job.unplanned = event.failure.message[:500]
            else:
                unaffordable = event.failure.reason in UNAFFORDABLE
                self.job.end_with("over_budget" if unaffordable else "rejected", event.failure.message)
        elif not event.closed:
            self._grow(event)
        else:
            self._close(event)
        self.job.finish_plan()

    def _not_planned(self, number: int) -> None:
        """Close a failed planning round: withdraw its subtasks, keep earlier ones, do not plan again."""
        self.job.withdraw(name for name, step in self.job.steps.items() if step.round == number)
        self.job.open_round, self.job.again, self.job.replan = None, False, 0

    def _close(self, event: Planned) -> None:
        """Close a round with its complete plan: withdraw dispatched subtasks that are not in it, or differ."""
        if self.job.planned and not event.subtasks:
            self._not_planned(event.round)
            return
        self.job.withdraw(self._rejected(event))
        if self.job.planned:
            self._replace(event.round)
        self._grow(event)
        self.job.unplanned = ""
        self.job.open_round, self.job.planned, self.job.rounds = None, True, self.job.rounds + 1
        self.job.again, self.job.replan = event.again, 0
        self.job.left_out = event.left_out
        if event.round:
            self._drop_unreachable(event.round)

    def _rejected(self, event: Planned) -> list[str]:
        if not self.job.steps:
            return []
        graph = self.job.graph
        final = {s.id: (s, event.fallbacks.get(s.id, ()), event.runner_ups.get(s.id)) for s in event.subtasks}
        begun = {s.id: (s, graph.fallbacks.get(s.id, ()), graph.runner_ups.get(s.id)) for s in graph.subtasks}
        return [
            name
            for name, step in self.job.steps.items()
            if step.round == event.round and final.get(parent_id(name)) != begun.get(parent_id(name))
        ]

    def _replace(self, number: int) -> None:
        """Withdraw the failed subtasks that a new plan replaces, and discard the answer."""
        lost = ("failed", "dropped")
        self.job.withdraw(n for n, step in self.job.steps.items() if step.round != number and step.state in lost)
        self.job.answer, self.job.answer_failed, self.job.unanswered, self.job.lacking = "", False, "", ""

    def _grow(self, event: Planned) -> None:
        new = tuple(s for s in event.subtasks if s.id not in self.job.steps)
        fallbacks = {s.id: event.fallbacks[s.id] for s in new if s.id in event.fallbacks}
        runner_ups = {s.id: event.runner_ups[s.id] for s in new if s.id in event.runner_ups}
        graph = Graph(
            subtasks=self._ordered(event) if event.closed else self.job.graph.subtasks + new,
            fallbacks=self.job.graph.fallbacks | fallbacks,
            runner_ups=self.job.graph.runner_ups | runner_ups,
            aggregate=event.aggregate if event.closed else self.job.graph.aggregate,
            branches=self.job.graph.branches or any(s.when or s.for_each for s in new),
        )
        self.job.set_graph(graph)
        for subtask in new:
            self.job.put(subtask.id, SubtaskState(round=event.round))
        for subtask in new:
            lost = [i for i in subtask.depends_on if self.job.gave_up(i)]
            if lost:
                self.job.drop_descendants(lost[0])
        if self.job.graph.branches:
            self.job.branch([subtask.id for subtask in new])

    def _ordered(self, event: Planned) -> tuple[Subtask, ...]:
        """Return the subtasks in the order of the complete plan; early dispatch may have had another order."""
        known = {subtask.id: subtask for subtask in (*event.subtasks, *self.job.graph.subtasks)}
        names = [subtask.id for subtask in event.subtasks]
        return (*(s for s in self.job.graph.subtasks if s.id not in names), *(known[name] for name in names))

    def _drop_unreachable(self, number: int) -> None:
        """Drop subtasks of a complete plan that can never run: their dependency is absent, or they form a cycle."""
        waiting = {
            s.id: {i for i in s.depends_on if not self._is_there(i) or self._waits(i, number)}
            for s in self.job.graph.subtasks
            if self._waits(s.id, number)
        }
        stack = [name for name, others in waiting.items() if not others]
        while stack:
            name = stack.pop()
            for child in self.job.children_of(name):
                if name in waiting.get(child, ()):
                    waiting[child].remove(name)
                    if not waiting[child]:
                        stack.append(child)
        for name, others in waiting.items():
            if others:
                why = f"it waits for {min(others)}, which can never be solved"
                self.job.change(name, state="dropped", reason="dependency", because=min(others), message=why)

    def _is_there(self, name: str) -> bool:
        return name in self.job.steps and self.job.steps[name].state != "withdrawn"

    def _waits(self, name: str, number: int) -> bool:
        step = self.job.steps.get(name)
        return step is not None and step.round == number and step.state == "waiting"

    # -- the answer

    def _answered(self, event: Answered) -> None:
        self.job.usage += event.usage
        self.job.answer, self.job.answers = event.body, self.job.answers + 1
        if event.lacking and self.job.cause in ("completed", "partial") and self.job.may_plan_again():
            self.job.cause, self.job.why, self.job.lacking = None, "", event.lacking
            self.job.finish_plan()
        else:
            self.job.answer_failed = event.failure is not None or not event.body
            self.job.unanswered = event.failure.message[:500] if event.failure is not None and not event.body else ""
