"""Loads the documents of a card. They were read and checked when the card was."""

from __future__ import annotations

import asyncio

from experts.base import LoadBlob
from experts.documents.base import Document
from experts.documents.storage import load
from swarm.types.card import Card


async def load_documents(card: Card, load_blob: LoadBlob) -> list[Document]:
    """Load the documents of `card`, in the order of its blobs. Raises UnusableInput."""
    contents = [(blob.path, await load_blob(blob)) for blob in card.blobs]
    return await asyncio.to_thread(lambda: [load(path, content) for path, content in contents])
