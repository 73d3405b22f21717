"""Loads the documents of a card as text. Paths and encoding were checked when the card was read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from experts.base import LoadBlob
from experts.rag.markup import split_front, visible
from swarm.errors import UnusableInput
from swarm.types.card import Card


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its path in the catalog and the title of its front matter."""

    name: str
    text: str
    title: str = ""

    @classmethod
    def read(cls, name: str, content: bytes) -> Document:
        """Read the visible text of a file. Raises UnusableInput if it is not UTF-8."""
        title, text = split_front(decoded(name, content))
        return cls(name, visible(text), title)


async def load_documents(card: Card, load_blob: LoadBlob) -> list[Document]:
    """Load the documents of `card`, in the order of its blobs."""
    contents = [(blob.path, await load_blob(blob)) for blob in card.blobs]
    return await asyncio.to_thread(lambda: [Document.read(path, content) for path, content in contents])


def decoded(name: str, content: bytes) -> str:
    """Decode UTF-8 and normalise line ends. Raises UnusableInput."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnusableInput(f"the document {name!r} is not UTF-8; save it as UTF-8 and publish again") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
