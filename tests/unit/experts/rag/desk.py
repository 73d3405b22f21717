"""An expert with a book, and questions to it."""

from __future__ import annotations

from experts.documents.markdown import read_text
from swarm.types.card import Card
from swarm.types.plan import Subtask

BOOK = read_text(
    "book.md",
    """# Book

Welcome, dear reader, to a book about a small shop and its many rules.

## Returns

Unused goods may be returned within thirty days. No reason is needed.

### Damaged goods

Damaged goods are refunded in full.
Send two photographs within fourteen days.

- Glass: wrap it well.
- Lamps: unplug them.

## Delivery

Parcels take two days. Express parcels take one day, e.g. on Mondays. Mr. Smith drives the van.
""",
)


def a_card(model: str = "local/extract", instruction: str = "", name: str = "book-desk") -> Card:
    return Card(name=name, kind="rag", description="What the book says.", model=model, instruction=instruction)


def asked(question: str) -> Subtask:
    return Subtask(id="t1", expert="book-desk", instruction=question)


RATES = "| Country | Standard fee | Express fee |\n|---|:-:|---|\n" + "\n".join(
    f"| Country{i} | {i}.50 EUR | {i * 2}.00 EUR |" for i in range(80)
)
