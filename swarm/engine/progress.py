"""Progress of a job, and facts derived from it. `reducer.py` computes it from the job's log alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from swarm.types.answer import Ending, Missing
from swarm.types.base import Value
from swarm.types.plan import Aggregate, Subtask
from swarm.types.result import Usage

RANK: tuple[Ending, ...] = ("cancelled", "over_budget", "deadline", "rejected", "failed", "partial", "completed")
"""Rank of causes: if several are logged when a job ends, the first of these counts."""

State = Literal[
    "waiting", "running", "retrying", "expanded", "solved", "skipped", "failed", "dropped", "withdrawn"
]  # fmt: skip
"""`expanded`: it runs as its items. `skipped`: its condition did not hold, or all its dependencies were skipped.
`dropped`: a dependency failed. `withdrawn`: it is no longer in the plan."""
SETTLED = frozenset({"solved", "skipped", "failed", "dropped", "withdrawn"})
WELL = frozenset({"solved", "skipped"})
"""Settled states after which dependants can run."""
UNAFFORDABLE = frozenset({"over_budget", "unpriced"})
"""Reasons for which another attempt or plan would fail too. Only another expert may be cheaper."""
NOT_AGAIN = UNAFFORDABLE | {"cancelled"}
"""Failure reasons after which no new plan is made."""

UNSETTLED = ("it had not begun when the job ended", "it was under way when the job ended")
"""Messages for parts that are missing without a failure: not begun, begun."""


class SubtaskState(Value):
    """State of one subtask, or of one item of it."""

    state: State = "waiting"
    round: int = 0
    attempt: int = 0
    """Number of the last released attempt, over all experts tried. If unwanted: the attempt to withdraw."""
    turn: int = 0
    """0: the subtask's own expert; n: its n-th fallback."""
    tried: int = 0
    """Failed attempts of this turn's expert."""
    refused: int = 0
    """Attempts that the server refused because of its limits."""
    items: int = 0
    """Number of items it was expanded to: steps `name#1`, `name#2`, ..."""
    empty: bool = False
    """Solved without items, since the list of its `for_each` is empty."""
    delay: int = 0
    """Milliseconds from the release of the next attempt until it may start. Meanwhile it is not in flight."""
    body: str = ""
    size: int = 0
    usage: Usage | None = None
    """None: no usage. It is cheaper to encode than an empty Usage, which is compared field by field."""
    reason: str = ""
    message: str = ""
    nothing_by: str = ""
    """The expert that found nothing before the runner-up was asked."""
    nothing_body: str = ""
    nothing_size: int = 0
    runner_up: bool = False
    """Whether the runner-up is asked, or its result stands."""
    because: str | None = None
    """For a dropped subtask: the failed one behind it."""

    @property
    def cancelled(self) -> bool:
        """Whether the cancellation of this very subtask was requested."""
        return self.state == "failed" and self.reason == "cancelled"

    @property
    def unwanted(self) -> bool:
        """Whether its last attempt must be withdrawn if it is still queued or running."""
        return self.attempt > 0 and (self.state == "withdrawn" or self.cancelled)


class Graph(Value):
    """Part of a job's state that only `planned` events change. It is stored separately, as the larger part."""

    subtasks: tuple[Subtask, ...] = ()
    fallbacks: dict[str, tuple[str, ...]] = {}
    runner_ups: dict[str, str] = {}
    aggregate: Aggregate = "auto"
    branches: bool = False
    """Whether any subtask has `when` or `for_each`; if not, branching is not evaluated."""


class Progress(Value):
    """State of a job at some point of its log."""

    graph: Graph = Graph()
    steps: dict[str, SubtaskState] = {}
    attempts: int = 3
    window: int = 64
    due: int = 0
    deadline: bool = False
    catalog: str = ""
    replans: int = 0
    plan_only: bool = False
    max_items: int = 100
    open_round: int | None = None
    planned: bool = False
    rounds: int = 0
    """Rounds that were closed by a plan."""
    again: bool = False
    """Whether the planner of the last round can plan again."""
    replan: int = 0
    """Number of the plan that is requested or being made; 0: none."""
    lacking: str = ""
    """What the results lack, in the words of the model that was to write the answer."""
    left_out: tuple[str, ...] = ()
    """Parts of the request that no subtask covers."""
    values: dict[str, Any] = {}
    """Values looked up for `when` and `for_each`, as in `Valued`."""
    unknown: dict[str, str] = {}
    """References without a value -> what was found instead."""
    cause: Ending | None = None
    why: str = ""
    answer: str = ""
    answer_failed: bool = False
    unanswered: str = ""
    """Why writing the answer gave none at all."""
    unplanned: str = ""
    """Why replanning gave no plan."""
    answers: int = 0
    """Number of answers that deliveries of their own have made or failed to make."""
    ended: bool = False
    usage: Usage = Usage()

    @property
    def settled(self) -> frozenset[str]:
        return frozenset(name for name, step in self.steps.items() if step.state in SETTLED)

    @property
    def solved(self) -> dict[str, str]:
        """Subtasks and items with a result -> the keys of their bodies."""
        return {
            n: step.body
            for n, step in self.steps.items()
            if step.state == "solved" and not step.items and not step.empty
        }

    @property
    def subtasks(self) -> tuple[Subtask, ...]:
        """Subtasks of the plan, without withdrawn ones."""
        return tuple(s for s in self.graph.subtasks if self.steps[s.id].state != "withdrawn")

    @property
    def discarded(self) -> Usage:
        """Usage of subtasks that are no longer in the plan."""
        spent = (step.usage for step in self.steps.values() if step.state == "withdrawn" and step.usage)
        return sum(spent, Usage())

    @property
    def may_plan_again(self) -> bool:
        """Whether the planner would be asked for another plan if this one falls short."""
        return self.again and self.rounds <= self.replans and not self.plan_only and not final(self.steps.values())

    def expert_of(self, subtask: Subtask, name: str = "") -> str:
        """Return the current expert of a subtask or of its item `name`: its own, a fallback or the runner-up."""
        step = self.steps[name or subtask.id]
        if step.runner_up:
            return self.graph.runner_ups[parent_id(subtask.id)]
        turn = step.turn
        return subtask.expert if turn == 0 else self.graph.fallbacks[parent_id(subtask.id)][turn - 1]

    def parts(self) -> tuple[Subtask, ...]:
        """Return the plan as it ran: items in place of expanded subtasks, without withdrawn, skipped or empty ones.

        A dependant of such a subtask depends on that one's dependencies instead.
        """
        subtasks = self.subtasks
        if not any(step.items or step.empty or step.state == "skipped" for step in self.steps.values()):
            return subtasks
        waits = {s.id: s.depends_on for s in subtasks}
        found = []
        for subtask in subtasks:
            if not self._without_result(subtask.id):
                edges = {"depends_on": tuple(self._resolved(subtask.depends_on, waits))}
                found += [subtask.model_copy(update=edges | {"id": name}) for name in self.items_of(subtask.id)]
        return tuple(found)

    def items_of(self, name: str) -> list[str]:
        """Return the items of an expanded subtask that were not withdrawn; for any other, itself."""
        count = self.steps[name].items
        if not count:
            return [name]
        items = (item_id(name, number) for number in range(1, count + 1))
        return [each for each in items if self.steps[each].state != "withdrawn"]

    def _without_result(self, name: str) -> bool:
        return self.steps[name].state == "skipped" or self.steps[name].empty

    def _resolved(self, names: Iterable[str], waits: dict[str, tuple[str, ...]]) -> Iterator[str]:
        seen, stack = set(), list(reversed(list(names)))
        while stack:
            name = stack.pop()
            if name in seen or name not in waits:
                continue
            seen.add(name)
            if self._without_result(name):
                stack.extend(reversed(waits[name]))
            else:
                yield from self.items_of(name)

    def sources(self, names: Iterable[str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """Return the body keys of settled subtasks: `inputs` and `groups` as in `Envelope`."""
        inputs: dict[str, str] = {}
        groups: dict[str, dict[str, str]] = {}
        for name in names:
            step = self.steps[name]
            if step.items or step.empty:
                of = {each: self.steps[each] for each in self.items_of(name)}
                groups[name] = {each: one.body for each, one in of.items() if one.body}
            else:
                inputs[name] = step.body
        return inputs, groups

    def missing(self) -> tuple[Missing, ...]:
        """List the parts that were not solved, and why."""
        found = []
        for subtask in self.subtasks:
            for name in self.items_of(subtask.id):
                step = self.steps[name]
                if step.state not in WELL:
                    expert = self.expert_of(subtask, name)
                    begun = step.state != "waiting"
                    reason = step.reason or ("unfinished" if begun else "not_started")
                    message = step.message or ("" if step.reason else UNSETTLED[begun])
                    found.append(
                        Missing(subtask=name, expert=expert, reason=reason, message=message, because=step.because)
                    )
        return tuple(found)


def final(steps: Iterable[SubtaskState]) -> bool:
    """Whether a subtask failed for a reason after which no new plan is made."""
    return any(step.state == "failed" and step.reason in NOT_AGAIN for step in steps)


def item_id(name: str, number: int) -> str:
    """Return the id of an item, counted from 1."""
    return f"{name}#{number}"


def parent_id(name: str) -> str:
    """Return the id of the plan's subtask: for an item, the part before its number."""
    return name.partition("#")[0]
