"""Where a job stands, and what can be read off it. `reducer.py` makes it out of the job's log, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from swarm.types.answer import Ending, Missing
from swarm.types.base import Value
from swarm.types.plan import Aggregate, Subtask
from swarm.types.result import Usage

RANK: tuple[Ending, ...] = ("cancelled", "over_budget", "deadline", "rejected", "failed", "partial", "completed")
"""Of several causes that are on record when a job ends, the first of these counts."""

State = Literal[
    "waiting", "running", "retrying", "expanded", "solved", "skipped", "failed", "dropped", "withdrawn"
]  # fmt: skip
"""`expanded`: it runs as its items. `skipped`: its condition did not hold, or all it waited for was skipped.
`dropped`: what it waited for failed. `withdrawn`: the plan has it no longer."""
SETTLED = frozenset({"solved", "skipped", "failed", "dropped", "withdrawn"})
WELL = frozenset({"solved", "skipped"})
"""Settled so that what waits for it can go on."""
UNAFFORDABLE = frozenset({"over_budget", "unpriced"})
"""Reasons for which another attempt, or another plan, would fail as well. Another expert may be cheaper."""
NOT_AGAIN = UNAFFORDABLE | {"cancelled"}
"""Reasons to give up that no new plan may go around."""

UNSETTLED = ("it had not begun when the job ended", "it was under way when the job ended")
"""Why something is missing that never failed: not begun, begun."""


class SubtaskState(Value):
    """Where one subtask stands, or one item of it."""

    state: State = "waiting"
    round: int = 0
    attempt: int = 0
    """The last attempt released, counted over all experts tried. Of what is unwanted: the one to be taken back."""
    turn: int = 0
    """0: the subtask's own expert; n: its n-th fallback."""
    tried: int = 0
    """Attempts that this turn's expert has failed."""
    refused: int = 0
    """Attempts that its server did not take on, because of its limits."""
    items: int = 0
    """How many items it was expanded to: steps `name#1`, `name#2`, ..."""
    empty: bool = False
    """Solved without an item: the list that it goes through is empty."""
    delay: int = 0
    """Milliseconds that the next attempt waits, from its release until it starts. Meanwhile it is not in flight."""
    body: str = ""
    size: int = 0
    usage: Usage | None = None
    """None: nothing. Cheaper to write than an empty one, which is compared field by field."""
    reason: str = ""
    message: str = ""
    because: str | None = None
    """For a dropped subtask: the failed one it waited for."""

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to cancel this subtask alone."""
        return self.state == "failed" and self.reason == "cancelled"

    @property
    def unwanted(self) -> bool:
        """Whether its last attempt is to be taken back, if that is still somewhere."""
        return self.attempt > 0 and (self.state == "withdrawn" or self.cancelled)


class Graph(Value):
    """What does not change but by `planned` events. Kept apart, because it is the larger part."""

    subtasks: tuple[Subtask, ...] = ()
    fallbacks: dict[str, tuple[str, ...]] = {}
    aggregate: Aggregate = "auto"
    branches: bool = False
    """Whether any subtask has a condition or a list to go through. Plain plans need no look at that."""


class Progress(Value):
    """A job at some point of its log."""

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
    """Whether the planner of the last of them can plan again."""
    replan: int = 0
    """The number of the plan that is asked for, or made; 0: none is."""
    lacking: str = ""
    """What the results do not hold, in the words of the model that was to write the answer."""
    left_out: tuple[str, ...] = ()
    """Wishes of the request that no subtask of the plan claims."""
    values: dict[str, Any] = {}
    """What was looked up for `when` and `for_each`, as in `Valued`."""
    unknown: dict[str, str] = {}
    """What was looked up and has no value -> what is there instead."""
    cause: Ending | None = None
    why: str = ""
    answer: str = ""
    answer_failed: bool = False
    unanswered: str = ""
    """Why a delivery of its own brought no answer at all."""
    unplanned: str = ""
    """Why planning again brought no plan."""
    answers: int = 0
    """How often an answer was made in a delivery of its own, or could not be."""
    ended: bool = False
    usage: Usage = Usage()

    @property
    def settled(self) -> frozenset[str]:
        return frozenset(name for name, step in self.steps.items() if step.state in SETTLED)

    @property
    def solved(self) -> dict[str, str]:
        """Subtasks and items that have a result, and the keys of their bodies."""
        return {
            n: step.body
            for n, step in self.steps.items()
            if step.state == "solved" and not step.items and not step.empty
        }

    @property
    def subtasks(self) -> tuple[Subtask, ...]:
        """The plan without what was withdrawn."""
        return tuple(s for s in self.graph.subtasks if self.steps[s.id].state != "withdrawn")

    @property
    def discarded(self) -> Usage:
        """What was used for subtasks that the plan has no longer."""
        spent = (step.usage for step in self.steps.values() if step.state == "withdrawn" and step.usage)
        return sum(spent, Usage())

    @property
    def may_plan_again(self) -> bool:
        """Whether the planner would be asked for another plan, if this one came short."""
        return self.again and self.rounds <= self.replans and not self.plan_only and not final(self.steps.values())

    def expert_of(self, subtask: Subtask, name: str = "") -> str:
        """Who has the subtask, or its item `name`, now: its own expert, or the fallback whose turn it is."""
        turn = self.steps[name or subtask.id].turn
        return subtask.expert if turn == 0 else self.graph.fallbacks[parent_id(subtask.id)][turn - 1]

    def parts(self) -> tuple[Subtask, ...]:
        """The plan as it ran: items in place of what was expanded, and nothing that was withdrawn, skipped or empty.

        What waited for such a subtask waits for what that one waited for.
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
        """The items of an expanded subtask as far as they were not withdrawn; of another it is itself."""
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
        """Where the results of settled subtasks lie: `inputs` and `groups` as in `Envelope`."""
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
        """What was not solved, and why."""
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
    """Whether something was given up that no new plan may go around."""
    return any(step.state == "failed" and step.reason in NOT_AGAIN for step in steps)


def item_id(name: str, number: int) -> str:
    """The id of an item, counted from 1."""
    return f"{name}#{number}"


def parent_id(name: str) -> str:
    """The subtask of the plan that an id stands for: the part before an item's number."""
    return name.partition("#")[0]
