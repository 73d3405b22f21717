"""Prices of model calls, as dated data. Pure.

Prices are integers in micro-dollars per million tokens, rounded up, so that a computed cost is never too low. They come
from LiteLLM's public file (`model_prices_and_context_window.json`, read by `imported`) or from a user.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_CEILING, Context, Decimal, DecimalException
from typing import Any

from pydantic import Field

from swarm.errors import BadInput
from swarm.types.base import Value

MILLION = 1_000_000
DEAREST = 10**12
"""Highest price, in micro-dollars per million tokens: a dollar a token. Anything above is an input error."""
MODES = ("chat", "completion", "responses", "embedding")
NAME = re.compile(r"[\x21-\x7e]{1,200}")
_ABOVE = re.compile(r"(input_cost_per|output_cost_per|cache_read_input)_token(?:_cost)?_above_(\d{1,6})k_tokens")
_EXACT = Context(prec=40, rounding=ROUND_CEILING)


class PriceStep(Value):
    """Rates of all tokens of a call whose prompt has more than `above` tokens."""

    above: int
    input: int
    output: int
    cached: int | None = None
    """None: the same as `input`."""


class Price(Value):
    """Price of one model."""

    input: int = Field(ge=0, le=DEAREST)
    output: int = Field(default=0, ge=0, le=DEAREST)
    cached: int | None = Field(default=None, ge=0, le=DEAREST)
    """Rate of prompt tokens from the server's cache; None: the same as `input`."""
    steps: tuple[PriceStep, ...] = ()
    """Higher rates of long prompts, by ascending length."""
    max_output: int | None = None
    """Tokens that the model can write in one call."""
    source: str = ""
    as_of: date

    def cost(self, sent: int, received: int, cached: int = 0) -> int:
        """Return the cost in micro-dollars, rounded up. `cached` of the `sent` tokens came from the server's cache.

        >>> Price(input=2_500_000, output=10_000_000, as_of=date(2026, 11, 1)).cost(1_000, 100)
        3500
        """
        rates: Price | PriceStep = self
        for step in self.steps:
            if sent > step.above:
                rates = step
        less = rates.input if rates.cached is None else min(rates.cached, rates.input)
        spared = min(cached, sent)
        total = (sent - spared) * rates.input + spared * less + received * rates.output
        return -(-total // MILLION)

    def greatest(self, sent: int, received: int) -> int:
        """Return the worst-case cost of a call with at most so many tokens."""
        below = (step.above for step in self.steps if step.above < sent)
        return max(self.cost(most, received) for most in (sent, *below))


def renewed(before: Price | None, given: Mapping[str, Any]) -> Price:
    """Update a price with the `given` fields; others stay. Rates of long prompts become at least the new ones."""
    kept = {} if before is None else before.model_dump(exclude={"steps"})
    price = Price(**{**kept, **given})
    steps = tuple(
        step.model_copy(update={"input": max(step.input, price.input), "output": max(step.output, price.output)})
        for step in (before.steps if before else ())
    )
    return price.model_copy(update={"steps": steps})


def names(model: str) -> tuple[str, ...]:
    """Return the names under which the price of `endpoint/model` is looked up: the full name, then without endpoint.

    >>> names("openai/gpt-6-luna"), names("proxy/anthropic/claude")
    (('openai/gpt-6-luna', 'gpt-6-luna'), ('proxy/anthropic/claude', 'anthropic/claude'))
    """
    _, _, rest = model.partition("/")
    return (model, rest) if rest else (model,)


def per_million(field: str, dollars: float | str) -> int:
    """Convert dollars per million tokens, as users write them, to micro-dollars. Raises BadInput.

    >>> per_million("input", "2.5")
    2500000
    """
    rate = _micro(dollars, MILLION)
    if rate is None:
        raise BadInput(field, f"{str(dollars)[:40]!r} is no price", "give US dollars per million tokens, such as 2.5")
    return rate


@dataclass(frozen=True)
class Imported:
    """Prices read from a file, and the number of skipped entries by reason."""

    prices: Mapping[str, Price]
    skipped: Mapping[str, int] = field(default_factory=dict)


def imported(content: Any, source: str, as_of: date) -> Imported:
    """Read the prices of chat and embedding models from LiteLLM's file. Raises BadInput if it is no such file."""
    if not isinstance(content, dict):
        raise BadInput(
            "file", "it holds no JSON object of models", "give LiteLLM's model_prices_and_context_window.json"
        )
    prices: dict[str, Price] = {}
    skipped: Counter[str] = Counter()
    for name, entry in content.items():
        found = _read(name, entry, source, as_of)
        if isinstance(found, Price):
            prices[name] = found
        else:
            skipped[found] += 1
    if not prices:
        raise BadInput("file", "it prices no model", "give LiteLLM's model_prices_and_context_window.json")
    return Imported(prices, dict(skipped.most_common()))


def _read(name: str, entry: Any, source: str, as_of: date) -> Price | str:
    """Return the price in one entry, or why it has none."""
    if name == "sample_spec":
        return "the sample"
    if not isinstance(entry, dict):
        return "no object"
    if not NAME.fullmatch(name):
        return "a name that no model has"
    if (mode := entry.get("mode", "chat")) not in MODES:
        return f"mode {str(mode)[:40]}"
    if "input_cost_per_token" not in entry:
        return "not priced by the token"
    if entry.get("input_cost_per_request"):
        return "priced by the request"
    # thoughts are counted among the tokens of an answer, and may be the dearer ones
    outputs = (_micro(entry.get(f"output_cost_per_{what}") or 0) for what in ("token", "reasoning_token"))
    read, written = _micro(entry["input_cost_per_token"]), [rate for rate in outputs if rate is not None]
    if read is None or len(written) < 2:
        return "a price that is no number"
    write = max(written)
    if mode != "embedding" and "output_cost_per_token" not in entry:
        return "not priced by the token"
    most = entry.get("max_output_tokens")
    return Price(
        input=read,
        output=write,
        cached=_micro(entry.get("cache_read_input_token_cost")),
        steps=_steps(entry, read, write),
        max_output=most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None,
        source=source,
        as_of=as_of,
    )


def _steps(entry: Mapping[str, Any], read: int, write: int) -> tuple[PriceStep, ...]:
    """Return the rates of long prompts. A rate missing in one step is that of the step before."""
    found: dict[int, dict[str, int]] = {}
    for key, value in entry.items():
        if (match := _ABOVE.fullmatch(key)) and (rate := _micro(value)) is not None:
            found.setdefault(int(match[2]) * 1_000, {})[match[1]] = rate
    steps: list[PriceStep] = []
    for above, rates in sorted(found.items()):
        read, write = rates.get("input_cost_per", read), rates.get("output_cost_per", write)
        steps.append(PriceStep(above=above, input=read, output=write, cached=rates.get("cache_read_input")))
    return tuple(steps)


def _micro(dollars: Any, tokens: int = 1) -> int | None:
    """Convert dollars per `tokens` to micro-dollars per million, rounded up; None if it is not a valid price."""
    if isinstance(dollars, bool) or not isinstance(dollars, int | float | str):
        return None
    try:
        rate = _EXACT.divide(_EXACT.multiply(Decimal(str(dollars)), MILLION * MILLION), tokens)
    except DecimalException:
        return None
    if not rate.is_finite() or not 0 <= rate <= DEAREST:
        return None
    return int(rate.to_integral_value(ROUND_CEILING))
