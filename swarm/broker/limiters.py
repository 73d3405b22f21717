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

The gates of a model and of its endpoint have a breaker, for what fails altogether. Five calls in a row that fail within
a minute, with no answer in between, open it: where one call in ten fails anyhow, that comes about once in 100,000
calls, and a model that is rarely asked does not add up the failures of a day. What nothing was reached for counts at
the endpoint; time-outs, 5xx and broken streams at the model. For five seconds, about the time of a restart and little
against an attempt, nobody asks; then one call tries, of all workers together, and the others wait for what comes of it,
as long as its delivery's lease runs. An answer, also a refusal, closes the breaker; a failure doubles the pause, to a
minute at most. So all is as before at the latest a minute and one call after a server is back.

While it is open, an expert without fallbacks waits in its queue as at any gate. Where there are some, and for planning
and answers, whose own ways without a model stand in, deliveries run, and the reservation of the call is refused.

Nobody waits for it for longer than five minutes, the time in which a server of a large model is up again; who cannot
wait so long gives a deadline. From then on calls are refused for good, so what waited and what comes fails at once
(`unavailable`, not tried again), until the call that still tries each minute is answered. A model that has been dead
all along therefore fails its subtasks within five minutes and one attempt, and later ones in milliseconds.

A pause that a server asks for holds up the queues of its model; a call to another model than the delivery came for,
such as a fallback, is refused meanwhile.

Limits of an expert stand in its card, those of models and endpoints in Redis, set by `swarm limits`.
"""

from __future__ import annotations

import re

from swarm.broker.connection import Connection
from swarm.broker.keys import LIMITS_KEPT
from swarm.errors import BadInput, TooLarge
from swarm.types.card import Card, Limits

_FIELDS = ("concurrency", "requests_per_minute", "tokens_per_minute", "burst")
_TARGET = re.compile(r"(?!local(?:/|$))[a-z0-9][a-z0-9_-]*(?:/\S{1,200})?")


def limiters_of(card: Card) -> str:
    """The gates of an expert as the claim script reads them; empty where there is nothing to count.

    A `!` before them: it waits for a breaker to close, since it has no fallbacks.
    """
    own = f"expert:{card.name} ={_encoded(card.limits)}" if card.limits != Limits() else ""
    model = model_limiters(card.model)
    waits = "!" if model and not (card.fallback or card.fallback_models) else ""
    return " ".join(filter(None, (waits, own, model)))


def model_limiters(model: str) -> str:
    """The gates of a model and its endpoint; empty for `local/` ones, which have no server."""
    return f"model:{model} endpoint:{model.partition('/')[0]}" if has_limiters(model) else ""


def has_limiters(model: str) -> bool:
    """Whether there is a server behind a name."""
    return "/" in model and _TARGET.fullmatch(model) is not None


def target(name: str) -> str:
    """The gate that a person means by `openai` or `openai/gpt-6-luna`. Raises BadInput."""
    if not _TARGET.fullmatch(name):
        raise BadInput(
            "name",
            f"{name[:100]!r} is neither an endpoint nor a model of one",
            "give openai or openai/gpt-6-luna; what an expert may take stands in its card",
        )
    return f"model:{name}" if "/" in name else f"endpoint:{name}"


class Limiters:
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
            raise TooLarge(
                "limits", LIMITS_KEPT + 1, LIMITS_KEPT, "models and endpoints", "drop some: swarm limits drop NAME"
            )

    async def drop(self, name: str) -> bool:
        """Forget the limits of an endpoint or a model. False: it had none."""
        return bool(await self._connection.script("limits_drop", target(name)))


def _encoded(limits: Limits) -> str:
    return ",".join(str(getattr(limits, name) or "") for name in _FIELDS)


def _decoded(text: str) -> Limits:
    found = {name: int(value) for name, value in zip(_FIELDS, text.split(","), strict=True) if value}
    return Limits(**found)
