"""Charge model calls to a budget: reserve the most a call can cost before it, settle its real cost after it.

The account is a context variable, set while a delivery runs; without one, and for `local/` models, calls pass
unmetered. The most a call can cost is known before it: a token is at least one byte, so a prompt has no more tokens
than its UTF-8 has bytes, beside what a chat template adds; and the answer is capped. Where a budget holds, the cap is
sent with the request; since some servers ignore it, a streamed answer is closed once it is longer.
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
"""Tokens that it may add once, such as a system message of its own."""
FORMAT_TIMES, PER_FORMAT = 4, 256
"""How often a schema may count as prompt (in words, in the request, and written out by the server), and the tokens
that we and a chat template add to it."""

MAX_WHY = 200
"""Characters of a server's problem, as other callers see it."""
LATE = 0.05
"""A call cancelled within this many seconds before its deadline counts as timed out: its caller's own timeout may fire
before the model's."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The budget reserved for one request. `cap`: the most tokens of its answer, None without a limit."""

    number: int
    model: str
    cap: int | None = None
    amount: int = 0
    """Micro-dollars."""
    probe: bool = False
    """Whether this request probes a model whose breaker is open."""


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """How one HTTP request ended: billing, tokens, health of the server.

    `billed`: `reported` if the server reported the tokens, `nothing` if it did not accept the request.
    """

    billed: Billed
    sent: int = 0
    received: int = 0
    cached: int = 0
    limited: bool = False
    pause: float = 0.0
    """Seconds until the server accepts another request."""
    down: Down = ""
    why: str = field(default="", compare=False)
    """The problem of a server that is `down`, without anything of the request."""
    answered: bool = False
    """Whether the server responded, even if with a refusal."""
    reasoning: int = 0
    estimated: bool = False
    """Whether the tokens are our estimate, since the server did not report them."""
    left: bool = False
    """Whether the caller gave up: the reservation stays until the end of the claim, which presumes its cost."""

    @property
    def counted(self) -> Usage:
        """The usage of this request, without its cost."""
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
    """The budget account that pays for the model calls of one delivery."""

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        """Reserve the worst-case cost of a request of at most `sent` tokens; `wanted` is the caller's cap.

        Waits at most `seconds` for a rate limit. Raises Unaffordable, Unpriced, NoRoom or, while the model's breaker is
        open, ModelUnavailable; nothing was spent then.
        """
        ...

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        """Settle a reservation and return its cost, settled or presumed. Does not wait.

        A request that was `left` is only counted.
        """
        ...


ACCOUNT: ContextVar[BudgetAccount | None] = ContextVar("account", default=None)


@dataclass(slots=True)
class Tally:
    """Waiting time and usage of a call so far: a call that fails reports them nowhere else."""

    waited: float = 0.0
    """Seconds that its requests waited for a rate limit."""
    used: Usage = field(default_factory=Usage)


class MeteredModels:
    """Wrap `models` to meter each call. Their creator closes them."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def get(self, name: str) -> Model:
        return MeteredModel(self._models.get(name))

    async def aclose(self) -> None:
        return None


class MeteredModel:
    """Wrap `model` to charge each call to the account of the delivery that makes it."""

    def __init__(self, model: Model, tally: Tally | None = None) -> None:
        self._model, self._tally = model, tally

    @property
    def name(self) -> str:
        return self._model.name

    def tallied(self, tally: Tally) -> MeteredModel:
        """The same model for one call, which records into `tally`."""
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
        # a name without a model raises an error that lists the models there are
        return None if is_local(self.name) or "/" not in self.name else ACCOUNT.get()


class _Call:
    """One call of one or more requests. Each needs a reservation, unless the one before provably cost nothing."""

    def __init__(self, model: Model, account: BudgetAccount, tally: Tally, request: ChatRequest) -> None:
        self._model, self._account, self._tally, self._request = model, account, tally, request
        self._wanted = request.max_tokens or cap_of(model, request.sampling)
        self._until = time.monotonic() + request.timeout
        self._sent = most_tokens(request.messages, request.format)
        self._held: Reservation | None = None
        self._come: list[str] = []

    async def items(self) -> AsyncGenerator[str | Completion]:
        """The answer in pieces, with its cost. An abandoned call keeps its reservation, and its cost is presumed."""
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
        model = self._model.guarded(self._on_repeat) if isinstance(self._model, Guardable) else self._model
        request = replace(self._request, max_tokens=held.cap or self._wanted, timeout=self._left)
        async with aclosing(model.stream(request)) as items:
            async for item in items:
                yield item

    async def _on_repeat(self, billed: Billed, used: Usage) -> None:
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
        # a server that reports no usage bills about what it sent; if the answer was cut off, it may bill for more
        known = used.input_tokens and used.output_tokens and not (used.estimated and completion.cut)
        self._settle(
            CallOutcome(
                "reported" if known else "unknown",
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
        held = self._held
        self._settle(outcome_of(error, self._request.messages, self._model.name))
        if held is not None:
            spare_attempt(error, held)

    def _given_up(self, *, late: bool) -> None:
        """Settle an abandoned call. `late`: its time ran out, which counts against the model's health."""
        used = given_up(self._request.messages, "".join(self._come))
        outcome = CallOutcome("unknown", used.input_tokens, used.output_tokens, estimated=True)
        self._settle(replace(outcome, down="model", why="no answer in time") if late else replace(outcome, left=True))

    def _settle(self, used: CallOutcome) -> None:
        """Settle the open reservation, once."""
        if self._held is not None:
            cost = self._account.settle(self._held, used)
            self._tally.used += used.counted + Usage(cost=cost.cost, presumed=cost.presumed)
            self._held = None

    @property
    def _left(self) -> float:
        return max(0.001, self._until - time.monotonic())


def outcome_of(error: ExpertError, messages: Sequence[Message], model: str) -> CallOutcome:
    """How a request with these messages to `model` ended that raised `error`."""
    used = failed(error, messages)
    return CallOutcome(
        "unknown" if used.unknown else error.call.billed,
        used.input_tokens,
        used.output_tokens,
        limited=error.call.limited,
        pause=error.retry_after or 0.0,
        down=error.call.health,
        why=_why(error, model) if error.call.health else "",
        answered=_answered(error),
        estimated=bool(used.estimated),
    )


def spare_attempt(error: ExpertError, held: Reservation) -> None:
    """Let the failure of a probe cost no attempt, since a probe serves all callers."""
    if held.probe and error.call.health:
        error.call = replace(error.call, limited=True, breaker_open=True)


def _why(error: ExpertError, model: str) -> str:
    """The problem of a server for other callers, without the server's own words and without the remedy."""
    return error.log_message.removeprefix(f"{model}: ").partition("; ")[0][:MAX_WHY]


def _answered(error: ExpertError) -> bool:
    """Whether an error is the response of a healthy server."""
    return not error.call.health and (error.call.limited or not isinstance(error, ModelUnavailable))


def most_tokens(messages: Sequence[Message], response_format: ResponseFormat | None = None) -> int:
    """The most tokens that a prompt can have.

    >>> most_tokens([Message("user", "where is my parcel?")])
    163
    """
    said = sum(len(message.content.encode("utf-8", "surrogatepass")) + PER_MESSAGE for message in messages)
    return said + PER_CALL + (FORMAT_TIMES * _longest(response_format) + PER_FORMAT if response_format else 0)


def _longest(response_format: ResponseFormat) -> int:
    """Bytes of its schema, plain or strict, whichever is longer."""
    strict = strictly(response_format.schema)
    return max(len(json.dumps(schema)) for schema in (response_format.schema, strict.schema if strict else {}))
