"""Documents of a card, as text. Which files a card has, and that they are UTF-8, was checked when it was read."""

from __future__ import annotations

from dataclasses import dataclass

from experts.base import LoadBlob
from swarm.errors import UnusableInput
from swarm.models import Card


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its path in the catalog."""

    name: str
    text: str


async def load_documents(card: Card, load_blob: LoadBlob) -> list[Document]:
    """The documents of `card`, in the order of its blobs."""
    return [Document(blob.path, decoded(blob.path, await load_blob(blob))) for blob in card.blobs]


def decoded(name: str, content: bytes) -> str:
    """Text with one sort of line end, or UnusableInput."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnusableInput(f"the document {name!r} is not UTF-8; save it as UTF-8 and publish again") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
