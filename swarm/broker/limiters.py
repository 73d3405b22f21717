"""Rate limiters and circuit breakers of experts, models and endpoints, shared by all processes.

A claim takes a delivery only if each of its limiters admits it. Otherwise it passes over that queue without using a
slot or an attempt, and the delivery keeps its place. A limiter counts

- deliveries that run now (`concurrency`). A place is held as long as the lease, so a killed worker's place frees
  itself;
- requests per minute, evenly spaced: after a pause `burst` of them may begin at once;
- tokens per minute: a claim is charged the recent average of a call (1,000 before the first), later corrected to the
  tokens used. A limiter that owes tokens admits nothing until they are paid off.

A model's limiter also adapts. When the server refuses a call because of its limits, concurrency and rates are halved;
each round of answers gives one place back, each second a twentieth of the rate. A limiter without configured limits has
none until its server refuses, and has none again when twice as many calls may run as ran then, or after ten minutes. A
pause that the server asks for (`Retry-After`) always holds.

Models and endpoints also have a circuit breaker. Five calls in a row that fail within a minute, with no answer in
between, open it: where one call in ten fails anyway, that happens about once in 100,000 calls, and the failures of a
rarely used model do not add up over a day. Failed connections count at the endpoint; timeouts, 5xx and broken streams
at the model. An open breaker blocks all calls for five seconds, about the time of a restart and little compared with an
attempt. Then it is half-open: one call of all workers together probes the server, and the others wait for its outcome
as long as the lease of its delivery runs. An answer, also a refusal, closes the breaker; a failure doubles the pause,
up to a minute. So calls flow again at most a minute and one call after a server is back.

While it is open, an expert without fallbacks waits in its queue as at any limiter. Deliveries of an expert with
fallbacks run, as do planning and answers, which have ways without a model; the reservation of the call is refused.

Deliveries wait for an open breaker for at most five minutes, the time in which a server of a large model restarts; a
job that cannot wait so long gives a deadline. After that, calls fail at once for good (`unavailable`, not retried)
until a probe, one each minute, is answered. So a model that is down from the start fails its subtasks within five
minutes and one attempt, and later ones in milliseconds.

A pause that a server asks for holds back the queues of its model; a call to a model other than the delivery's own, such
as a fallback, is refused meanwhile.

Limits of an expert are in its card, those of models and endpoints in Redis, set by `swarm limits`. Keys and fields in
Redis call a limiter `gate`, as older versions do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping

from swarm.broker.clock import now_ms
from swarm.broker.connection import Connection
from swarm.broker.keys import LIMITS_KEPT
from swarm.broker.snapshot_types import Breaker
from swarm.errors import BadInput, TooLarge
from swarm.types.card import Card, Limits

_FIELDS = ("concurrency", "requests_per_minute", "tokens_per_minute", "burst")
_TARGET = re.compile(r"(?!local(?:/|$))[a-z0-9][a-z0-9_-]*(?:/\S{1,200})?")


def limiters_of(card: Card) -> str:
    """Limiters of an expert as the claim script reads them; empty if nothing is limited.

    A leading `!`: its deliveries wait for a breaker to close, since the expert has no fallbacks.
    """
    own = f"expert:{card.name} ={_encoded(card.limits)}" if card.limits != Limits() else ""
    model = model_limiters(card.model)
    waits = "!" if model and not (card.fallback or card.fallback_models) else ""
    return " ".join(filter(None, (waits, own, model)))


def model_limiters(model: str) -> str:
    """Limiters of a model and its endpoint; empty for `local/` models, which have no server."""
    return f"model:{model} endpoint:{model.partition('/')[0]}" if has_limiters(model) else ""


def has_limiters(model: str) -> bool:
    """Whether a model runs on a server, and so has limiters."""
    return "/" in model and _TARGET.fullmatch(model) is not None


def target(name: str) -> str:
    """Limiter of `openai` or `openai/gpt-6-luna`, as a user writes it. Raises BadInput."""
    if not _TARGET.fullmatch(name):
        raise BadInput(
            "name",
            f"{name[:100]!r} is neither an endpoint nor a model of one",
            "give openai or openai/gpt-6-luna; the limits of an expert are in its card",
        )
    return f"model:{name}" if "/" in name else f"endpoint:{name}"


class Limiters:
    """Limits of models and endpoints, kept in Redis."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def limits(self) -> dict[str, Limits]:
        """All limits, by `endpoint` or `endpoint/model`."""
        raw = await self._connection.call("HGETALL", self._connection.keys.limits)
        pairs = zip(raw[::2], raw[1::2], strict=True)
        return {name.decode().partition(":")[2]: _decoded(value.decode()) for name, value in sorted(pairs)}

    async def set(self, name: str, limits: Limits) -> None:
        """Replace the limits of an endpoint or a model; they hold from the next claim of each worker.

        Raises BadInput, and TooLarge if limits of too many models are set.
        """
        limiter = target(name)
        if limits == Limits():
            raise BadInput("limits", "none is given", f"give one, or drop all: swarm limits drop {name}")
        if limits.burst and not (limits.requests_per_minute or limits.tokens_per_minute):
            raise BadInput(
                "burst",
                "it needs a rate limit beside it, and there is none",
                "add --requests-per-minute or --tokens-per-minute",
            )
        if await self._connection.script("limits_set", limiter, _encoded(limits), LIMITS_KEPT) != b"ok":
            raise TooLarge(
                "limits", LIMITS_KEPT + 1, LIMITS_KEPT, "models and endpoints", "drop some: swarm limits drop NAME"
            )

    async def drop(self, name: str) -> bool:
        """Delete the limits of an endpoint or a model; False if it had none."""
        return bool(await self._connection.script("limits_drop", target(name)))


def _encoded(limits: Limits) -> str:
    return ",".join(str(getattr(limits, name) or "") for name in _FIELDS)


def _decoded(text: str) -> Limits:
    found = {name: int(value) for name, value in zip(_FIELDS, text.split(","), strict=True) if value}
    return Limits(**found)


async def open_breakers(connection: Connection, names: Iterable[str]) -> tuple[dict[str, Breaker], int]:
    """Open breakers among these, by `endpoint` or `endpoint/model`, and the swarm's time in milliseconds.

    Raises BrokerErrors, and BadInput for a name that is neither.
    """
    every = sorted(set(names))
    limiters = [connection.keys.limiter(target(name)) for name in every]
    fields = await asyncio.gather(*(connection.call("HMGET", limiter, "broken", "shut") for limiter in limiters))
    now = int(await now_ms(connection))
    found = {}
    for name, (since, until) in zip(every, fields, strict=True):
        if since is not None and until is not None:
            found[name] = breaker_of({"broken": since.decode(), "shut": until.decode()}, now)
    return {name: breaker for name, breaker in found.items() if breaker is not None}, now


def breaker_of(fields: Mapping[str, str], now: int) -> Breaker | None:
    """Breaker of a limiter with these fields; None if it is closed."""
    if "broken" not in fields:
        return None
    until = int(fields["shut"])
    return Breaker(since=int(fields["broken"]), until=until, half_open=until <= now)
