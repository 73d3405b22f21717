"""Settings of a process: one frozen value, read once from a mapping, usually the environment."""

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
"""Characters of a refused value that a message shows."""
_MODEL = re.compile(r"(?!local(?:/|$))[a-z0-9][a-z0-9_-]{0,63}(?:/\S+)?")


class Settings(Input):
    """Configuration of this process. Set each field as `SWARM_<FIELD>` in the environment. Times are seconds.

    An empty or blank variable counts as unset.

    >>> Settings.load({"SWARM_LEASE": "3"}).lease
    3.0
    """

    redis_url: str | None = Field(default=None, repr=False)
    """URL of Redis: redis://, rediss://, unix:// or redis+sentinel://. Without one, some commands start a private
    Redis."""
    prefix: str = Field(default="swarm", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Prefix of all keys. Several installations can share one Redis under different prefixes."""
    data: Path = Path("~/.local/share/swarm-router")
    """Folder of the private Redis."""

    slots: int = Field(default=20, ge=1, le=10_000)
    """Subtasks that a worker process runs at once."""
    router_slots: int = Field(default=8, ge=1, le=1_000)
    """Planners and answers that a router process runs at once. `advance` has its own slots."""
    lease: Seconds = Field(default=1.5, ge=0.3, le=300)
    """A worker counts as dead when its last heartbeat is older than this."""
    drain: Seconds = Field(default=20.0, ge=0, le=3_600)
    """Time after SIGTERM in which running subtasks may finish. Then they are handed back."""

    planner: str = LOCAL
    """Model that plans: `endpoint/model`, or `endpoint` for its default. `local/planner` plans without a model."""
    synthesis: str = ""
    """Model that writes answers from several results. Unset: the planner's model, if it has one."""
    replans: int = Field(default=1, ge=0, le=5)
    """How often a planner may plan again after failures, if the request does not say."""
    skip: bool = True
    """Whether a request that clearly fits one expert goes to it without asking the planner's model."""
    plan_cache: bool = True
    """Whether plans of similar earlier requests, of the same tenant and catalog, are reused."""
    plan_meaning: bool = True
    """Whether plans without a model go by meaning as well as by words, where an encoder is installed."""
    mend_edges: bool = False
    """Whether circular, dangling and self dependencies of a plan are dropped. If not, the planner is asked again."""
    plan_timeout: Seconds = Field(default=60.0, gt=0, le=280)
    """Time limit of the planner's model for all its turns together."""
    plan_first_step: Seconds = Field(default=20.0, ge=0, le=280)
    """Time limit of the planner's model for its first step, and from one step to the next, if `local/planner` has a
    plan for the whole request. Doubled if that plan covers only a part. 0: only `plan_timeout` applies."""
    max_subtasks: int = Field(default=100, ge=1, le=1_000)
    """Subtasks in a planner's plan. A caller's own plan may have 1,000."""
    max_depth: int = Field(default=20, ge=1, le=1_000)
    """Length of the longest chain of dependent subtasks in a planner's plan."""
    max_items: int = Field(default=100, ge=1, le=1_000)
    """Items of one `for_each`."""

    tenant_budget: Dollars | None = Field(default=None, ge=0)
    """US dollars that one tenant's model calls may cost in a day (UTC), unless the tenant has its own budget."""
    day_budget: Dollars | None = Field(default=None, ge=0)
    """US dollars that the model calls of all tenants may cost in a day (UTC)."""
    unpriced: Literal["refuse", "count"] = "refuse"
    """Treatment of a model without a price where a budget applies: refuse its calls, or only count their tokens."""
    max_output: Tokens = Field(default=4_096, ge=1)
    """Tokens that a model may write in one call, if a budget applies and neither the card nor the endpoint has
    `max_tokens`. It is also the upper limit of the three settings below."""
    answer_tokens: Tokens = Field(default=2_048, ge=0)
    """Tokens that a model may write for one answer in prose, reasoning included, if neither the card nor the endpoint
    has `max_tokens`. A model that used them all for reasoning gets four times as many. 0: no limit but the server's."""
    schema_tokens: Tokens = Field(default=2_048, ge=0)
    """The same for one answer in JSON."""
    plan_tokens: Tokens = Field(default=4_096, ge=0)
    """The same for one turn of the planner's model."""
    ask_depth: int = Field(default=3, ge=0, le=10)
    """Depth to which experts may start jobs inside jobs. 0: experts may not ask the swarm."""
    log_contents: bool = False
    """Whether log lines may contain prompts, answers and error messages. If not: only ids, sizes and times."""
    durable: bool | Literal["disk"] = False
    """Whether a job is accepted only after a replica has it (`true`, by Redis' WAIT), or the disk of Redis (`disk`).

    The ending of a job waits for the same confirmation, for a short time only.
    """

    window: int = Field(default=64, ge=1, le=1_000)
    """Subtasks of one job that are in flight at once."""
    max_age: Seconds = Field(default=86_400.0, gt=0, le=7 * 86_400)
    """Time after which a job ends in any case."""
    retention: Seconds = Field(default=86_400.0, gt=0, le=30 * 86_400)
    """How long a job is kept after its end. A job that has not ended is kept for 30 days beyond `max_age`."""
    max_open: int = Field(default=20_000, ge=1)
    """Open jobs of all tenants."""
    max_open_tenant: int | None = Field(default=None, ge=1)
    """Open jobs of one tenant. Default: half of `max_open`, so that no tenant fills the swarm alone."""
    retry_after: Seconds = Field(default=2.0, gt=0)
    """Time that `Busy` asks a caller to wait, while no pace of endings has been measured."""
    max_request: Bytes = Field(default=1_100_000, ge=1_000)
    """Bytes of one encoded request, its plan included."""
    max_results: Bytes = Field(default=MAX_RESULTS, ge=1_000)
    """Bytes of results that one job may keep. A result beyond that fails with `too_large`."""
    max_results_tenant: Bytes | None = Field(default=None, ge=1_000)
    """Bytes that all jobs of one tenant may keep in Redis: requests, results and answers, until they expire. Default:
    half of `maxmemory`, or no limit if Redis has no `maxmemory`. Plans and logs are not counted."""
    max_answer: Bytes = Field(default=4_000_000, ge=1_000)
    """Bytes of results from which one answer is made."""

    @field_validator("planner", "synthesis")
    @classmethod
    def _is_a_model(cls, name: str, field: ValidationInfo) -> str:
        """Refuse an impossible model name at the start. Otherwise only the fallback's answers would show it."""
        local = field.field_name == "planner"
        if _MODEL.fullmatch(name) or name == (LOCAL if local else ""):
            return name
        own = f", or {LOCAL} to plan without a model" if local else ""
        named = "endpoint/model, such as openai/gpt-6-luna, or an endpoint that has a default model"
        raise ValueError(f"{name[:100]!r} is no model; give {named}{own}")

    def cap(self, what: Literal["answer", "schema", "plan"]) -> Cap:
        """Return the default limit of tokens that a model may write, at most `max_output`; 0: no limit.

        >>> Settings(answer_tokens=9_000).cap("answer"), Settings(answer_tokens=9_000).cap("answer").by
        (4096, 'SWARM_MAX_OUTPUT')
        """
        own: int = getattr(self, f"{what}_tokens")
        tokens = min(own, self.max_output)
        limits = {f"SWARM_{what.upper()}_TOKENS": own, "SWARM_MAX_OUTPUT": self.max_output}
        return Cap(tokens, " and ".join(name for name, limit in limits.items() if limit == tokens))

    @property
    def open_tenant(self) -> int:
        """Limit of open jobs of one tenant."""
        return self.max_open_tenant or (self.max_open + 1) // 2

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read `SWARM_*` variables; empty ones count as unset. Raises BadInput with the name of the variable."""
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
    """Describe the values of a setting: a number with its unit and range, or words. Empty for any other text.

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
    """Return the types in an annotation, without their metadata."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    return {annotation}


def _notes(field: FieldInfo) -> list[Any]:
    """Return the metadata of a type, also where it is one part of a union."""
    inside = [part for kind in get_args(field.annotation) if get_origin(kind) is Annotated for part in get_args(kind)]
    return [*field.metadata, *inside]


def _written(value: object) -> str:
    """Write a value as a user would.

    >>> _written(604_800.0), _written(True)
    ('604800', 'true')
    """
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).lower()
