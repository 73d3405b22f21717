"""The kinds of experts: how each is built, which local model it has, and which fields of a card are its own.

A new kind is one entry of KINDS, with its name in `swarm.types.card.Kind`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from experts.base import Expert, LoadBlob
from swarm.llm.base import Models
from swarm.types.card import Card

Builder = Callable[[Card, LoadBlob, Models], Awaitable[Expert]]

TEMPLATE = "local/template"
EXTRACT = "local/extract"
HEAD = "local/head"


def _no_problem(_: bytes) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class FileField:
    """The field of a card that names its files. They are read with the card, and published with it."""

    name: str
    documents: bool = False
    """Whether it names documents: a file or folder, or a list of them. Otherwise it names one file."""
    only_if_local: bool = False
    """Whether the file belongs to the local model and not to the others."""
    problem: Callable[[bytes], str | None] = _no_problem
    """Returns what is wrong with the one file; None if it can be used."""
    suffix: str = ""
    """How the name of the one file ends."""
    made_by: str = "write it to"
    """How the one file is made, up to its path."""


@dataclass(frozen=True, slots=True)
class ExpertKind:
    """What is particular to one kind of expert."""

    build: Builder
    """Builds the expert of a card; raises SwarmError where its files cannot be used."""
    local_model: str
    """The model of this kind that runs in the worker and needs neither a key nor a network."""
    local_model_hint: str
    """The rest of the sentence "use LOCAL_MODEL, which needs no key": what the local model does."""
    needs_instruction: bool = False
    """Whether a card must have a body."""
    files: FileField | None = None
    """The field of a card that names its files; None for a kind without files."""
    cites: bool = False
    """Whether a model of this kind must cite its sources, so that a card may have `uncited`."""


async def _build_instruction(card: Card, load_blob: LoadBlob, models: Models) -> Expert:
    from experts.instruction.expert import build

    return await build(card, load_blob, models)


async def _build_rag(card: Card, load_blob: LoadBlob, models: Models) -> Expert:
    from experts.rag.expert import build

    return await build(card, load_blob, models)


async def _build_finetuned(card: Card, load_blob: LoadBlob, models: Models) -> Expert:
    from experts.finetuned.expert import build

    return await build(card, load_blob, models)


def _head_problem(content: bytes) -> str | None:
    from experts.catalog import optional_checks

    return optional_checks.head_problem(content)


KINDS: Mapping[str, ExpertKind] = MappingProxyType(
    {
        "instruction": ExpertKind(
            _build_instruction,
            TEMPLATE,
            ": the body is then a Jinja template of the answer, not an instruction",
            needs_instruction=True,
        ),
        "rag": ExpertKind(
            _build_rag,
            EXTRACT,
            " and quotes the documents",
            files=FileField("documents", documents=True),
            cites=True,
        ),
        "fine-tuned": ExpertKind(
            _build_finetuned,
            HEAD,
            " and takes a head that you train",
            files=FileField(
                "head",
                only_if_local=True,
                problem=_head_problem,
                suffix=".head.npz",
                made_by="train it: swarm experts train ROWS.csv --out",
            ),
        ),
    }
)
