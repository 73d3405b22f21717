"""The values that cross Redis. All are frozen; nothing else travels between processes.

Times are milliseconds of Redis' clock since the epoch unless a name says otherwise; money is micro-dollars.
What a caller writes (requests, plans, cards) refuses fields it does not know, so that a typing error is seen at once;
what comes over the wire (`received`) passes them over, so that a newer process can speak to an older one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from swarm.errors import InvalidPlan

MAX_SUBTASKS = 1_000
MAX_TEXT = 1_000_000
"""Bytes of a request's text, and of an instruction."""
MAX_DEPTH = 50
"""Levels of JSON inside JSON. Parsers give up at about 200, and the wire puts a few around it."""
MAX_VALUES = 100_000
"""Values inside an `output`; more than fit into any schema that an expert accepts."""

Kind = Literal["instruction", "rag", "fine-tuned"]
Aggregate = Literal["auto", "pass", "join", "vote"]
Ending = Literal["cancelled", "over_budget", "deadline", "rejected", "failed", "partial", "completed"]
ENDINGS: frozenset[str] = frozenset(get_args(Ending))
Reason = Literal[
    "timeout", "unavailable", "refused", "bad_output", "too_large", "expert_error", "bug", "poison",
    "missing_dependency", "no_expert", "no_answer", "bad_input",
]  # fmt: skip

_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _printable(text: str) -> str:
    if found := _CONTROL.search(text):
        raise ValueError(f"control character U+{ord(found[0]):04X} at position {found.start()}; remove it")
    if not text.strip():
        raise ValueError("empty; say what is wanted")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("not valid Unicode; send UTF-8 text") from None
    if size > MAX_TEXT:
        raise ValueError(f"{size:,} bytes, at most {MAX_TEXT:,} are accepted; shorten or split it")
    return text


def json_problem(value: object) -> str | None:
    """Why this is no JSON that every process can write and read; None if it is. Lists may be shared, not endless."""
    stack, seen = [(value, 0)], 0
    while stack:
        item, depth = stack.pop()
        seen += 1
        if seen + len(stack) > MAX_VALUES:
            return f"more than {MAX_VALUES:,} values; shorten it"
        if isinstance(item, (dict, list)):
            if depth == MAX_DEPTH:
                return f"nested more than {MAX_DEPTH} levels deep; flatten it"
            inside = [*item, *item.values()] if isinstance(item, dict) else item
            if isinstance(item, dict) and not all(isinstance(key, str) for key in item):
                return "a key that is no text; use plain JSON only"
            stack.extend((part, depth + 1) for part in inside)
        elif isinstance(item, str):
            if not _encodes(item):
                return "not valid Unicode; send UTF-8 text"
        elif isinstance(item, float):
            if not math.isfinite(item):
                return "a number that is not finite; use plain JSON only"
        elif isinstance(item, int):
            if item.bit_length() > 4_096:
                return "a number that is too long; write it as text"
        elif item is not None:
            return f"a Python {type(item).__name__}; use plain JSON only"
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: object) -> object:
    if problem := json_problem(value):
        raise ValueError(problem)
    return value


Text = Annotated[str, AfterValidator(_printable)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""The name of an expert: lower case, digits, `-` and `_`, at most 64 characters."""
SubtaskId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?$", max_length=64)]
JOB_ID = r"[A-Za-z0-9_-]{1,64}"
Tenant = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")]


class Value(BaseModel):
    """A frozen value on the wire."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Input(BaseModel):
    """A frozen value that somebody writes by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")


M = TypeVar("M", bound=BaseModel)


def received(kind: type[M], data: str | bytes) -> M:
    """A value that came over the wire. Fields that only a newer process knows are passed over, at any depth."""
    return kind.model_validate_json(data, extra="ignore")


# -- what is asked ---------------------------------------------------------------------------------------------


class Subtask(Input):
    """One part of a plan: what one expert is asked.

    >>> Subtask(id="t2", expert="refund-policy", instruction="May ${t1.label} be returned?").references
    ('t1.label',)
    """

    id: SubtaskId
    expert: Name
    instruction: Text
    depends_on: tuple[SubtaskId, ...] = ()
    output: Annotated[dict[str, Any] | None, BeforeValidator(_plain)] = None
    """A JSON schema that the result's data must fit."""

    @property
    def references(self) -> tuple[str, ...]:
        """What the instruction names as `${...}`, in order, once each."""
        return tuple(dict.fromkeys(_REFERENCE.findall(self.instruction)))


def referenced(reference: str, ids: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
    """Split `a.b.c` into the subtask it names and the path of fields inside its data; None if it names none."""
    known = ids if isinstance(ids, (set, frozenset, dict, Mapping)) else set(ids)
    parts = reference.split(".")
    for length in (2, 1):
        name = ".".join(parts[:length])
        if len(parts) >= length and name in known:
            return name, tuple(parts[length:])
    return None


class Plan(Input):
    """An acyclic set of subtasks. A Plan that exists is a Plan that can run.

    Edges are those declared in `depends_on` united with those used as `${id}` or `${id.field}`.
    """

    subtasks: tuple[Subtask, ...] = Field(min_length=1, max_length=MAX_SUBTASKS)
    aggregate: Aggregate = "auto"

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        ids = [subtask.id for subtask in self.subtasks]
        if twice := sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []:
            raise ValueError(f"subtask id {twice[0]!r} is used more than once; give each its own")
        edges = self.edges
        if cycle := find_cycle(edges):
            shown = cycle if len(cycle) <= 10 else (*cycle[:5], f"({len(cycle) - 10} more)", *cycle[-5:])
            raise ValueError(f"circular dependency {' -> '.join(shown)}; remove one of these edges")
        return self

    @property
    def edges(self) -> dict[str, tuple[str, ...]]:
        """Subtask id -> ids it waits for. Raises ValueError for a name that is no subtask."""
        known = {subtask.id: None for subtask in self.subtasks}
        found: dict[str, tuple[str, ...]] = {}
        for subtask in self.subtasks:
            waits = dict.fromkeys(subtask.depends_on)
            for reference in subtask.references:
                named = referenced(reference, known)
                if named is None:
                    raise ValueError(f"subtask {subtask.id!r} uses ${{{reference}}}, which is no subtask of the plan")
                waits[named[0]] = None
            for other in waits:
                if other not in known:
                    raise ValueError(f"subtask {subtask.id!r} depends on {other!r}, which is no subtask of the plan")
            found[subtask.id] = tuple(waits)
        return found

    def united(self) -> tuple[Subtask, ...]:
        """The subtasks with every edge written out in `depends_on`."""
        edges = self.edges
        return tuple(s.model_copy(update={"depends_on": edges[s.id]}) for s in self.subtasks)

    @classmethod
    def read(cls, data: object) -> Plan:
        """Make a plan from parsed JSON or YAML, or raise InvalidPlan with the place and the remedy."""
        if isinstance(data, list):
            data = {"subtasks": data}
        given = data.get("subtasks") if isinstance(data, Mapping) else None
        if isinstance(given, (list, tuple)) and len(given) > MAX_SUBTASKS:
            raise InvalidPlan(f"{len(given):,} subtasks, at most {MAX_SUBTASKS:,} are accepted", "split the plan")
        try:
            return cls.model_validate(data)
        except ValueError as error:
            raise InvalidPlan(explain(error)) from None


def find_cycle(edges: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The first cycle in a graph given as node -> predecessors, closed (`a, b, a`), or an empty tuple."""
    done: set[str] = set()
    for root in edges:
        path: dict[str, Any] = {}
        stack = [(root, iter(edges[root]))]
        path[root] = None
        while stack:
            node, rest = stack[-1]
            following = next((n for n in rest if n not in done), None)
            if following is None:
                stack.pop()
                done.add(node)
                path.pop(node, None)
            elif following in path:
                nodes = list(path)
                return (*nodes[nodes.index(following) :], following)
            else:
                path[following] = None
                stack.append((following, iter(edges[following])))
    return ()


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
    implementation: str | None = None
    """`module:attribute` of an expert in plain Python. Only workers that were told to load it serve it."""
    version: str = ""


class Catalog(Value):
    """A set of cards with one version: the hash of theirs."""

    version: str
    cards: dict[str, Card]


# -- what comes back -------------------------------------------------------------------------------------------


class Usage(Value):
    """What model calls used. Sums with `+`."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=self.cost + other.cost,
        )


class Citation(Value):
    """Words that stand in a document: `quote` is found there as it is, white space aside."""

    document: str
    section: str = ""
    quote: str


class Solution(Value):
    """What an expert answered."""

    text: str
    data: Any = None
    citations: tuple[Citation, ...] = ()
    confidence: float | None = None
    model: str = ""
    usage: Usage = Usage()


class Failure(Value):
    """Why one attempt gave nothing. It closes only its attempt."""

    reason: Reason
    message: str
    retryable: bool = False
    retry_after: float | None = None
    """Seconds the other side asked us to wait."""
    usage: Usage = Usage()


Outcome = Solution | Failure


class Segment(Value):
    """A part of an answer, and the subtasks and citations behind it."""

    text: str
    subtasks: tuple[str, ...]
    expert: str
    citations: tuple[Citation, ...] = ()


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
    reason: str = ""
    """One sentence on why the job ended like this, where that is not plain."""


class Receipt(Value):
    """What a cancel did. Subtask attempts are named `subtask:attempt`."""

    job: str
    ending: Ending
    stopped: tuple[str, ...] = ()
    """Attempts that were running and have been stopped."""
    withdrawn: tuple[str, ...] = ()
    """Attempts that were queued and will not run."""
    finished: tuple[str, ...] = ()
    """Subtasks that were solved before."""
    usage: Usage = Usage()


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
    subtasks: int = 0


# -- what happened ---------------------------------------------------------------------------------------------


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


class RoundOpened(BaseEvent):
    """A planner has begun. What an unfinished earlier round had started is withdrawn."""

    type: Literal["round_opened"] = "round_opened"
    round: int


class Planned(BaseEvent):
    """Subtasks that join the plan. Round 0 is a plan the caller gave. `closed`: the round is complete."""

    type: Literal["planned"] = "planned"
    round: int = 0
    subtasks: tuple[Subtask, ...] = ()
    fallbacks: dict[str, tuple[str, ...]] = {}
    """Subtask id -> experts to try, in order, when its own fails for good."""
    aggregate: Aggregate = "auto"
    closed: bool = True
    planner: str = ""
    notes: tuple[str, ...] = ()
    """Why these experts, what was mended."""
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
    """A worker claimed the attempt. The same attempt starts again only when a worker was lost."""

    type: Literal["started"] = "started"
    subtask: str
    attempt: int
    claim: int = 1
    worker: str = ""
    expert: str = ""


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


class Tick(BaseEvent):
    """A timer fell due."""

    type: Literal["tick"] = "tick"


class CancelAsked(BaseEvent):
    """Somebody asked to cancel."""

    type: Literal["cancel_asked"] = "cancel_asked"


class Answered(BaseEvent):
    """The answer was made in a delivery of its own, or could not be."""

    type: Literal["answered"] = "answered"
    body: str = ""
    failure: Failure | None = None


class Ended(BaseEvent):
    """The job is over. Nothing is appended after this."""

    type: Literal["ended"] = "ended"
    ending: Ending
    complete: bool = False
    stopped: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()


class Reset(BaseEvent):
    """The log was rolled back by a failover: forget what was seen, the events that follow start anew."""

    type: Literal["reset"] = "reset"


AnyEvent = (
    Accepted | RoundOpened | Planned | Released | Started | OutcomeRecorded
    | Tick | CancelAsked | Answered | Ended | Reset
)  # fmt: skip
Event = Annotated[AnyEvent, Field(discriminator="type")]
event_adapter: TypeAdapter[AnyEvent] = TypeAdapter(Event)
EVENTS: dict[str, type[BaseEvent]] = {
    str(kind.model_fields["type"].default): kind
    for kind in (
        Accepted, RoundOpened, Planned, Released, Started, OutcomeRecorded, Tick, CancelAsked, Answered, Ended, Reset,
    )
}  # fmt: skip


# -- what travels to a worker ----------------------------------------------------------------------------------


class Envelope(Value):
    """One attempt at one subtask on its way to a worker. Results of others are named by body key, not copied."""

    job: str
    subtask: Subtask
    attempt: int
    expert: Name
    catalog: str
    """The version whose card of `expert` is to be used."""
    inputs: dict[str, str] = {}
    """Subtask id -> key of its body, in plan order."""


_WORDED = {
    "missing": "missing; add it",
    "extra_forbidden": "unknown field; remove it or correct its name",
    "string_unicode": "not valid Unicode; send UTF-8 text",
    "too_short": "at least {min_length} must be given; add one",
    "too_long": "at most {max_length:,} are accepted; split it",
    "greater_than": "must be more than {gt:,}; raise it",
    "greater_than_equal": "must be at least {ge:,}; raise it",
    "less_than_equal": "must be at most {le:,}; lower it",
}
"""What pydantic says less plainly, by its type of error."""


def explain(error: ValueError) -> str:
    """A pydantic error in one line: where, what, and the remedy; at most three places."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    found = errors(include_url=False, include_input=False)
    lines = []
    for item in found:
        place = item["loc"]
        if item["type"] == "too_short" and any(other["loc"][: len(place)] == place for other in found if other != item):
            continue  # short only because its items are bad, and they are told
        if (worded := _WORDED.get(item["type"])) is not None:
            message = worded.format(**item.get("ctx", {}))
        else:
            message = str(item["msg"]).removeprefix("Value error, ")
        lines.append(f"{'.'.join(str(part) for part in place)}: {message}" if place else message)
    return "; ".join(lines[:3])
