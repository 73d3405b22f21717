"""What happens next: pure, so that a job whose process died is simply decided again.

Progress is the fold of a job's log and of nothing else. Deciding adds no state of its own: what was decided comes
back as events (`released`, `ended`), written in the same script that checks that nobody decided in between. There is
no clock here; time comes in as the time of a `tick`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from swarm import retry
from swarm.models import (
    Accepted,
    Aggregate,
    Answered,
    AnyEvent,
    CancelAsked,
    Ended,
    Ending,
    Failure,
    Missing,
    OutcomeRecorded,
    Planned,
    Released,
    RoundOpened,
    Subtask,
    Tick,
    Usage,
    Value,
)

RANK: tuple[Ending, ...] = ("cancelled", "over_budget", "deadline", "rejected", "failed", "partial", "completed")
"""Of several causes that are on record when a job ends, the first of these counts."""

HEAVY = 256_000
"""Bytes of results above which the answer is made in a delivery of its own, so that `advance` stays short."""

State = Literal["waiting", "running", "retrying", "solved", "failed", "dropped", "withdrawn"]
SETTLED = frozenset({"solved", "failed", "dropped", "withdrawn"})


class Step(Value):
    """Where one subtask stands."""

    state: State = "waiting"
    round: int = 0
    attempt: int = 0
    """The last attempt released, counted over all experts tried."""
    turn: int = 0
    """0: the subtask's own expert; n: its n-th fallback."""
    tried: int = 0
    """Attempts that this turn's expert has failed."""
    delay: int = 0
    body: str = ""
    size: int = 0
    reason: str = ""
    message: str = ""
    because: str | None = None
    """For a dropped subtask: the failed one it waited for."""


class Graph(Value):
    """What does not change but by `planned` events. Kept apart, because it is the larger part."""

    subtasks: tuple[Subtask, ...] = ()
    fallbacks: dict[str, tuple[str, ...]] = {}
    aggregate: Aggregate = "auto"


class Progress(Value):
    """A job at some point of its log."""

    graph: Graph = Graph()
    steps: dict[str, Step] = {}
    attempts: int = 3
    window: int = 64
    due: int = 0
    deadline: bool = False
    catalog: str = ""
    open_round: int | None = None
    planned: bool = False
    cause: Ending | None = None
    why: str = ""
    answer: str = ""
    answer_failed: bool = False
    ended: bool = False
    usage: Usage = Usage()

    @property
    def settled(self) -> frozenset[str]:
        return frozenset(name for name, step in self.steps.items() if step.state in SETTLED)

    @property
    def solved(self) -> dict[str, str]:
        """Solved subtasks and the keys of their bodies, in plan order."""
        return {name: step.body for name, step in self.steps.items() if step.state == "solved"}

    @property
    def subtasks(self) -> tuple[Subtask, ...]:
        """The plan without what was withdrawn."""
        return tuple(s for s in self.graph.subtasks if self.steps[s.id].state != "withdrawn")

    def expert_of(self, subtask: Subtask) -> str:
        """Who has the subtask now: its own expert, or the fallback whose turn it is."""
        turn = self.steps[subtask.id].turn
        return subtask.expert if turn == 0 else self.graph.fallbacks[subtask.id][turn - 1]

    def missing(self) -> tuple[Missing, ...]:
        """What was not solved, and why."""
        found = []
        for subtask in self.subtasks:
            step = self.steps[subtask.id]
            if step.state != "solved":
                reason = step.reason or {"waiting": "not_started"}.get(step.state, "unfinished")
                found.append(
                    Missing(
                        subtask=subtask.id,
                        expert=self.expert_of(subtask),
                        reason=reason,
                        message=step.message,
                        because=step.because,
                    )
                )
        return tuple(found)


class Release(Value):
    """Hand attempt `attempt` at a subtask to the queue of `expert`, to run after `delay` milliseconds."""

    subtask: str
    attempt: int
    expert: str
    delay: int = 0


class Withdraw(Value):
    """Take back what was released of a subtask that is no longer wanted. Safe to repeat."""

    subtask: str
    attempt: int


class AskAnswer(Value):
    """Have the answer made in a delivery of its own. Safe to repeat."""


class End(Value):
    """End the job."""

    ending: Ending


Action = Release | Withdraw | AskAnswer | End


def advance(progress: Progress, *events: AnyEvent) -> tuple[Progress, tuple[Action, ...]]:
    """Fold `events`, then return the progress and what it calls for.

    The first Solution of a subtask wins; a Failure closes only its attempt. A subtask that is given up settles
    everything that waited for it, so a plan always finishes. Folding in one go or piece by piece gives the same.
    """
    folded = fold(progress, events)
    return folded, decide(folded)


def fold(progress: Progress, events: Iterable[AnyEvent]) -> Progress:
    """The progress after `events`, which must be the next ones of the log, in its order."""
    state = _Fold(progress)
    for event in events:
        state.take(event)
    return state.progress()


def decide(progress: Progress) -> tuple[Action, ...]:
    """What a progress calls for. Deciding twice gives the same."""
    if progress.ended:
        return ()
    withdrawn = tuple(
        Withdraw(subtask=name, attempt=step.attempt)
        for name, step in progress.steps.items()
        if step.state == "withdrawn" and step.attempt
    )
    if progress.cause is None:
        return (*withdrawn, *_releases(progress))
    if _wants_answer(progress):
        return (*withdrawn, AskAnswer())
    return (End(ending=progress.cause),)


def _wants_answer(progress: Progress) -> bool:
    if progress.cause not in ("completed", "partial") or progress.answer or progress.answer_failed:
        return False
    return sum(step.size for step in progress.steps.values() if step.state == "solved") > HEAVY


def _releases(progress: Progress) -> Sequence[Release]:
    room = progress.window - sum(step.state == "running" for step in progress.steps.values())
    found: list[Release] = []
    for subtask in progress.graph.subtasks:
        if len(found) >= room:
            break
        step = progress.steps[subtask.id]
        ready = step.state == "waiting" and all(progress.steps[i].state == "solved" for i in subtask.depends_on)
        if ready or step.state == "retrying":
            expert = progress.expert_of(subtask)
            found.append(Release(subtask=subtask.id, attempt=step.attempt + 1, expert=expert, delay=step.delay))
    return found


class _Fold:
    """A progress while events are folded into it: the same facts, but mutable, so that a fold is linear."""

    def __init__(self, progress: Progress) -> None:
        self._start = progress
        self._steps = dict(progress.steps)
        self._unsettled = sum(step.state not in SETTLED for step in self._steps.values())
        self._graph = progress.graph
        self._children: dict[str, list[str]] | None = None
        self._rest: dict[str, object] = {}
        self.attempts, self.due, self.deadline = progress.attempts, progress.due, progress.deadline
        self.open_round, self.planned = progress.open_round, progress.planned
        self.cause, self.ended, self.usage = progress.cause, progress.ended, progress.usage

    def progress(self) -> Progress:
        facts = ("attempts", "due", "deadline", "open_round", "planned", "cause", "ended", "usage")
        changes = self._rest | {name: getattr(self, name) for name in facts}
        return self._start.model_copy(update=changes | {"steps": self._steps, "graph": self._graph})

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
            case Tick():
                if event.at >= self.due:
                    late = "the deadline passed" if self.deadline else "the job reached its greatest age"
                    self._because("deadline", late)
            case CancelAsked():
                self._because("cancelled", "cancelled on request")
            case Answered():
                self._rest |= {"answer": event.body, "answer_failed": event.failure is not None}
            case Accepted():
                self.attempts, self.due, self.deadline = event.attempts, event.due, event.deadline
                self._rest |= {"window": event.window, "catalog": event.catalog}
            case Ended():
                self.ended, self.cause = True, event.ending

    def _put(self, name: str, step: Step) -> None:
        before = self._steps.get(name)
        self._unsettled -= before is not None and before.state not in SETTLED
        self._unsettled += step.state not in SETTLED
        self._steps[name] = step

    def _change(self, name: str, **changes: object) -> None:
        if (step := self._steps.get(name)) is not None and step.state not in SETTLED:
            self._put(name, step.model_copy(update=changes))

    def _released(self, event: Released) -> None:
        step = self._steps.get(event.subtask)
        if step is not None and step.state in SETTLED:
            # Decided before that was known. It stays settled, but a withdrawal must name this attempt.
            self._put(event.subtask, step.model_copy(update={"attempt": event.attempt}))
        self._change(event.subtask, state="running", attempt=event.attempt, delay=0)

    def _because(self, cause: Ending, why: str) -> None:
        if self.cause is None or RANK.index(cause) < RANK.index(self.cause):
            self.cause = cause
            self._rest["why"] = why

    # -- planning

    def _round_opened(self, number: int) -> None:
        if self.open_round is not None and self.open_round < number:
            self._withdraw(self.open_round)
        if self.open_round is None or self.open_round < number:
            self.open_round = number

    def _withdraw(self, number: int) -> None:
        for name, step in list(self._steps.items()):
            if step.round == number:
                self._put(name, step.model_copy(update={"state": "withdrawn"}))

    def _planned(self, event: Planned) -> None:
        given = event.round == 0 and not self.planned and self.open_round is None
        if not given and event.round != self.open_round:
            return
        if event.failure is not None:
            self._withdraw(event.round)
            self.open_round = None
            if not self.planned:
                self._because("rejected", event.failure.message)
        else:
            self._grow(event)
            if event.closed:
                self.open_round, self.planned = None, True
        self._complete()

    def _grow(self, event: Planned) -> None:
        new = tuple(s for s in event.subtasks if s.id not in self._steps)
        self._graph = Graph(
            subtasks=self._graph.subtasks + new,
            fallbacks=self._graph.fallbacks | event.fallbacks,
            aggregate=event.aggregate,
        )
        self._children = None
        for subtask in new:
            self._put(subtask.id, Step(round=event.round))
        for subtask in new:
            lost = [i for i in subtask.depends_on if self._gave_up(i)]
            if lost:
                self._drop_descendants(lost[0])

    def _gave_up(self, name: str) -> bool:
        return self._steps[name].state in ("failed", "dropped")

    # -- outcomes

    def _outcome(self, event: OutcomeRecorded) -> None:
        self.usage += event.usage
        step = self._steps.get(event.subtask)
        if step is None or step.state in SETTLED:
            return
        if event.failure is None:
            self._change(event.subtask, state="solved", body=event.body, size=event.size)
        elif step.state == "running" and step.attempt == event.attempt:
            self._failed(event.subtask, step, event.failure)
        self._complete()

    def _failed(self, name: str, step: Step, failure: Failure) -> None:
        tried = step.tried + 1
        why = {"reason": failure.reason, "message": failure.message[:500]}
        delay = retry.delay(failure, tried, self.attempts, f"{name}:{step.turn}")
        if delay is not None:
            self._change(name, state="retrying", tried=tried, delay=delay, **why)
        elif step.turn < len(self._graph.fallbacks.get(name, ())):
            self._change(name, state="retrying", tried=0, turn=step.turn + 1, delay=0, **why)
        else:
            self._change(name, state="failed", **why)
            self._drop_descendants(name)

    def _drop_descendants(self, root: str) -> None:
        because = self._steps[root].because or root
        if self._children is None:
            self._children = {}
            for subtask in self._graph.subtasks:
                for other in subtask.depends_on:
                    self._children.setdefault(other, []).append(subtask.id)
        stack = list(self._children.get(root, ()))
        while stack:
            name = stack.pop()
            if self._steps[name].state not in SETTLED:
                self._change(name, state="dropped", reason="dependency", because=because)
                stack.extend(self._children.get(name, ()))

    def _complete(self) -> None:
        """When the plan is whole and every subtask of it is settled, the job has its cause."""
        if not self.planned or self.open_round is not None or self.cause is not None or self._unsettled:
            return
        states = [step.state for step in self._steps.values() if step.state != "withdrawn"]
        solved = states.count("solved")
        if not states:
            self._because("rejected", "the plan has no subtasks")
        elif solved == len(states):
            self._because("completed", "")
        else:
            count = f"{solved} of {len(states)} subtasks were solved"
            self._because("partial" if solved else "failed", count)
