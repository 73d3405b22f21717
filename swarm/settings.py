"""One frozen Settings, made from a mapping (usually the environment) once, at the edge of a process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from swarm.errors import BadInput
from swarm.types.base import Input, explain
from swarm.types.sampling import Cap

Seconds = Annotated[float, "of seconds"]
Dollars = Annotated[float, "of US dollars"]
Tokens = Annotated[int, "of tokens"]
Bytes = Annotated[int, "of bytes"]

LOCAL = "local/planner"
MAX_RESULTS = 64_000_000
PREFIX = "1 to 64 of A-Z a-z 0-9 _ -"
SHOWN = 40
"""Characters of a value that is refused."""
_MODEL = re.compile(r"(?!local(?:/|$))[a-z0-9][a-z0-9_-]{0,63}(?:/\S+)?")


class Settings(Input):
    """How this process works. Every field can be set as `SWARM_<FIELD>` in the environment. Times are seconds.

    A variable that is empty, or nothing but blanks, counts as unset.

    >>> Settings.load({"SWARM_LEASE": "3"}).lease
    3.0
    """

    redis_url: str | None = Field(default=None, repr=False)
    """redis://, rediss://, unix:// or redis+sentinel://; None: a private Redis is started where a command allows it."""
    prefix: str = Field(default="swarm", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Of all keys: several installations share one Redis under different prefixes."""
    data: Path = Path("~/.local/share/swarm-router")
    """The folder of the private Redis."""

    slots: int = Field(default=20, ge=1, le=10_000)
    """Subtasks a worker process runs at once."""
    router_slots: int = Field(default=8, ge=1, le=1_000)
    """Planners and answers a router process runs at once; `advance` has slots of its own."""
    lease: Seconds = Field(default=1.5, ge=0.3, le=300)
    """A worker that is not heard of for so long is taken for dead."""
    drain: Seconds = Field(default=20.0, ge=0, le=3_600)
    """After SIGTERM, how long running subtasks may finish before they are handed back."""

    planner: str = LOCAL
    """The model that plans: `endpoint/model`, or `endpoint` for its default one; `local/planner` plans without any."""
    synthesis: str = ""
    """The model that writes answers out of several results; empty: the planner's, if that is one."""
    replans: int = Field(default=1, ge=0, le=5)
    """How often a planner may plan again after failures, for requests that do not say."""
    skip: bool = True
    """Whether a request that one expert clearly fits goes to it without a planner's model."""
    plan_cache: bool = True
    """Whether plans of similar earlier requests of the same tenant and catalog are used again."""
    mend_edges: bool = False
    """Whether circular, dangling and self dependencies of a planner are dropped; else the planner is asked again."""
    plan_timeout: Seconds = Field(default=60.0, gt=0, le=280)
    """For the planner's model, all its turns together."""
    plan_first_step: Seconds = Field(default=20.0, ge=0, le=280)
    """How long the planner's model may take until its first step, and from one to the next, if `local/planner` has a
    plan for every wish of the request; twice as long if it has one for some; 0: always as long as `plan_timeout`."""
    max_subtasks: int = Field(default=100, ge=1, le=1_000)
    """Of a planner's plan. A caller's may have 1,000."""
    max_depth: int = Field(default=20, ge=1, le=1_000)
    """Subtasks one behind the other in a planner's plan."""
    max_items: int = Field(default=100, ge=1, le=1_000)
    """Items that one `for_each` may have."""

    tenant_budget: Dollars | None = Field(default=None, ge=0)
    """US dollars that one tenant's model calls may cost in a day (UTC), unless it has a budget of its own."""
    day_budget: Dollars | None = Field(default=None, ge=0)
    """US dollars that the model calls of all tenants may cost in a day (UTC)."""
    unpriced: Literal["refuse", "count"] = "refuse"
    """A model without a price, where a budget holds: its calls are refused, or only their tokens are counted."""
    max_output: Tokens = Field(default=4_096, ge=1)
    """Tokens that a model may write in one call where neither the card nor the endpoint has `max_tokens`, if a budget
    holds; the three defaults below are never more."""
    answer_tokens: Tokens = Field(default=2_048, ge=0)
    """Tokens that a model may write for one answer in words, thoughts included, where neither the card nor the endpoint
    has `max_tokens`; 0: as many as the server lets it. One that only thought so far is given four times as many."""
    schema_tokens: Tokens = Field(default=2_048, ge=0)
    """The same for one answer in JSON."""
    plan_tokens: Tokens = Field(default=4_096, ge=0)
    """The same for one turn of the planner's model."""
    ask_depth: int = Field(default=3, ge=0, le=10)
    """How deep jobs may lie that experts ask for, one inside the other; 0: experts may not ask."""
    log_contents: bool = False
    """Whether lines of the log may hold prompts, answers and what errors say; else they hold ids, sizes and times."""
    durable: bool | Literal["disk"] = False
    """Whether a job is accepted only once a replica has it (`true`: Redis' WAIT), or the disk of Redis (`disk`).

    Its ending waits for that too, but not long.
    """

    window: int = Field(default=64, ge=1, le=1_000)
    """Subtasks of one job in flight at once."""
    max_age: Seconds = Field(default=86_400.0, gt=0, le=7 * 86_400)
    """After this a job ends in any case."""
    retention: Seconds = Field(default=86_400.0, gt=0, le=30 * 86_400)
    """How long a job is kept after its end. One that has not ended is kept for 30 days after its greatest age."""
    max_open: int = Field(default=20_000, ge=1)
    """Jobs open at once, of all tenants."""
    max_open_tenant: int | None = Field(default=None, ge=1)
    """The same of one tenant; by default half of `max_open`, so that none takes every place."""
    retry_after: Seconds = Field(default=2.0, gt=0)
    """What `Busy` asks a caller to wait."""
    max_request: Bytes = Field(default=1_100_000, ge=1_000)
    """Bytes of one encoded request, its plan included."""
    max_results: Bytes = Field(default=MAX_RESULTS, ge=1_000)
    """Bytes of results that one job may keep; one more is a failure, `too_large`."""
    max_results_tenant: Bytes | None = Field(default=None, ge=1_000)
    """Bytes that all jobs of one tenant may keep in Redis: requests, results and answers, until they expire. By default
    half of `maxmemory`; where Redis has none there is no bound. Plans and logs beside them are not counted."""
    max_answer: Bytes = Field(default=4_000_000, ge=1_000)
    """Bytes of results that one answer is made of."""

    @field_validator("planner", "synthesis")
    @classmethod
    def _is_a_model(cls, name: str, field: ValidationInfo) -> str:
        """Refused at the start, since a name that no model can have would show only in what stands in for it."""
        local = field.field_name == "planner"
        if _MODEL.fullmatch(name) or name == (LOCAL if local else ""):
            return name
        own = f", and the one without a model {LOCAL}" if local else ""
        named = "endpoint/model, such as openai/gpt-6-luna, or by an endpoint alone that has a default model"
        raise ValueError(f"{name[:100]!r} is no model; one is named {named}{own}")

    def cap(self, what: Literal["answer", "schema", "plan"]) -> Cap:
        """Tokens that a model may write where nobody else says, at most `max_output`; 0: no cap.

        >>> Settings(answer_tokens=9_000).cap("answer"), Settings(answer_tokens=9_000).cap("answer").by
        (4096, 'SWARM_MAX_OUTPUT')
        """
        own: int = getattr(self, f"{what}_tokens")
        tokens = min(own, self.max_output)
        limits = {f"SWARM_{what.upper()}_TOKENS": own, "SWARM_MAX_OUTPUT": self.max_output}
        return Cap(tokens, " and ".join(name for name, limit in limits.items() if limit == tokens))

    @property
    def open_tenant(self) -> int:
        """Jobs that one tenant may have open at once."""
        return self.max_open_tenant or (self.max_open + 1) // 2

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """From `SWARM_*` variables; empty ones count as unset. Raises BadInput naming the variable."""
        given = {
            name: environ[key] for name in cls.model_fields if environ.get(key := f"SWARM_{name.upper()}", "").strip()
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            field = cls.model_fields[name]
            problem = explain(error).partition(": ")[2]
            if form := _form(field):
                problem = f"must be {form}, not {given[name][:SHOWN]!r}"
            default = "" if field.default in (None, "") else f" (default {_written(field.default)})"
            raise BadInput(f"SWARM_{name.upper()}", problem, f"correct or unset it{default}") from None


def _form(field: FieldInfo) -> str:
    """What a setting takes: a number with its unit and range, or words. Nothing for a text of another form.

    >>> _form(Settings.model_fields["lease"])
    'a number of seconds, 0.3 to 300'
    >>> _form(Settings.model_fields["durable"])
    'true, false or disk'
    """
    kinds = _kinds(field.annotation)
    words = ["true", "false"] if bool in kinds else []
    words += [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if words:
        return f"{', '.join(words[:-1])} or {words[-1]}"
    if not {int, float} & kinds:
        return PREFIX if str in kinds and field.metadata else ""
    unit = "".join(f" {part}" for part in _notes(field) if isinstance(part, str))
    return f"a {'whole ' if int in kinds else ''}number{unit}, {_range(field)}"


def _range(field: FieldInfo) -> str:
    bounds = {
        name: _written(getattr(part, name))
        for part in field.metadata
        for name in ("ge", "gt", "le")
        if hasattr(part, name)
    }
    match bounds:
        case {"ge": low, "le": high}:
            return f"{low} to {high}"
        case {"gt": low, "le": high}:
            return f"more than {low}, at most {high}"
        case {"gt": low}:
            return f"more than {low}"
    return f"at least {bounds['ge']}"


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation names, without what is said about them."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    return {annotation}


def _notes(field: FieldInfo) -> list[Any]:
    """What is said about a type, also where it is one of two."""
    inside = [part for kind in get_args(field.annotation) if get_origin(kind) is Annotated for part in get_args(kind)]
    return [*field.metadata, *inside]


def _written(value: object) -> str:
    """As it may be given.

    >>> _written(604_800.0), _written(True)
    ('604800', 'true')
    """
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).lower()
