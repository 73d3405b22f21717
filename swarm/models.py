"""The values that cross Redis. All are frozen; nothing else travels between processes.

Times are milliseconds of Redis' clock since the epoch unless a name says otherwise; money is micro-dollars.
What a caller writes (requests, plans, cards) refuses fields it does not know, so that a typing error is seen at once;
what comes over the wire (`received`) passes them over, so that a newer process can speak to an older one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import BeforeValidator, Field, model_validator

from swarm.plans import Plan, Subtask
from swarm.sampling import Sampling
from swarm.values import Input, Name, Tenant, Text, Value

Kind = Literal["instruction", "rag", "fine-tuned"]
Ending = Literal["cancelled", "over_budget", "deadline", "rejected", "failed", "partial", "completed"]
ENDINGS: frozenset[str] = frozenset(get_args(Ending))
Reason = Literal[
    "timeout", "unavailable", "refused", "bad_output", "too_large", "expert_error", "bug", "poison",
    "missing_dependency", "no_expert", "no_answer", "bad_input", "over_budget", "unpriced", "cancelled",
    "too_long", "content_refused", "model_gone", "wrong_key", "quota_spent", "cut",
]  # fmt: skip


def as_reason(text: str) -> Reason:
    """The reason, or `expert_error` for one that somebody made up."""
    return cast(Reason, text) if text in get_args(Reason) else "expert_error"


def _known(reason: object) -> object:
    return as_reason(reason) if isinstance(reason, str) else reason


Uncited = Literal["keep", "fallback", "refuse"]
"""The answer stands as `unverified`; another expert is asked; or it counts as not found."""
Caveat = Literal["not_found", "unverified", "cut", "repaired", "low_confidence"]
"""What limits a result that is no failure: nothing was found; no citation backs it; it ends early because of a limit on
length or time; values that JSON does not have were replaced; the label is hardly likelier than others."""


def _known_caveats(caveats: object) -> object:
    if not isinstance(caveats, list | tuple):
        return caveats
    return tuple(each for each in caveats if each in get_args(Caveat))


Caveats = Annotated[tuple[Caveat, ...], BeforeValidator(_known_caveats)]
"""Those that only a newer process knows are passed over."""


# -- what is asked ---------------------------------------------------------------------------------------------


class Request(Input):
    """What a caller wants: a text, and if the caller knows better than the planner, an expert or a whole plan."""

    text: Text
    expert: Name | None = None
    plan: Plan | None = None
    tenant: Tenant = "default"
    deadline: float | None = Field(default=None, gt=0, le=86_400 * 7)
    """Seconds from acceptance; then the answer is made of what is there."""
    max_age: float | None = Field(default=None, gt=0, le=86_400 * 7)
    """Seconds after which the job ends in any case; None: as the settings say."""
    attempts: int = Field(default=3, ge=1, le=20)
    """How often one expert is tried for one subtask."""
    replans: int | None = Field(default=None, ge=0, le=5)
    """How often a planner may plan again after failures; None: as the settings say."""
    plan_only: bool = False
    """The job ends once it is planned; its answer's data is the plan."""
    budget: float | None = Field(default=None, ge=0, le=1_000_000)
    """US dollars that its model calls may cost, all together; None: no limit of its own."""
    priority: int = Field(default=0, ge=0, le=9)
    """Places it may overtake among what waits for the same expert: each step is worth 100 subtasks of its tenant."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.expert is not None and self.plan is not None:
            raise ValueError("expert and plan exclude each other; give one of them")
        return self


# -- who can answer --------------------------------------------------------------------------------------------


class Blob(Value):
    """A file that belongs to an expert, stored under the hash of its content."""

    path: str
    sha256: str
    size: int


class Limits(Input):
    """What an expert may use. None: no limit of its own."""

    concurrency: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    burst: int | None = Field(default=None, ge=1)
    """Requests that may begin at once after a pause; None: what a second allows, at least one."""


class Card(Value):
    """What the planner and the workers know of an expert. `version` is the hash of all the rest."""

    name: Name
    kind: Kind
    description: str
    model: str
    instruction: str = ""
    blobs: tuple[Blob, ...] = ()
    output: dict[str, Any] | None = None
    limits: Limits = Limits()
    timeout: float = 60.0
    """Seconds for one attempt."""
    fallback: tuple[Name, ...] = ()
    """Experts that are tried in order when this one has failed for good."""
    fallback_models: tuple[str, ...] = ()
    """Models that are asked in order, in the same attempt, when the one before did not answer."""
    sampling: Sampling = Sampling()
    """How its model is to write; what is not said here is as the endpoint says."""
    uncited: Uncited = "keep"
    """Of a rag expert: what becomes of a model's answer without one quote that stands in the documents."""
    partial: Literal["drop", "keep"] = "drop"
    """What becomes of the words that had come of a model's answer when the time of the attempt was over."""
    implementation: str | None = None
    """`module:attribute` of an expert in plain Python. Only workers that were told to load it serve it."""
    isolate: Literal["process"] | None = None
    """Whether an expert in plain Python computes in a process of its own."""
    version: str = ""


class Catalog(Value):
    """A set of cards with one version: the hash of theirs."""

    version: str
    cards: dict[str, Card]


# -- what comes back -------------------------------------------------------------------------------------------


class Usage(Value):
    """What model calls used. Sums with `+`.

    One rule for all, with or without a price: each request is a call, unless its server provably took nothing on (it
    was not asked, not reached, or refused with a 3xx or 4xx). A failed one counts as well as a good one.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    """Micro-dollars, settled: what the servers said that they used, at the prices on record."""
    presumed: int = 0
    """Micro-dollars, beside `cost`, kept for calls of which nobody knows what they used: the most it can be."""
    cached_tokens: int = 0
    """Those of `input_tokens` that a server had read before."""
    reasoning_tokens: int = 0
    """Those of `output_tokens` that are a model's thoughts."""
    estimated: int = 0
    """Those of `calls` whose tokens no server told, so that they were estimated: of the answer what came."""
    unknown: int = 0
    """Those of `calls` of which nobody knows what they used in the end: they failed, or were given up."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=self.cost + other.cost,
            presumed=self.presumed + other.presumed,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated + other.estimated,
            unknown=self.unknown + other.unknown,
        )


class Citation(Value):
    """Words that stand in a document: `quote` is found there as it is, white space aside."""

    document: str
    section: str = ""
    quote: str


class FailedModel(Value):
    """A model that was asked before the one that answered, and why it did not."""

    model: str
    reason: Annotated[Reason, BeforeValidator(_known)]


class Solution(Value):
    """What an expert answered."""

    text: str
    data: Any = None
    citations: tuple[Citation, ...] = ()
    confidence: float | None = None
    """Probability of the answer, 0 to 1; None: the expert does not estimate one."""
    model: str = ""
    """The model that answered."""
    usage: Usage = Usage()
    found: bool = True
    """False: the expert looked and has no answer."""
    caveats: Caveats = ()
    failed_models: tuple[FailedModel, ...] = ()
    """Models that were asked before `model`, in order."""


class Failure(Value):
    """Why one attempt gave nothing. It closes only its attempt."""

    reason: Annotated[Reason, BeforeValidator(_known)]
    """One that only a newer process knows is read as `expert_error`: what happened is in the message."""
    message: str
    retryable: bool = False
    retry_after: float | None = None
    """Seconds the other side asked us to wait."""
    limited: bool = False
    """The other side took nothing on, because of its limits: where nobody else can be asked, that is no attempt."""
    broken: bool = False
    """It was known before that its model fails everybody: where another expert can be asked, that is at once."""
    usage: Usage = Usage()


Outcome = Solution | Failure


class Mend(Value):
    """Something that a planner's text got wrong and that was put right. `place` is where, such as `steps.2.expert`."""

    place: str
    what: str


class Segment(Value):
    """A part of an answer, and the subtasks and citations behind it."""

    text: str
    subtasks: tuple[str, ...]
    expert: str
    citations: tuple[Citation, ...] = ()
    model: str = ""
    """The models that answered its own subtasks."""
    confidence: float | None = None
    """The lowest of its own subtasks that have one."""
    caveats: Caveats = ()
    failed_models: tuple[FailedModel, ...] = ()


class Missing(Value):
    """A part the answer lacks, and why. `because` is the subtask whose failure took this one with it."""

    subtask: str
    expert: str
    reason: str
    message: str = ""
    because: str | None = None


class Answer(Value):
    """The one answer of a job: what was found, where each part came from, and what is missing."""

    job: str
    ending: Ending
    complete: bool
    text: str = ""
    data: Any = None
    aggregate: str = ""
    segments: tuple[Segment, ...] = ()
    missing: tuple[Missing, ...] = ()
    usage: Usage = Usage()
    discarded: Usage = Usage()
    """The part of `usage` that went to subtasks which the plan then no longer had."""
    reason: str = ""
    """One sentence on why the job ended like this, where that is not plain."""
    found: bool = True
    """False: of the results that the answer shows, none found what it looked for."""


class Part(Value):
    """One attempt at a subtask, as a receipt lists it."""

    subtask: str
    attempt: int
    expert: str
    how: Literal["finished", "failed", "stopped", "withdrawn"]
    usage: Usage = Usage()
    unknown: bool = False
    """It was stopped at work: nobody knows what its last call used, which is `usage.presumed` at most."""
    model: str = ""
    """The model that answered."""
    failed_models: tuple[FailedModel, ...] = ()
    """Models that were asked before it, in order."""


class Receipt(Value):
    """What became of a job's parts, and what they used. Subtask attempts are named `subtask:attempt`."""

    job: str
    ending: Ending | None = None
    """None: the job goes on."""
    stopped: tuple[str, ...] = ()
    """Attempts that were running and have been stopped."""
    withdrawn: tuple[str, ...] = ()
    """Attempts that were queued and will not run."""
    finished: tuple[str, ...] = ()
    """Subtasks that have a result."""
    cancelled: tuple[str, ...] = ()
    """Subtasks and items that were cancelled one by one."""
    parts: tuple[Part, ...] = ()
    """Every attempt that was released and is over, in the order of its release."""
    usage: Usage = Usage()
    """Of the whole job, planning and the answer included."""


class JobInfo(Value):
    """A line of `jobs`."""

    id: str
    tenant: str
    text: str
    """The first characters of the request."""
    accepted_at: int
    state: str
    """`queued`, `planning`, `running`, or the ending."""
    settled: int = 0
    """As in `JobStatus`: solved, skipped or given up."""
    subtasks: int = 0
    cost: int = 0
    """Micro-dollars, settled."""
    presumed: int = 0


# -- what travels to a worker ----------------------------------------------------------------------------------


class Envelope(Value):
    """One attempt at one subtask on its way to a worker. Results of others are named by body key, not copied."""

    job: str
    subtask: Subtask
    attempt: int
    expert: Name
    catalog: str
    """The version whose card of `expert` is to be used."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Subtask id -> key of its body; empty for one that was skipped."""
    groups: dict[str, dict[str, str]] = Field(default_factory=dict)
    """The same for a subtask that ran once for each item of a list: its id -> id and key of every item's result."""
    after: str = ""
    """Why the attempt before failed, as the reason of its Failure; empty for the first."""
    item: int = 0
    """Which item of the list that `subtask.for_each` names this is about, counted from 1; 0: it has no such list."""
