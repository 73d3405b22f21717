"""How a model is to write: the settings of a request that cards and endpoints may give.

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
"""What `extra` may not set: the request itself, what it can cost, the form of its answer, and what has a field here."""


class Cap(int):
    """Tokens that an answer may have, and the setting that says so: `by` is what to raise where they are too few.

    >>> Cap(200, "SWARM_ANSWER_TOKENS"), Cap(200, "SWARM_ANSWER_TOKENS").by
    (200, 'SWARM_ANSWER_TOKENS')
    """

    by: str

    def __new__(cls, tokens: int, by: str = IN_CALL) -> Self:
        cap = super().__new__(cls, tokens)
        cap.by = by
        return cap


def setting_of(cap: int) -> str:
    """The setting that a cap is from."""
    return cap.by if isinstance(cap, Cap) else IN_CALL


def _listed(stop: object) -> object:
    """One text is a list of one; lists come from files, tuples from Python."""
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
    """How a model is to write. What is None or empty is left to whoever is asked next: endpoint, then server."""

    max_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS, strict=True)
    """Tokens that an answer may have, thoughts included."""
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False, strict=True)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False, strict=True)
    stop: Annotated[tuple[Stop, ...], BeforeValidator(_listed), Field(max_length=MOST_STOPS)] = ()
    """Texts at which an answer ends, before they are written."""
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1, strict=True)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    extra: Annotated[dict[str, Any], Plain, AfterValidator(_unreserved)] = {}
    """What one server alone knows, put into the request as it is."""

    def over(self, defaults: Sampling) -> Sampling:
        """These settings, and those of `defaults` where these say nothing; of `extra` name by name."""
        own = {name: value for name in Sampling.model_fields if (value := getattr(self, name)) not in (None, (), {})}
        return defaults.model_copy(update=own | {"extra": {**defaults.extra, **self.extra}})

    @property
    def given(self) -> dict[str, Any]:
        """What is set, by the names of chat completions; `extra` as it is."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def logged(self) -> dict[str, Any]:
        """What is set, as a line of the log may hold it: of `extra` the names."""
        return self.given | ({"extra": sorted(self.extra)} if self.extra else {})

    def request(self) -> Mapping[str, Any]:
        """What a request says beside its messages. The cap has other names on other servers and is not in it."""
        said = self.given
        said.pop("max_tokens", None)
        extra: dict[str, Any] = said.pop("extra", {})
        return {**extra, **said}


UNSET = Sampling()
