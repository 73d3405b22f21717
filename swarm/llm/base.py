"""The seam to language models: messages go in, one completion comes out.

A model is named `endpoint/model`, an endpoint being a server and its limits. Whoever implements `Model` raises
`swarm.errors.ModelUnavailable` for what may pass and `ModelRefused` for what will not; nothing foreign gets through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from swarm.errors import ModelRefused
from swarm.models import Usage

Role = Literal["system", "user", "assistant"]
_ONE_CALL = Usage(calls=1)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered. `cut` says that it stopped at the token limit and not by itself."""

    text: str
    usage: Usage = _ONE_CALL
    model: str = ""
    cut: bool = False


@runtime_checkable
class Model(Protocol):
    """One model of one endpoint. It may be asked several questions at once."""

    @property
    def name(self) -> str:
        """`endpoint/model`, as cards have it."""
        ...

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, timeout: float = 60.0
    ) -> Completion:
        """Answer `messages` within `timeout` seconds, connecting included, or raise ModelUnavailable."""
        ...


@runtime_checkable
class Models(Protocol):
    """Every model this process can reach. Whoever made it closes it."""

    def get(self, name: str) -> Model:
        """The model `endpoint/model`. ModelRefused, naming what to set, if there is no such endpoint."""
        ...

    async def aclose(self) -> None: ...


class NoModels:
    """For processes that run `local/` experts only."""

    def get(self, name: str) -> Model:
        raise ModelRefused(f"this process was given no model endpoints, so {name!r} cannot be asked")

    async def aclose(self) -> None:
        return None
