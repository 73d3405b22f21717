"""Models whose calls are paid for: reserved before, at the most they can cost, and settled after.

The account that pays is a context variable, set by whoever runs a delivery; without one, and for `local/` models,
calls go through as they are. How much a call can cost is known before it is made: a token is at least one byte, so a
prompt has no more tokens than its UTF-8 has bytes, beside what a chat template adds; and what a model writes is capped.
Where a limit holds, the cap is sent, and since some servers ignore it the answer is streamed and hung up on when more
has come.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Protocol

from swarm.errors import Billed, ExpertError
from swarm.llm.base import Completion, Form, Guardable, Message, Model, Models
from swarm.models import Usage

PER_MESSAGE = 16
"""Tokens that a chat template may put around a message."""
PER_CALL = 128
"""Tokens that it may put before all of them, such as a system message of its own."""
FORM_TIMES, PER_FORM = 4, 256
"""How often a form's schema may stand in a prompt (in words, in the request, and written out by the server), and the
tokens that we and a chat template say about it."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is reserved for one request. `cap`: tokens that its answer may have, None where no limit holds."""

    number: int
    model: str
    cap: int | None = None
    amount: int = 0
    """Micro-dollars."""


@dataclass(frozen=True, slots=True)
class Used:
    """What became of one request. `told`: the server told its tokens, `nothing`: it took nothing on."""

    billed: Billed
    sent: int = 0
    received: int = 0
    cached: int = 0
    limited: bool = False
    pause: float = 0.0
    """Seconds for which the server wants no more."""


class Account(Protocol):
    """Who pays for the calls of one delivery."""

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Held:
        """Hold what a request of at most `sent` tokens can cost; `wanted` caps the answer if the caller does.

        Waits `seconds` at most for room. Raises Unaffordable, Unpriced, or NoRoom before anything was spent.
        """
        ...

    def settle(self, held: Held, used: Used) -> Usage:
        """Book what a request came to, and say what it cost: settled, or presumed. Does not wait."""
        ...


ACCOUNT: ContextVar[Account | None] = ContextVar("account", default=None)


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

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float = 60.0,
        form: Form | None = None,
    ) -> Completion:
        account = self._account()
        if account is None:
            return await self._model.complete(messages, max_tokens=max_tokens, timeout=timeout, form=form)
        call = _Call(self._model, account, messages, form, max_tokens, timeout)
        async with aclosing(call.items(streamed=False)) as items:
            return [item async for item in items if isinstance(item, Completion)][-1]

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float = 60.0,
        form: Form | None = None,
    ) -> AsyncGenerator[str | Completion]:
        account = self._account()
        if account is None:
            whole = self._model.stream(messages, max_tokens=max_tokens, timeout=timeout, form=form)
        else:
            whole = _Call(self._model, account, messages, form, max_tokens, timeout).items(streamed=True)
        async with aclosing(whole) as items:
            async for item in items:
                yield item

    def _account(self) -> Account | None:
        return None if self.name.startswith("local/") else ACCOUNT.get()


class _Call:
    """One call, of as many requests as it takes: each is held for, unless the one before provably cost nothing."""

    def __init__(
        self,
        model: Model,
        account: Account,
        messages: Sequence[Message],
        form: Form | None,
        wanted: int | None,
        timeout: float,
    ) -> None:
        self._model, self._account, self._messages, self._form = model, account, messages, form
        self._wanted, self._until = wanted, time.monotonic() + timeout
        self._sent = most_tokens(messages, form)
        self._earlier = Usage()
        self._held = Held(0, model.name)

    async def items(self, *, streamed: bool) -> AsyncGenerator[str | Completion]:
        """The answer, whole or in pieces, and what it cost. A call that is given up stays held, and is presumed."""
        self._held = await self._reserved()
        try:
            async with aclosing(self._answer(streamed)) as items:
                async for item in items:
                    yield self._paid(item) if isinstance(item, Completion) else item
        except ExpertError as error:
            sent, received = error.tokens
            told: Billed = "unknown" if error.billed == "told" and not (sent and received) else error.billed
            self._settle(Used(told, sent, received, limited=error.limited, pause=error.retry_after or 0.0))
            raise

    async def _answer(self, streamed: bool) -> AsyncGenerator[str | Completion]:
        model = self._model.guarded(self._again) if isinstance(self._model, Guardable) else self._model
        cap = self._held.cap or self._wanted
        if not streamed and self._held.cap is None:
            yield await model.complete(self._messages, max_tokens=cap, timeout=self._left, form=self._form)
            return
        stream = model.stream(self._messages, max_tokens=cap, timeout=self._left, form=self._form)
        async with aclosing(stream) as items:
            async for item in items:
                yield item

    async def _again(self, billed: Billed) -> None:
        if billed != "nothing":
            self._earlier += self._settle(Used(billed))
            self._held = await self._reserved()

    async def _reserved(self) -> Held:
        return await self._account.reserve(self._model.name, self._sent, self._wanted, self._left)

    def _paid(self, completion: Completion) -> Completion:
        used = completion.usage
        told: Billed = "told" if used.input_tokens and used.output_tokens else "unknown"
        sent, received, pause = used.input_tokens, used.output_tokens, completion.pause
        cost = self._settle(Used(told, sent, received, completion.cached, pause=pause))
        total = self._earlier + cost
        return replace(completion, usage=used.model_copy(update={"cost": total.cost, "presumed": total.presumed}))

    def _settle(self, used: Used) -> Usage:
        return self._account.settle(self._held, used)

    @property
    def _left(self) -> float:
        return max(0.001, self._until - time.monotonic())


def most_tokens(messages: Sequence[Message], form: Form | None = None) -> int:
    """The most tokens that a prompt can have.

    >>> most_tokens([Message("user", "where is my parcel?")])
    163
    """
    said = sum(len(message.content.encode("utf-8", "surrogatepass")) + PER_MESSAGE for message in messages)
    shape = FORM_TIMES * len(json.dumps(form.schema)) + PER_FORM if form else 0
    return said + PER_CALL + shape
