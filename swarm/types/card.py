"""Cards that describe experts, the files they use, and the catalog of all cards."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

from pydantic import Field

from swarm.types.base import Input, Name, Value
from swarm.types.sampling import Sampling

Kind = Literal["instruction", "rag", "fine-tuned"]
KINDS: tuple[Kind, ...] = get_args(Kind)
JUDGED_BY: Mapping[Kind, str] = MappingProxyType({"rag": "found", "fine-tuned": "label"})
"""The field of a result's data that tells how it came out, by kind of expert: whether the documents hold an answer, or
the label. Results by an `output` schema have its fields instead."""
Uncited = Literal["keep", "fallback", "refuse"]
"""Handling of a rag answer without citations: keep it as `unverified`, ask a fallback, or count it as not found."""


def is_local(model: str) -> bool:
    """Whether a model runs in this process, so that calling it needs no endpoint and costs nothing."""
    return model.startswith("local/")


class Blob(Value):
    """A file that belongs to an expert, stored under the hash of its content."""

    path: str
    sha256: str
    size: int


class KnowledgeFile(Value):
    """The search index of an expert's documents: a file in pieces, which workers put together."""

    version: str
    """Hash of the documents, the encoder and the format."""
    encoder: str
    """Identity of the encoder that made its vectors; empty for an index of words alone."""
    sha256: str
    size: int
    pieces: tuple[Blob, ...]


class Limits(Input):
    """Limits of an expert, a model or an endpoint. None: no limit."""

    concurrency: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    burst: int | None = Field(default=None, ge=1)
    """Requests that may begin at once after a pause; None: what a second allows, at least one."""


class Card(Value):
    """Description of an expert for planner and workers. `version` is the hash of all other fields."""

    name: Name
    kind: Kind
    description: str
    model: str
    examples: tuple[str, ...] = ()
    """Requests that it is for, in the words of those who ask; the planner compares a request with them."""
    instruction: str = ""
    blobs: tuple[Blob, ...] = ()
    output: dict[str, Any] | None = None
    limits: Limits = Limits()
    timeout: float = 60.0
    """Seconds for one attempt."""
    fallback: tuple[Name, ...] = ()
    """Experts to try, in order, after this one has failed for good."""
    fallback_models: tuple[str, ...] = ()
    """Models to try, in order, in the same attempt, when the one before did not answer."""
    sampling: Sampling = Sampling()
    """Sampling settings of its model; unset ones come from the endpoint."""
    uncited: Uncited = "keep"
    """For a rag expert: what to do with a model's answer that quotes no document."""
    partial: Literal["drop", "keep"] = "drop"
    """Whether to drop or keep the text that a model had written when the attempt timed out."""
    abstain: float | None = None
    """Confidence below which a `local/head` expert gives no label (None: it always gives one), and a `local/extract`
    expert no answer (None: 0.5)."""
    implementation: str | None = None
    """`module:attribute` of an expert in plain Python. Only workers started with it serve the expert."""
    isolate: Literal["process"] | None = None
    """Whether an expert in plain Python runs in a process of its own."""
    knowledge: KnowledgeFile | None = None
    """The index of its documents; None for one that each worker makes itself."""
    version: str = ""

    @property
    def searches(self) -> bool:
        """Whether it looks for its answer in documents, which may not hold one."""
        return self.kind == "rag"


class Catalog(Value):
    """A set of cards. `version` is the hash of their versions."""

    version: str
    cards: dict[str, Card]
