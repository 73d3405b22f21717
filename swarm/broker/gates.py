"""Gates: what an expert, a model and an endpoint can take at once and per minute, whoever asks them.

A claim takes a delivery only if each of its gates lets it in; else that queue is passed over, without a slot or a try,
and the delivery keeps its place. A gate counts

- what runs now (`concurrency`). A place is held as long as the lease, so that of a killed worker frees itself;
- requests per minute, evenly: after a pause `burst` of them may begin at once;
- tokens per minute: a claim is charged what calls used lately on the average (1,000 before the first), later corrected
  to what was used. A gate that owes tokens lets nobody in until that is paid off.

A model's gate also learns. When the server refuses a call because of its limits, half of what runs may run, and where
rates are set half of them holds; each round of answers gives one place back, each second a twentieth of the rate. A
gate without limits has none until its server refuses, and has none again when twice as many may run as did then, or
after ten minutes. What the server says of when to come again holds for all.

Limits of an expert stand in its card, those of models and endpoints in Redis, set by `swarm limits`.
"""

from __future__ import annotations

import re

from swarm.broker.connection import Connection
from swarm.broker.keys import LIMITS_KEPT
from swarm.errors import BadInput, TooLarge
from swarm.models import Card, Limits

_FIELDS = ("concurrency", "requests_per_minute", "tokens_per_minute", "burst")
_TARGET = re.compile(r"(?!local(?:/|$))[a-z0-9][a-z0-9_-]*(?:/\S{1,200})?")


def gates_of(card: Card) -> str:
    """The gates of an expert as the claim script reads them; empty where there is nothing to count."""
    own = f"expert:{card.name} ={_encoded(card.limits)}" if card.limits != Limits() else ""
    return " ".join(filter(None, (own, model_gates(card.model))))


def model_gates(model: str) -> str:
    """The gates of a model and its endpoint; empty for `local/` ones, which have no server."""
    if not _TARGET.fullmatch(model) or "/" not in model:
        return ""
    return f"model:{model} endpoint:{model.partition('/')[0]}"


def target(name: str) -> str:
    """The gate that a person means by `openai` or `openai/gpt-6-luna`. Raises BadInput."""
    if not _TARGET.fullmatch(name):
        raise BadInput(
            "name",
            f"{name[:100]!r} is neither an endpoint nor a model of one",
            "give openai or openai/gpt-6-luna; what an expert may take stands in its card",
        )
    return f"model:{name}" if "/" in name else f"endpoint:{name}"


class Gates:
    """The limits that are set in Redis."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def limits(self) -> dict[str, Limits]:
        """All that are set, by `endpoint` or `endpoint/model`."""
        raw = await self._connection.call("HGETALL", self._connection.keys.limits)
        pairs = zip(raw[::2], raw[1::2], strict=True)
        return {gate.decode().partition(":")[2]: _decoded(value.decode()) for gate, value in sorted(pairs)}

    async def set(self, name: str, limits: Limits) -> None:
        """Replace the limits of an endpoint or a model; workers hold to them from their next claim on.

        Raises BadInput, and TooLarge where there are too many.
        """
        gate = target(name)
        if limits == Limits():
            raise BadInput("limits", "none is given", f"give one, or drop all: swarm limits drop {name}")
        if limits.burst and not (limits.requests_per_minute or limits.tokens_per_minute):
            raise BadInput("burst", "it belongs to a rate", "add --requests-per-minute or --tokens-per-minute")
        if await self._connection.script("limits_set", gate, _encoded(limits), LIMITS_KEPT) != b"ok":
            raise TooLarge("limits", LIMITS_KEPT + 1, LIMITS_KEPT, "models and endpoints")

    async def drop(self, name: str) -> bool:
        """Forget the limits of an endpoint or a model. False: it had none."""
        return bool(await self._connection.script("limits_drop", target(name)))


def _encoded(limits: Limits) -> str:
    return ",".join(str(getattr(limits, name) or "") for name in _FIELDS)


def _decoded(text: str) -> Limits:
    found = {name: int(value) for name, value in zip(_FIELDS, text.split(","), strict=True) if value}
    return Limits(**found)
