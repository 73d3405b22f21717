"""Experts as others see them: cards, the files they use, and the catalog of all cards."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field

from swarm.types.base import Input, Name, Value
from swarm.types.sampling import Sampling

Kind = Literal["instruction", "rag", "fine-tuned"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Uncited = Literal["keep", "fallback", "refuse"]
"""The answer stands as `unverified`; another expert is asked; or it counts as not found."""


def is_local(model: str) -> bool:
    """Whether a model runs in this process, so that calling it needs no endpoint and costs nothing."""
    return model.startswith("local/")


class Blob(Value):
    """A file that belongs to an expert, stored under the hash of its content."""

    path: str
    sha256: str
    size: int


class Limits(Input):
    """What an expert may use. None: no limit of its own."""

    concurrency: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    burst: int | None = Field(default=None, ge=1)
    """Requests that may begin at once after a pause; None: what a second allows, at least one."""


class Card(Value):
    """What the planner and the workers know of an expert. `version` is the hash of all the rest."""

    name: Name
    kind: Kind
    description: str
    model: str
    instruction: str = ""
    blobs: tuple[Blob, ...] = ()
    output: dict[str, Any] | None = None
    limits: Limits = Limits()
    timeout: float = 60.0
    """Seconds for one attempt."""
    fallback: tuple[Name, ...] = ()
    """Experts that are tried in order when this one has failed for good."""
    fallback_models: tuple[str, ...] = ()
    """Models that are asked in order, in the same attempt, when the one before did not answer."""
    sampling: Sampling = Sampling()
    """How its model is to write; what is not said here is as the endpoint says."""
    uncited: Uncited = "keep"
    """Of a rag expert: what becomes of a model's answer without one quote that stands in the documents."""
    partial: Literal["drop", "keep"] = "drop"
    """What becomes of the words that had come of a model's answer when the time of the attempt was over."""
    implementation: str | None = None
    """`module:attribute` of an expert in plain Python. Only workers that were told to load it serve it."""
    isolate: Literal["process"] | None = None
    """Whether an expert in plain Python computes in a process of its own."""
    version: str = ""


class Catalog(Value):
    """A set of cards with one version: the hash of theirs."""

    version: str
    cards: dict[str, Card]
