"""The interface to language models: a ChatRequest goes in, a Completion comes out.

A model is named `endpoint/model`, an endpoint being a server and its limits. An implementation of `Model` raises
`swarm.errors.ModelUnavailable` for what may pass and `ModelRefused` for what will not, and no error of a library.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

from swarm.errors import Billed, CallFacts, ModelRefused, ModelUnavailable
from swarm.types.result import FailedModel, Usage
from swarm.types.sampling import IN_CARD, UNSET, Cap, Sampling

Role = Literal["system", "user", "assistant"]
_ONE_CALL = Usage(calls=1)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The JSON schema of a wanted answer. Servers differ in whether and how they enforce it: always validate."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a model, and the bounds of its answer."""

    messages: Sequence[Message]
    max_tokens: int | None = None
    """Goes before that of `sampling`, which goes before what the endpoint says."""
    timeout: float = 60.0
    """Seconds for the whole answer, connecting included."""
    format: ResponseFormat | None = None
    """Asked for in the best way that the server supports; the answer is still text, and may not fit."""
    sampling: Sampling | None = None
    deltas: bool = True
    """Whether the pieces are read as they come. Otherwise only the Completion at the end counts."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer of a model. `cut`: it ended at the token limit and not by itself."""

    text: str
    usage: Usage = _ONE_CALL
    model: str = ""
    cut: bool = False
    asked_by: str = ""
    """How the format was requested: `json_schema`, `json_object`, `tool` or `words`; empty without a format."""
    dropped: tuple[str, ...] = ()
    """Keywords of the schema that were left out of the request, each as `place: keyword`; alone: at every place."""
    pause: float = 0.0
    """Seconds until the server accepts another request: this call used up its rate limit."""
    first: float = 0.0
    """Seconds from the request to the first piece; 0: unknown."""
    failed: tuple[FailedModel, ...] = ()
    """The models that were asked before `model`, and why each did not answer."""
    thoughts: str = ""
    """The beginning of the model's reasoning. For the log only: it never reaches answers or other models."""
    remedy: str = ""
    """What to do about a `cut` answer; names the limit that cut it."""


@runtime_checkable
class Model(Protocol):
    """One model of one endpoint. It accepts concurrent requests."""

    @property
    def name(self) -> str:
        """`endpoint/model`, as cards name it."""
        ...

    def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
        """Answer `request` piece by piece as it is written; the last item is the whole Completion.

        The text of the Completion counts: if the pieces are not its beginning, they were thoughts, and are void. An
        `Anew` among the pieces says so as soon as it is known.
        Raises ModelUnavailable if the answer breaks off. Close it (`contextlib.aclosing`) to hang up early.
        """
        ...


async def complete(model: Model, request: ChatRequest) -> Completion:
    """The whole answer of `model`, within `request.timeout` seconds. Raises what its stream raises.

    A model may then ask another one in place of an answer that was cut, since nobody has read its pieces.
    """
    async with aclosing(model.stream(replace(request, deltas=False))) as items:
        found = [item async for item in items if isinstance(item, Completion)]
    if not found:
        raise no_completion(model.name)
    return found[-1]


def no_completion(name: str) -> ModelUnavailable:
    """The error for a stream of the model `name` that ended without a Completion."""
    return ModelUnavailable(f"{name}: its stream ended without a Completion, which must be the last item")


class Anew(str):
    """The piece of a stream at which the answer begins: the pieces before it were thoughts."""

    __slots__ = ()


OnRepeat = Callable[[Billed, Usage], Awaitable[None]]
"""Called before one call sends another request, with what the server may charge for the one before and its usage. An
error that it raises ends the call."""


@runtime_checkable
class Guardable(Protocol):
    """A model that may send several requests in one call, and whose server may ignore `max_tokens`."""

    def guarded(self, on_repeat: OnRepeat) -> Model:
        """The same model, which calls `on_repeat`, and closes a stream after more than `max_tokens`."""
        ...


@runtime_checkable
class Tuned(Protocol):
    """A model with default sampling settings, for calls without their own."""

    @property
    def sampling(self) -> Sampling: ...


def sampling_of(model: Model, asked: Sampling | None = None) -> Sampling:
    """The sampling settings of a call: `asked`, over the defaults of `model`."""
    own = model.sampling if isinstance(model, Tuned) else UNSET
    return own if asked is None else asked.over(own)


def cap_of(model: Model, asked: Sampling | None = None) -> Cap | None:
    """The token limit of an answer of `model`: that of the card, or else of the endpoint."""
    if asked is not None and asked.max_tokens:
        return Cap(asked.max_tokens, IN_CARD)
    if not (own := sampling_of(model).max_tokens):
        return None
    return Cap(own, f"max_tokens in [endpoints.{model.name.partition('/')[0]}.sampling] of swarm.toml")


@runtime_checkable
class Models(Protocol):
    """Every model this process can reach. Its creator closes it."""

    def get(self, name: str) -> Model:
        """The model `endpoint/model`. Raises ModelRefused with what to set if there is no such endpoint."""
        ...

    async def aclose(self) -> None: ...


class NoModels:
    """No models at all, for processes that run `local/` experts only."""

    def get(self, name: str) -> Model:
        unknown = f"this process has no model endpoints, so {name!r} cannot be asked"
        raise ModelRefused(unknown, call=CallFacts("nothing"))

    async def aclose(self) -> None:
        return None
