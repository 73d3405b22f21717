"""Models whose calls are paid for: reserved before, at the most they can cost, and settled after.

The account that pays is a context variable, set by whoever runs a delivery; without one, and for `local/` models,
calls go through as they are. How much a call can cost is known before it is made: a token is at least one byte, so a
prompt has no more tokens than its UTF-8 has bytes, beside what a chat template adds; and what a model writes is capped.
Where a limit holds, the cap is sent, and since some servers ignore it the answer is streamed and hung up on when more
has come.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Protocol

from swarm import logging as events
from swarm.errors import Billed, Down, ExpertError, ModelUnavailable
from swarm.llm.base import (
    ChatRequest,
    Completion,
    Guardable,
    Message,
    Model,
    Models,
    ResponseFormat,
    cap_of,
    sampling_of,
)
from swarm.llm.openai.usage import failed, given_up
from swarm.llm.strict_schema import strictly
from swarm.types.card import is_local
from swarm.types.result import Usage
from swarm.types.sampling import Sampling

PER_MESSAGE = 16
"""Tokens that a chat template may put around a message."""
PER_CALL = 128
"""Tokens that it may put before all of them, such as a system message of its own."""
FORM_TIMES, PER_FORM = 4, 256
"""How often a form's schema may stand in a prompt (in words, in the request, and written out by the server), and the
tokens that we and a chat template say about it."""

MAX_WHY = 200
"""Characters of what was wrong with a server, as others are told that ask it."""
LATE = 0.05
"""Seconds before its time is up in which a call that is cancelled is so for that: its caller's own limit may be quicker
than the model's."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for one request. `cap`: tokens that its answer may have, None where no limit holds."""

    number: int
    model: str
    cap: int | None = None
    amount: int = 0
    """Micro-dollars."""
    probe: bool = False
    """Whether it is to show that a model which was failing answers again."""


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """What became of one request. `told`: the server told its tokens, `nothing`: it took nothing on."""

    billed: Billed
    sent: int = 0
    received: int = 0
    cached: int = 0
    limited: bool = False
    pause: float = 0.0
    """Seconds for which the server wants no more."""
    down: Down = ""
    why: str = field(default="", compare=False)
    """What was wrong where it is `down`, in words that hold nothing of what was asked."""
    answered: bool = False
    """Whether the server did answer, were it with a refusal."""
    reasoning: int = 0
    estimated: bool = False
    """Whether the tokens are an estimate, as the server did not tell them."""
    left: bool = False
    """Whether it was given up: it stays held, and whoever ends the claim presumes it."""

    @property
    def counted(self) -> Usage:
        """The request as a part of what a call used; what it cost is not in it."""
        return Usage(
            calls=int(self.billed != "nothing"),
            input_tokens=self.sent,
            output_tokens=self.received,
            cached_tokens=self.cached,
            reasoning_tokens=self.reasoning,
            estimated=int(self.estimated),
            unknown=int(self.billed == "unknown"),
        )


class BudgetAccount(Protocol):
    """Who pays for the calls of one delivery."""

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        """Hold what a request of at most `sent` tokens can cost; `wanted` caps the answer if the caller does.

        Waits `seconds` at most for room. Raises Unaffordable, Unpriced, NoRoom or, where the model is known to fail,
        ModelUnavailable, before anything was spent.
        """
        ...

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        """Book what a request came to, and say what it cost: settled, or presumed. Does not wait.

        One that was `left` is only counted.
        """
        ...


ACCOUNT: ContextVar[BudgetAccount | None] = ContextVar("account", default=None)


@dataclass(slots=True)
class Tally:
    """What a call waited for and what it is charged, as far as it has come: a call that fails says so nowhere else."""

    waited: float = 0.0
    """Seconds until there was room for its requests."""
    used: Usage = field(default_factory=Usage)


class MeteredModels:
    """`models`, each of them metered. Whoever made them closes them."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def get(self, name: str) -> Model:
        return MeteredModel(self._models.get(name))

    async def aclose(self) -> None:
        return None


class MeteredModel:
    """`model`, its calls paid for by the account of the delivery that makes them."""

    def __init__(self, model: Model, tally: Tally | None = None) -> None:
        self._model, self._tally = model, tally

    @property
    def name(self) -> str:
        return self._model.name

    def tallied(self, tally: Tally) -> MeteredModel:
        """The same for one call, which keeps `tally`."""
        return MeteredModel(self._model, tally)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
        account = self._account()
        if account is None:
            stream = self._model.stream(request)
        else:
            stream = _Call(self._model, account, self._tally or Tally(), request).items()
        async with aclosing(stream) as items:
            async for item in items:
                yield item

    @property
    def sampling(self) -> Sampling:
        return sampling_of(self._model)

    def _account(self) -> BudgetAccount | None:
        # a name without a model is never asked: it is an error that says which there are
        return None if is_local(self.name) or "/" not in self.name else ACCOUNT.get()


class _Call:
    """One call, of as many requests as it takes: each is held for, unless the one before provably cost nothing."""

    def __init__(self, model: Model, account: BudgetAccount, tally: Tally, request: ChatRequest) -> None:
        self._model, self._account, self._tally, self._request = model, account, tally, request
        self._wanted = request.max_tokens or cap_of(model, request.sampling)
        self._until = time.monotonic() + request.timeout
        self._sent = most_tokens(request.messages, request.format)
        self._held: Reservation | None = None
        self._come: list[str] = []

    async def items(self) -> AsyncGenerator[str | Completion]:
        """The answer in pieces, and what it cost. A call that is given up stays held, and is presumed."""
        held = await self._reserved()
        try:
            async with aclosing(self._answer(held)) as items:
                async for item in items:
                    if isinstance(item, Completion):
                        yield self._paid(item)
                    else:
                        self._come.append(item)
                        yield item
        except ExpertError as error:
            self._failed(error)
            raise
        except (asyncio.CancelledError, GeneratorExit) as error:
            self._given_up(late=isinstance(error, asyncio.CancelledError) and time.monotonic() > self._until - LATE)
            raise

    async def _answer(self, held: Reservation) -> AsyncGenerator[str | Completion]:
        model = self._model.guarded(self._again) if isinstance(self._model, Guardable) else self._model
        request = replace(self._request, max_tokens=held.cap or self._wanted, timeout=self._left)
        async with aclosing(model.stream(request)) as items:
            async for item in items:
                yield item

    async def _again(self, billed: Billed, used: Usage) -> None:
        if billed != "nothing":
            self._settle(CallOutcome(billed, used.input_tokens, used.output_tokens, estimated=bool(used.estimated)))
            await self._reserved()

    async def _reserved(self) -> Reservation:
        begun = time.monotonic()
        try:
            held = await self._account.reserve(self._model.name, self._sent, self._wanted, self._left)
        finally:
            self._tally.waited += time.monotonic() - begun
        self._held = held
        return held

    def _paid(self, completion: Completion) -> Completion:
        used = completion.usage
        # a server that counts nothing and was done charges about what came; one that was stopped may charge for more
        known = used.input_tokens and used.output_tokens and not (used.estimated and completion.cut)
        self._settle(
            CallOutcome(
                "told" if known else "unknown",
                used.input_tokens,
                used.output_tokens,
                used.cached_tokens,
                pause=completion.pause,
                answered=True,
                reasoning=used.reasoning_tokens,
                estimated=bool(used.estimated),
            )
        )
        return replace(completion, usage=self._tally.used)

    def _failed(self, error: ExpertError) -> None:
        held, used = self._held, failed(error, self._request.messages)
        self._settle(
            CallOutcome(
                "unknown" if used.unknown else error.billed,
                used.input_tokens,
                used.output_tokens,
                limited=error.limited,
                pause=error.retry_after or 0.0,
                down=error.down,
                why=_why(error, self._model.name) if error.down else "",
                answered=_answered(error),
                estimated=bool(used.estimated),
            )
        )
        if held is not None and held.probe and error.down:
            # who tried it out for all others has not lost an attempt of its own
            error.limited = error.broken = True

    def _given_up(self, *, late: bool) -> None:
        """Nobody waits any longer: as its time is up, which speaks against the model, or for another reason."""
        used = given_up(self._request.messages, "".join(self._come))
        told = CallOutcome("unknown", used.input_tokens, used.output_tokens, estimated=True)
        self._settle(replace(told, down="model", why="no answer in time") if late else replace(told, left=True))

    def _settle(self, used: CallOutcome) -> None:
        """Settle the request that is open, once."""
        if self._held is not None:
            cost = self._account.settle(self._held, used)
            self._tally.used += used.counted + Usage(cost=cost.cost, presumed=cost.presumed)
            self._held = None

    @property
    def _left(self) -> float:
        return max(0.001, self._until - time.monotonic())


def _why(error: ExpertError, model: str) -> str:
    """What is wrong with a server, for others: without the words of the server, and without what to do."""
    return events.own(str(error).removeprefix(f"{model}: ")).partition("; ")[0][:MAX_WHY]


def _answered(error: ExpertError) -> bool:
    """Whether an error is what a server said that is well. What it cannot do now may be of its health or not."""
    return not error.down and (error.limited or not isinstance(error, ModelUnavailable))


def most_tokens(messages: Sequence[Message], form: ResponseFormat | None = None) -> int:
    """The most tokens that a prompt can have.

    >>> most_tokens([Message("user", "where is my parcel?")])
    163
    """
    said = sum(len(message.content.encode("utf-8", "surrogatepass")) + PER_MESSAGE for message in messages)
    return said + PER_CALL + (FORM_TIMES * _longest(form) + PER_FORM if form else 0)


def _longest(form: ResponseFormat) -> int:
    """Bytes of its schema, as it is or in its strict form."""
    strict = strictly(form.schema)
    return max(len(json.dumps(schema)) for schema in (form.schema, strict.schema if strict else {}))
