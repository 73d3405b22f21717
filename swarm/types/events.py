"""What happens to a job: the entries of its log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from swarm.types.answer import Ending
from swarm.types.base import Value
from swarm.types.plan import Aggregate, Subtask
from swarm.types.result import FailedModel, Failure, Mend, Usage


class BaseEvent(Value):
    """An entry of a job's log. `id` is `sequence-time`: the job's own count, and Redis' clock in milliseconds."""

    id: str = "0-0"

    @property
    def seq(self) -> int:
        return int(self.id.partition("-")[0])

    @property
    def at(self) -> int:
        return int(self.id.partition("-")[2] or 0)


class Accepted(BaseEvent):
    """The job exists. `due` is when it ends in any case, `deadline` says whether the caller set that."""

    type: Literal["accepted"] = "accepted"
    due: int = 0
    deadline: bool = False
    attempts: int = 3
    window: int = 64
    catalog: str = ""
    replans: int = 0
    plan_only: bool = False
    max_items: int = 100


class RoundOpened(BaseEvent):
    """A planner has begun. What an unfinished earlier round had started is withdrawn."""

    type: Literal["round_opened"] = "round_opened"
    round: int


class Planned(BaseEvent):
    """Subtasks that join the plan. Round 0 is a plan the caller gave.

    `closed`: the round is complete. A round that was planned piece by piece is closed by all of its subtasks; those it
    has started and that are not, or not like this, among them are withdrawn.
    """

    type: Literal["planned"] = "planned"
    round: int = 0
    subtasks: tuple[Subtask, ...] = ()
    fallbacks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Subtask id -> experts to try, in order, when its own fails for good."""
    aggregate: Aggregate = "auto"
    closed: bool = True
    planner: str = ""
    notes: tuple[str, ...] = ()
    """Which ways to a plan were tried, with their scores."""
    why: dict[str, str] = Field(default_factory=dict)
    """Subtask id -> why this expert."""
    left_out: tuple[str, ...] = ()
    """Wishes of the request that no subtask claims, in words."""
    mends: tuple[Mend, ...] = ()
    usage: Usage = Usage()
    """What the planner's model used."""
    again: bool = False
    """Whether this planner can plan around failures."""
    failure: Failure | None = None
    """Set when the planner gave up: the job is rejected."""


class Released(BaseEvent):
    """An attempt at a subtask was handed to the queue, to run after `delay` milliseconds."""

    type: Literal["released"] = "released"
    subtask: str
    attempt: int
    expert: str = ""
    delay: int = 0


class Started(BaseEvent):
    """A worker claimed the attempt.

    The same one starts again only when a worker was lost or handed it back, or when a call had to wait for room in a
    budget.
    """

    type: Literal["started"] = "started"
    subtask: str
    attempt: int
    claim: int = 1
    worker: str = ""
    expert: str = ""
    waited: int = 0
    """Milliseconds since it was due, or came back."""
    gate: str = ""
    """What was at its limits meanwhile, if anything: `expert:NAME`, `model:ENDPOINT/MODEL` or `endpoint:ENDPOINT`;
    `budget:job`, `budget:tenant` or `budget:day` where a call had to wait for room in one."""
    gated: int = 0
    """Milliseconds of `waited` for which it was."""


class OutcomeRecorded(BaseEvent):
    """How one attempt went. The body of a solution lies beside the log, under `body`."""

    type: Literal["outcome"] = "outcome"
    subtask: str
    attempt: int
    body: str = ""
    size: int = 0
    expert: str = ""
    usage: Usage = Usage()
    ms: int = 0
    failure: Failure | None = None
    model: str = ""
    """The model that answered."""
    failed_models: tuple[FailedModel, ...] = ()
    """Models that were asked before it, in order."""


class Valued(BaseEvent):
    """What `when` and `for_each` ask of results: `t1.label` -> its value, `t1.items[]` -> the length of that list.

    Looked up by `advance` when a decision hangs on it, and put on record so that a fold needs no results.
    """

    type: Literal["valued"] = "valued"
    values: dict[str, Any] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)
    """What has no such value -> what is there instead."""


class Withdrawn(BaseEvent):
    """An attempt that was released is no longer wanted: it has left its queue, and is stopped where it ran."""

    type: Literal["withdrawn"] = "withdrawn"
    subtask: str
    attempt: int
    stopped: bool = False
    """Whether a worker had it."""


class Tick(BaseEvent):
    """A timer fell due."""

    type: Literal["tick"] = "tick"


class CancelAsked(BaseEvent):
    """Somebody asked to cancel the job, or one subtask of it."""

    type: Literal["cancel_asked"] = "cancel_asked"
    subtask: str = ""


class Answered(BaseEvent):
    """The answer was made in a delivery of its own, or could not be."""

    type: Literal["answered"] = "answered"
    body: str = ""
    usage: Usage = Usage()
    lacking: str = ""
    """What the results do not hold, in the words of the model that was to write the answer: it asks for a new plan."""
    failure: Failure | None = None


class Ended(BaseEvent):
    """The job is over. Nothing is appended after this."""

    type: Literal["ended"] = "ended"
    ending: Ending
    complete: bool = False
    stopped: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    settled: int = 0
    """Micro-dollars that its model calls cost."""
    presumed: int = 0
    """What they may have cost beyond that: calls of which nobody knew at the end what had become of them."""


class Reset(BaseEvent):
    """The log was rolled back by a failover: forget what was seen, the events that follow start anew."""

    type: Literal["reset"] = "reset"


AnyEvent = (
    Accepted | RoundOpened | Planned | Released | Started | OutcomeRecorded | Valued | Withdrawn
    | Tick | CancelAsked | Answered | Ended | Reset
)  # fmt: skip
Event = Annotated[AnyEvent, Field(discriminator="type")]
event_adapter: TypeAdapter[AnyEvent] = TypeAdapter(Event)
EVENTS: dict[str, type[BaseEvent]] = {
    str(kind.model_fields["type"].default): kind
    for kind in (
        Accepted, RoundOpened, Planned, Released, Started, OutcomeRecorded, Valued, Withdrawn, Tick,
        CancelAsked, Answered, Ended, Reset,
    )
}  # fmt: skip
