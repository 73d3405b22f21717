"""Sampling settings of model requests, from cards and endpoints.

>>> Sampling(temperature=0, stop="END").over(Sampling(temperature=1, max_tokens=200)).given
{'max_tokens': 200, 'temperature': 0.0, 'stop': ['END']}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field

from swarm.types.base import Input, Plain

MOST_TOKENS = 1_000_000
IN_CARD, IN_CALL = "max_tokens in its card", "max_tokens of the call"
MOST_STOPS, LONGEST_STOP = 16, 200
MAX_EXTRA = 10_000
"""Bytes of `extra`, as JSON."""

RESERVED = frozenset(
    "model messages input prompt instructions stream stream_options n best_of store background"
    " max_tokens max_completion_tokens max_output_tokens max_new_tokens n_predict num_predict options"
    " tools tool_choice parallel_tool_calls functions function_call response_format text format"
    " json_schema grammar guided_json structured_outputs"
    " temperature top_p stop seed reasoning_effort reasoning".split()
)
"""Names that `extra` may not set: the request itself, its cost, the format of its answer, and fields of Sampling."""


class Cap(int):
    """Maximum number of tokens of an answer. `by` is the setting that it comes from, to be raised if it is too low.

    >>> Cap(200, "SWARM_ANSWER_TOKENS"), Cap(200, "SWARM_ANSWER_TOKENS").by
    (200, 'SWARM_ANSWER_TOKENS')
    """

    by: str

    def __new__(cls, tokens: int, by: str = IN_CALL) -> Self:
        cap = super().__new__(cls, tokens)
        cap.by = by
        return cap


def setting_of(cap: int) -> str:
    """Return the setting that a cap comes from."""
    return cap.by if isinstance(cap, Cap) else IN_CALL


def _listed(stop: object) -> object:
    """Convert a text or a list to a tuple; lists come from files, tuples from Python."""
    return (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else stop


def _unreserved(extra: dict[str, Any]) -> dict[str, Any]:
    for name in extra:
        if name in RESERVED:
            own = name in Sampling.model_fields
            raise ValueError(
                f"{name!r} is " + ("a setting of its own; move it out" if own else "not yours to set here")
            )
    if len(json.dumps(extra)) > MAX_EXTRA:
        raise ValueError(f"more than {MAX_EXTRA:,} bytes as JSON; shorten it")
    return extra


Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]


class Sampling(Input):
    """Sampling settings. A setting that is None or empty comes from the endpoint, then from the server."""

    max_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS, strict=True)
    """Maximum number of tokens of an answer, reasoning included."""
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False, strict=True)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False, strict=True)
    stop: Annotated[tuple[Stop, ...], BeforeValidator(_listed), Field(max_length=MOST_STOPS)] = ()
    """Texts before which an answer ends."""
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1, strict=True)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    extra: Annotated[dict[str, Any], Plain, AfterValidator(_unreserved)] = {}
    """Server-specific settings, added to the request as they are."""

    def over(self, defaults: Sampling) -> Sampling:
        """Return these settings, with `defaults` for unset ones; `extra` is merged by name."""
        own = {name: value for name in Sampling.model_fields if (value := getattr(self, name)) not in (None, (), {})}
        return defaults.model_copy(update=own | {"extra": {**defaults.extra, **self.extra}})

    @property
    def given(self) -> dict[str, Any]:
        """Settings that are set, under the names of chat completions; `extra` as it is."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def logged(self) -> dict[str, Any]:
        """Settings that are set, as they may be logged: of `extra` only the names."""
        return self.given | ({"extra": sorted(self.extra)} if self.extra else {})

    def request(self) -> Mapping[str, Any]:
        """Return the fields of a request, without `max_tokens`, whose name differs between servers."""
        said = self.given
        said.pop("max_tokens", None)
        extra: dict[str, Any] = said.pop("extra", {})
        return {**extra, **said}


UNSET = Sampling()
