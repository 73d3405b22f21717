"""Results of subtasks: a solution with its citations and usage, or a failure with its reason."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator, Field

from swarm.types.base import Value

Reason = Literal[
    "timeout", "unavailable", "refused", "bad_output", "too_large", "expert_error", "bug", "poison",
    "missing_dependency", "no_expert", "no_answer", "bad_input", "over_budget", "unpriced", "cancelled",
    "too_long", "content_refused", "model_gone", "wrong_key", "quota_spent", "cut",
]  # fmt: skip


def as_reason(text: str) -> Reason:
    """Return the reason, or `expert_error` for an unknown one."""
    return cast(Reason, text) if text in get_args(Reason) else "expert_error"


def _known(reason: object) -> object:
    return as_reason(reason) if isinstance(reason, str) else reason


Caveat = Literal["not_found", "unverified", "cut", "repaired", "low_confidence"]


"""Reservation about a result that is no failure: nothing was found; no citation backs it; a limit on length or time cut
it short; values that JSON does not have were replaced; the label is hardly more likely than others."""


def _known_caveats(caveats: object) -> object:
    if not isinstance(caveats, list | tuple):
        return caveats
    return tuple(each for each in caveats if each in get_args(Caveat))


Caveats = Annotated[tuple[Caveat, ...], BeforeValidator(_known_caveats)]


"""Caveats of a result; those that only a newer version knows are ignored."""


class Usage(Value):
    """Usage of model calls. Sums with `+`.

    Each request counts as a call, with or without a price, unless the server certainly did not process it (it was not
    sent, the server was not reached, or it refused with a 3xx or 4xx). Failed calls count like successful ones.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    """Micro-dollars, settled: the reported usage at the prices on record."""
    presumed: int = 0
    """Micro-dollars beyond `cost` for calls of unknown usage: their worst-case cost."""
    cached_tokens: int = 0
    """Part of `input_tokens` that came from a server's cache."""
    reasoning_tokens: int = 0
    """Part of `output_tokens` that is reasoning."""
    estimated: int = 0
    """Part of `calls` whose tokens are estimated, since the server did not report them."""
    unknown: int = 0
    """Part of `calls` whose usage is unknown: they failed, or were given up."""

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


def _is_none(value: object) -> bool:
    return value is None


class Citation(Value):
    """A quote from a document: `quote` occurs there verbatim, except for white space."""

    document: str
    section: str = ""
    quote: str
    page: int | None = Field(default=None, exclude_if=_is_none)
    """The page of the document, from 1; None in a format without pages."""
    lines: tuple[int, int] | None = Field(default=None, exclude_if=_is_none)
    """First and last line of the passage in the file; None in a format without lines."""

    @property
    def place(self) -> str:
        """Where the quote stands: the document, then its page and section, or without both its lines.

        >>> Citation(document="a.pdf", section="Fees", page=3, quote="5 EUR").place
        'a.pdf, page 3, Fees'
        """
        found = [self.document]
        if self.page is not None:
            found.append(f"page {self.page}")
        if self.section:
            found.append(self.section)
        elif self.page is None and self.lines is not None:
            first, last = self.lines
            found.append(f"line {first}" if first == last else f"lines {first}-{last}")
        return ", ".join(found)


class FailedModel(Value):
    """A model that was tried before the one that answered, and why it failed."""

    model: str
    reason: Annotated[Reason, BeforeValidator(_known)]


class Solution(Value):
    """An expert's answer to a subtask."""

    text: str
    data: Any = None
    citations: tuple[Citation, ...] = ()
    confidence: float | None = None
    """Probability of the answer, 0 to 1; None: the expert gives none."""
    model: str = ""
    """The model that answered."""
    usage: Usage = Usage()
    found: bool = True
    """False: the expert searched and found no answer."""
    caveats: Caveats = ()
    failed_models: tuple[FailedModel, ...] = ()
    """Models that were tried before `model`, in order."""


class Failure(Value):
    """Failure of one attempt. It closes only that attempt."""

    reason: Annotated[Reason, BeforeValidator(_known)]
    """A reason that only a newer version knows is read as `expert_error`; the message has the details."""
    message: str
    retryable: bool = False
    retry_after: float | None = None
    """Seconds to wait, as requested by the server."""
    limited: bool = False
    """Whether the server refused because of its limits: without a fallback, that does not count as an attempt."""
    broken: bool = False
    """Whether an open breaker refused the call: a fallback expert is then tried at once."""
    usage: Usage = Usage()
    log_message: str = Field(default="", exclude=True)
    """`message` without the text of a server, if it has some; not sent, since only the process that sees the failure
    logs it."""


Outcome = Solution | Failure


class Mend(Value):
    """A corrected error in a planner's text. `place` is where, such as `steps.2.expert`."""

    place: str
    what: str
