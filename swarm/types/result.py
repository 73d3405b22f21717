"""Results of subtasks: a solution with its citations and usage, or a failure with its reason."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator

from swarm.types.base import Value

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


Caveat = Literal["not_found", "unverified", "cut", "repaired", "low_confidence"]


"""What limits a result that is no failure: nothing was found; no citation backs it; it ends early because of a limit on
length or time; values that JSON does not have were replaced; the label is hardly likelier than others."""


def _known_caveats(caveats: object) -> object:
    if not isinstance(caveats, list | tuple):
        return caveats
    return tuple(each for each in caveats if each in get_args(Caveat))


Caveats = Annotated[tuple[Caveat, ...], BeforeValidator(_known_caveats)]


"""Those that only a newer process knows are passed over."""


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
