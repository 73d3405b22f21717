"""A job's log -> where the job stands. Pure, so that anyone can fold it again and finds the same.

There is no clock here; time comes in as the time of a `tick`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swarm import retry
from swarm.branches import Expand, Known, Refuse, Skip, branch
from swarm.events import (
    Accepted,
    Answered,
    AnyEvent,
    CancelAsked,
    Ended,
    OutcomeRecorded,
    Planned,
    Released,
    RoundOpened,
    Tick,
    Valued,
    Withdrawn,
)
from swarm.models import Ending, Failure, Usage
from swarm.plans import Subtask
from swarm.progress import RANK, SETTLED, Graph, Progress, Step, item, whole

_NOTHING = Usage()


def fold(progress: Progress, events: Iterable[AnyEvent]) -> Progress:
    """The progress after `events`, which must be the next ones of the log, in its order."""
    state = _Fold(progress)
    for event in events:
        state.take(event)
    return state.progress()


class _Fold:
    """A progress while events are folded into it: the same facts, but mutable, so that a fold is linear."""

    graph: Graph
    steps: dict[str, Step]
    attempts: int
    window: int
    due: int
    deadline: bool
    catalog: str
    replans: int
    plan_only: bool
    max_items: int
    open_round: int | None
    planned: bool
    rounds: int
    again: bool
    replan: int
    lacking: str
    values: dict[str, Any]
    unknown: dict[str, str]
    cause: Ending | None
    why: str
    answer: str
    answer_failed: bool
    answers: int
    ended: bool
    usage: Usage

    def __init__(self, progress: Progress) -> None:
        self._start = progress
        vars(self).update(vars(progress))
        self.steps = dict(progress.steps)
        self._unsettled = sum(step.state not in SETTLED for step in self.steps.values())
        self._by_id: dict[str, Subtask] = {}
        self._children: dict[str, list[str]] | None = None

    def progress(self) -> Progress:
        facts = vars(self)
        return self._start.model_copy(update={name: facts[name] for name in vars(self._start)})

    def take(self, event: AnyEvent) -> None:
        if self.ended:
            return
        match event:
            case OutcomeRecorded():
                self._outcome(event)
            case Released():
                self._released(event)
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
            case CancelAsked():
                self._because("cancelled", "cancelled on request")
            case Answered():
                self._answered(event)
            case Accepted():
                self.attempts, self.window, self.max_items = event.attempts, event.window, event.max_items
                self.due, self.deadline, self.catalog = event.due, event.deadline, event.catalog
                self.replans, self.plan_only = event.replans, event.plan_only
            case Ended():
                self.ended, self.cause = True, event.ending

    def _put(self, name: str, step: Step) -> None:
        before = self.steps.get(name)
        self._unsettled -= before is not None and before.state not in SETTLED
        self._unsettled += step.state not in SETTLED
        self.steps[name] = step

    def _change(self, name: str, **changes: object) -> None:
        if (step := self.steps.get(name)) is not None and step.state not in SETTLED:
            self._put(name, step.model_copy(update=changes))

    def _because(self, cause: Ending, why: str) -> None:
        if self.cause is None or RANK.index(cause) < RANK.index(self.cause):
            self.cause, self.why = cause, why

    # -- attempts

    def _released(self, event: Released) -> None:
        name, step = event.subtask, self.steps.get(event.subtask)
        if step is None and (parent := self.steps.get(whole(name))) is not None:
            # An item of what was withdrawn before it could be expanded: what was released of it must be taken back.
            self._put(name, Step(state="withdrawn", round=parent.round, attempt=event.attempt))
        elif step is not None and step.state in SETTLED:
            # Decided before that was known. It stays settled, but a withdrawal must name this attempt.
            self._put(name, step.model_copy(update={"attempt": event.attempt}))
        self._change(name, state="running", attempt=event.attempt, delay=0)

    def _taken_back(self, event: Withdrawn) -> None:
        step = self.steps.get(event.subtask)
        if step is not None and step.state == "withdrawn" and step.attempt == event.attempt:
            self._put(event.subtask, step.model_copy(update={"attempt": 0}))

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

    def _failed(self, name: str, step: Step, failure: Failure) -> None:
        tried = step.tried + 1
        why = {"reason": failure.reason, "message": failure.message[:500]}
        delay = retry.delay(failure, tried, self.attempts, f"{name}:{step.turn}")
        if delay is not None:
            self._change(name, state="retrying", tried=tried, delay=delay, **why)
        elif step.turn < len(self.graph.fallbacks.get(whole(name), ())):
            self._change(name, state="retrying", tried=0, turn=step.turn + 1, delay=0, **why)
        else:
            self._give_up(name, **why)

    def _give_up(self, name: str, **why: object) -> None:
        self._change(name, state="failed", **why)
        if name == whole(name):
            self._drop_descendants(name)
        else:
            self._item_settled(whole(name))

    def _drop_descendants(self, root: str) -> None:
        because = self.steps[root].because or root
        stack = list(self._children_of(root))
        while stack:
            name = stack.pop()
            if self.steps[name].state not in SETTLED:
                self._change(name, state="dropped", reason="dependency", because=because)
                stack.extend(self._children_of(name))

    def _children_of(self, name: str) -> list[str]:
        if self._children is None:
            self._children, self._by_id = {}, {subtask.id: subtask for subtask in self.graph.subtasks}
            for subtask in self.graph.subtasks:
                for other in subtask.depends_on:
                    self._children.setdefault(other, []).append(subtask.id)
        return self._children.get(name, [])

    # -- conditions and lists

    def _valued(self, event: Valued) -> None:
        self.values, self.unknown = self.values | event.values, self.unknown | event.missing
        self._branch([subtask.id for subtask in self.graph.subtasks])
        self._complete()

    def _went_well(self, name: str) -> None:
        """What follows from a result, beyond that others may begin."""
        if name != whole(name):
            self._item_settled(whole(name))
        elif self.graph.branches:
            self._branch(self._children_of(name))

    def _branch(self, names: Iterable[str]) -> None:
        """Skip, expand or give up what can be by now, and then what waited for it."""
        stack = list(reversed(list(names)))
        while stack:
            name = stack.pop()
            if self.steps[name].state != "waiting":
                continue
            self._children_of(name)
            subtask = self._by_id[name]
            states = {i: self.steps[i].state if i in self.steps else "waiting" for i in subtask.depends_on}
            known = Known(self.values, self.unknown, self.max_items, len(self.steps))
            match branch(subtask, states, known):
                case Skip(message):
                    self._change(name, state="skipped", message=message)
                    stack.extend(reversed(self._children_of(name)))
                case Refuse(reason, message):
                    self._give_up(name, reason=reason, message=message)
                case Expand(count):
                    self._change(name, state="expanded", items=count)
                    for number in range(1, count + 1):
                        self._put(item(name, number), Step(round=self.steps[name].round))

    def _item_settled(self, parent: str) -> None:
        """When all items are settled the whole is: solved if one of them is."""
        count = self.steps[parent].items
        items = (self.steps[item(parent, number)].state for number in range(count, 0, -1))
        if self.steps[parent].state != "expanded" or any(state not in SETTLED for state in items):
            return  # from the last, which is open for longest, so that this looks at few
        if any(self.steps[item(parent, number)].state == "solved" for number in range(1, count + 1)):
            self._change(parent, state="solved")
            self._went_well(parent)
        else:
            self._give_up(parent, reason="expert_error", message=f"none of its {count} items was solved")

    # -- planning

    def _round_opened(self, number: int) -> None:
        if self.open_round is not None and self.open_round < number:
            self._withdraw(name for name, step in self.steps.items() if step.round == self.open_round)
        if self.open_round is None or self.open_round < number:
            self.open_round = number

    def _withdraw(self, names: Iterable[str]) -> None:
        for name in list(names):
            self._put(name, self.steps[name].model_copy(update={"state": "withdrawn"}))

    def _planned(self, event: Planned) -> None:
        self.usage += event.usage
        given = event.round == 0 and not self.planned and self.open_round is None
        if not given and event.round != self.open_round:
            return
        if event.failure is not None:
            self._not_planned(event.round)
            if not self.planned:
                self._because("rejected", event.failure.message)
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
        self.open_round, self.planned, self.rounds = None, True, self.rounds + 1
        self.again, self.replan = event.again, 0
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
            if step.round == event.round and final.get(whole(name)) != begun.get(whole(name))
        ]

    def _replace(self, number: int) -> None:
        """A new plan was made around what failed: that leaves the plan. The answer is to be made anew."""
        lost = ("failed", "dropped")
        self._withdraw(n for n, step in self.steps.items() if step.round != number and step.state in lost)
        self.answer, self.answer_failed, self.lacking = "", False, ""

    def _grow(self, event: Planned) -> None:
        new = tuple(s for s in event.subtasks if s.id not in self.steps)
        fallbacks = {s.id: event.fallbacks[s.id] for s in new if s.id in event.fallbacks}
        self.graph = Graph(
            subtasks=self.graph.subtasks + new,
            fallbacks=self.graph.fallbacks | fallbacks,
            aggregate=event.aggregate if event.closed else self.graph.aggregate,
            branches=self.graph.branches or any(s.when or s.for_each for s in new),
        )
        self._children = None
        for subtask in new:
            self._put(subtask.id, Step(round=event.round))
        for subtask in new:
            lost = [i for i in subtask.depends_on if self._gave_up(i)]
            if lost:
                self._drop_descendants(lost[0])
        if self.graph.branches:
            self._branch([subtask.id for subtask in new])

    def _gave_up(self, name: str) -> bool:
        return name in self.steps and self.steps[name].state in ("failed", "dropped")

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

    # -- the end

    def _answered(self, event: Answered) -> None:
        self.usage += event.usage
        self.answer, self.answers = event.body, self.answers + 1
        if event.lacking and self.cause in ("completed", "partial") and self._may_plan_again():
            self.cause, self.why, self.lacking = None, "", event.lacking
            self._complete()
        else:
            self.answer_failed = event.failure is not None or not event.body

    def _may_plan_again(self) -> bool:
        return self.again and self.rounds <= self.replans

    def _complete(self) -> None:
        """When the plan is whole and every subtask of it is settled, the job has its cause, or needs a new plan."""
        if not self.planned or self.open_round is not None or self.cause is not None:
            return
        if self._unsettled and not self.plan_only:
            return
        states = [s.state for s in self.steps.values() if s.state not in ("withdrawn", "skipped") and not s.items]
        solved = states.count("solved")
        if not states:
            self._because("rejected", "the plan has no subtasks")
        elif (solved == len(states) and not self.lacking) or self.plan_only:
            self._because("completed", "")
        elif self._may_plan_again():
            self.replan = self.rounds + 1
        elif solved == len(states):
            self._because("completed", "")
        else:
            count = f"{solved} of {len(states)} subtasks were solved"
            self._because("partial" if solved else "failed", count)
