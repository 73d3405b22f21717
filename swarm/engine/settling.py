"""A job's progress while events are applied, and the consequences of a settled subtask.

Dependants of a failure are dropped, dependants of a result may branch, a `for_each` is settled with its last item, and
a plan whose subtasks are all settled gives the job its cause to end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from swarm.engine.branching import Expand, Known, Refuse, Skip, branch
from swarm.engine.progress import RANK, SETTLED, UNAFFORDABLE, Graph, Progress, SubtaskState, final, item_id, parent_id
from swarm.types.answer import Ending
from swarm.types.plan import Subtask
from swarm.types.result import Usage

ON_REQUEST = "cancelled on request"
GIVEN_UP = {
    "cancelled": ON_REQUEST,
    "over_budget": "given up because the budget does not allow more",
    "unpriced": "given up because a budget holds and the model has no price",
}
"""Phrases in the reason of an ending for subtasks given up for one of these reasons."""


class MutableProgress:
    """Mutable copy of a Progress, so that applying n events takes linear time."""

    graph: Graph
    steps: dict[str, SubtaskState]
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
    unanswered: str
    unplanned: str
    left_out: tuple[str, ...]
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

    def put(self, name: str, step: SubtaskState) -> None:
        before = self.steps.get(name)
        self._unsettled -= before is not None and before.state not in SETTLED
        self._unsettled += step.state not in SETTLED
        self.steps[name] = step

    def change(self, name: str, **changes: object) -> None:
        if (step := self.steps.get(name)) is not None and step.state not in SETTLED:
            self.put(name, step.model_copy(update=changes))

    def end_with(self, cause: Ending, why: str) -> None:
        if self.cause is None or RANK.index(cause) < RANK.index(self.cause):
            self.cause, self.why = cause, why

    def withdraw(self, names: Iterable[str]) -> None:
        for name in list(names):
            self.put(name, self.steps[name].model_copy(update={"state": "withdrawn"}))

    def set_graph(self, graph: Graph) -> None:
        self.graph, self._children = graph, None

    # -- consequences of one settled subtask

    def give_up(self, name: str, **why: object) -> None:
        self.change(name, state="failed", **why)
        if name == parent_id(name):
            self.drop_descendants(name)
        else:
            self._item_settled(parent_id(name))

    def drop_descendants(self, root: str) -> None:
        because = self.steps[root].because or root
        stack = list(self.children_of(root))
        while stack:
            name = stack.pop()
            if self.steps[name].state not in SETTLED:
                self.change(name, state="dropped", reason="dependency", because=because)
                stack.extend(self.children_of(name))

    def children_of(self, name: str) -> list[str]:
        if self._children is None:
            self._children, self._by_id = {}, {subtask.id: subtask for subtask in self.graph.subtasks}
            for subtask in self.graph.subtasks:
                for other in subtask.depends_on:
                    self._children.setdefault(other, []).append(subtask.id)
        return self._children.get(name, [])

    def gave_up(self, name: str) -> bool:
        return name in self.steps and self.steps[name].state in ("failed", "dropped")

    def _item_settled(self, parent: str) -> None:
        """Settle a subtask once all its items are settled: solved if one of them is."""
        count = self.steps[parent].items
        items = (self.steps[item_id(parent, number)].state for number in range(count, 0, -1))
        if self.steps[parent].state != "expanded" or any(state not in SETTLED for state in items):
            return  # from the last, which is open for longest, so that this looks at few
        if any(self.steps[item_id(parent, number)].state == "solved" for number in range(1, count + 1)):
            self.change(parent, state="solved")
            self.solved(parent)
        else:
            self.give_up(parent, reason="expert_error", message=f"none of its {count} items was solved")

    def solved(self, name: str) -> None:
        """Settle the parent of a solved item, or branch the dependants of a solved subtask."""
        if name != parent_id(name):
            self._item_settled(parent_id(name))
        elif self.graph.branches:
            self.branch(self.children_of(name))

    def branch(self, names: Iterable[str]) -> None:
        """Skip, expand or give up the waiting subtasks in `names` that can be decided, and then their dependants."""
        stack = list(reversed(list(names)))
        while stack:
            name = stack.pop()
            if self.steps[name].state != "waiting":
                continue
            self.children_of(name)
            subtask = self._by_id[name]
            states = {i: self.steps[i].state if i in self.steps else "waiting" for i in subtask.depends_on}
            known = Known(self.values, self.unknown, self.max_items, len(self.steps))
            match branch(subtask, states, known):
                case Skip(message):
                    self.change(name, state="skipped", message=message)
                    stack.extend(reversed(self.children_of(name)))
                case Refuse(reason, message):
                    self.give_up(name, reason=reason, message=message)
                case Expand(0):
                    self.change(name, state="solved", empty=True, message=f"{subtask.for_each} is an empty list")
                    stack.extend(reversed(self.children_of(name)))
                case Expand(count):
                    self.change(name, state="expanded", items=count)
                    for number in range(1, count + 1):
                        self.put(item_id(name, number), SubtaskState(round=self.steps[name].round))

    # -- consequences for the job

    def finish_plan(self) -> None:
        """Set the job's cause, or request a new plan, once the plan is complete and all its subtasks are settled."""
        if not self.planned or self.open_round is not None or self.cause is not None:
            return
        if self._unsettled and not self.plan_only:
            return
        states = [s.state for s in self.steps.values() if s.state not in ("withdrawn", "skipped") and not s.items]
        solved = states.count("solved")
        if not states:
            self.end_with("rejected", "the plan has no subtasks")
        elif (solved == len(states) and not self.lacking) or self.plan_only:
            self.end_with("completed", "")
        elif self.may_plan_again():
            self.replan = self.rounds + 1
        elif solved == len(states):
            self.end_with("completed", "")
        else:
            self._short(f"{solved} of {len(states)} subtasks were solved", "partial" if solved else "failed")

    def may_plan_again(self) -> bool:
        return self.again and self.rounds <= self.replans and not final(self.steps.values())

    def _short(self, count: str, ending: Ending) -> None:
        """Set the cause of a job whose plan is finished with parts missing."""
        given_up = Counter(step.reason for step in self.steps.values() if step.state == "failed" and not step.items)
        lost = [f"{given_up[reason]} {words}" for reason, words in GIVEN_UP.items() if given_up[reason]]
        why = ", ".join((count, *lost))
        self.end_with("over_budget" if UNAFFORDABLE & given_up.keys() else ending, why)
