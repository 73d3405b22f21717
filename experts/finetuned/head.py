"""Heads: trained classifiers of texts, over words or over the vectors of an encoder."""

from __future__ import annotations

from experts.finetuned.head_file import HeadArrays, UnsoundHead, parse
from experts.finetuned.vector_head import VectorHead
from experts.finetuned.word_head import WordHead
from swarm.errors import BadInput

Head = WordHead | VectorHead


def read_head(content: bytes) -> Head:
    """Read the file of a head. Raises BadInput."""
    try:
        return parse(content, _read)
    except UnsoundHead as error:
        raise BadInput("head", str(error), "train the head again") from None


def head_problem(content: bytes) -> str | None:
    """Describe why this is not a head; None if it is one."""
    try:
        parse(content, _read)
    except UnsoundHead as error:
        return str(error)
    return None


def _read(arrays: HeadArrays) -> Head:
    match arrays.about.get("format"):
        case WordHead.FORMAT:
            return WordHead.read(arrays)
        case VectorHead.FORMAT:
            return VectorHead.read(arrays)
        case other:
            raise UnsoundHead(f"is of format {str(other)[:20]}, which this version does not know")
