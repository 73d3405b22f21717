"""The kinds of experts: how each is built, which local model it has, and which fields of a card are its own.

A new kind is one entry of KINDS, with its name in `swarm.types.card.Kind`. One whose cards name files other than
`documents` and `head` needs them in `experts/catalog/card_reader.py` as well.
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
    files: str = ""
    """The field of a card that names its files; empty for a kind without files."""
    files_only_if_local: bool = False
    """Whether the files belong to the local model and not to the others."""
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


KINDS: Mapping[str, ExpertKind] = MappingProxyType(
    {
        "instruction": ExpertKind(
            _build_instruction,
            TEMPLATE,
            ": the body is then a Jinja template of the answer, not an instruction",
            needs_instruction=True,
        ),
        "rag": ExpertKind(_build_rag, EXTRACT, " and quotes the documents", files="documents", cites=True),
        "fine-tuned": ExpertKind(
            _build_finetuned, HEAD, " and takes a head that you train", files="head", files_only_if_local=True
        ),
    }
)
