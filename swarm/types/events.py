"""Events of a job: the entries of its log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

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
    """The job was accepted. `due` is when it ends in any case; `deadline`: whether the caller set that time."""

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
    """A planner has started a round. Subtasks of an unfinished earlier round are withdrawn."""

    type: Literal["round_opened"] = "round_opened"
    round: int


class Planned(BaseEvent):
    """Subtasks were added to the plan. Round 0 is a plan from the caller.

    `closed`: the round is complete. A round that was planned in pieces is closed by an event with all of its subtasks;
    dispatched ones that are missing there, or differ, are withdrawn.
    """

    type: Literal["planned"] = "planned"
    round: int = 0
    subtasks: tuple[Subtask, ...] = ()
    fallbacks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Subtask id -> experts to try, in order, after its own has failed for good."""
    runner_ups: dict[str, str] = Field(default_factory=dict)
    """Subtask id -> the expert to ask, once, if its own finds nothing."""
    aggregate: Aggregate = "auto"
    closed: bool = True
    planner: str = ""
    notes: tuple[str, ...] = ()
    """Planning methods that were tried, with their scores."""
    why: dict[str, str] = Field(default_factory=dict)
    """Subtask id -> why this expert was chosen."""
    left_out: tuple[str, ...] = ()
    """Parts of the request that no subtask covers, in words."""
    mends: tuple[Mend, ...] = ()
    usage: Usage = Usage()
    """Usage of the planner's model."""
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

    The same attempt starts again only if its worker was lost or returned it, or if a call waited for room in a budget.
    """

    model_config = ConfigDict(populate_by_name=True)

    type: Literal["started"] = "started"
    subtask: str
    attempt: int
    claim: int = 1
    worker: str = ""
    expert: str = ""
    waited: int = 0
    """Milliseconds since it was due or was returned."""
    limited_by: str = Field(default="", validation_alias="gate")
    """Limiter that held it back, if any: `expert:NAME`, `model:ENDPOINT/MODEL` or `endpoint:ENDPOINT`; `budget:job`,
    `budget:tenant` or `budget:day` if a call waited for room in that budget."""
    limited_ms: int = Field(default=0, validation_alias="gated")
    """Milliseconds of `waited` for which it was held back. The aliases are the names that older versions write."""


class OutcomeRecorded(BaseEvent):
    """An attempt ended, with a solution or a failure. The body of a solution is outside the log, under `body`."""

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
    """Models that were tried before it, in order."""
    found: bool = True
    """False: the expert found nothing, and the plan names a runner-up for the subtask."""


class Valued(BaseEvent):
    """Values for `when` and `for_each` were looked up: `t1.label` -> its value, `t1.items[]` -> the length of that
    list.

    `advance` logs what a decision depends on, so that folding the log needs no results.
    """

    type: Literal["valued"] = "valued"
    values: dict[str, Any] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)
    """References without such a value -> what was found instead."""


class Withdrawn(BaseEvent):
    """A released attempt was withdrawn: it left its queue, or is stopped where it runs."""

    type: Literal["withdrawn"] = "withdrawn"
    subtask: str
    attempt: int
    stopped: bool = False
    """Whether it was running on a worker."""


class Tick(BaseEvent):
    """A timer fell due."""

    type: Literal["tick"] = "tick"


class CancelAsked(BaseEvent):
    """The cancellation of the job, or of one subtask, was requested."""

    type: Literal["cancel_asked"] = "cancel_asked"
    subtask: str = ""


class Answered(BaseEvent):
    """A delivery of its own has made the answer, or failed to."""

    type: Literal["answered"] = "answered"
    body: str = ""
    usage: Usage = Usage()
    lacking: str = ""
    """What the results lack, in the words of the model that was to write the answer; requests a new plan."""
    failure: Failure | None = None


class Ended(BaseEvent):
    """The job has ended. No event follows."""

    type: Literal["ended"] = "ended"
    ending: Ending
    complete: bool = False
    stopped: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    settled: int = 0
    """Micro-dollars that its model calls cost, as reported."""
    presumed: int = 0
    """Micro-dollars that calls of unknown fate may have cost beyond that."""


class Reset(BaseEvent):
    """A failover rolled the log back: discard all earlier events; those that follow start again."""

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
