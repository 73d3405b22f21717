"""Documents of a card, as text. Which files a card has, and that they are UTF-8, was checked when it was read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from experts.base import LoadBlob
from experts.rag.markup import split_front, visible
from swarm.errors import UnusableInput
from swarm.types.card import Card


@dataclass(frozen=True, slots=True)
class Document:
    """A text, its path in the catalog, and the title that its front matter gives."""

    name: str
    text: str
    title: str = ""

    @classmethod
    def read(cls, name: str, content: bytes) -> Document:
        """What a reader of this file would see. UnusableInput if it is not UTF-8."""
        title, text = split_front(decoded(name, content))
        return cls(name, visible(text), title)


async def load_documents(card: Card, load_blob: LoadBlob) -> list[Document]:
    """The documents of `card`, in the order of its blobs."""
    contents = [(blob.path, await load_blob(blob)) for blob in card.blobs]
    return await asyncio.to_thread(lambda: [Document.read(path, content) for path, content in contents])


def decoded(name: str, content: bytes) -> str:
    """Text with one sort of line end, or UnusableInput."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnusableInput(f"the document {name!r} is not UTF-8; save it as UTF-8 and publish again") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
