"""How answers from documents are worded: a quote with its place, and that there is no answer."""

from __future__ import annotations

from experts.knowledge.passages import Passage
from swarm.types.result import Citation, Solution

SHOWN_QUESTION, SHOWN_PASSAGE = 200, 160
"""Characters of a question and of the closest passage that a refusal repeats."""


def quoted(cited: Citation) -> str:
    """Format a quote and its source on one line."""
    return f'"{" ".join(cited.quote.split())}" ({cited.place})'


def absent(
    question: str,
    model: str,
    why: str = "The documents do not hold an answer to",
    closest: Passage | None = None,
) -> Solution:
    """The solution for a question that the documents do not answer. Its `data` is `{found, quotes}`.

    The text names the closest passage, if there is one.
    """
    text = f"{why}: {_short(question, SHOWN_QUESTION)}"
    if closest is not None:
        text += f"\nClosest is {closest.place}: {_short(closest.shown, SHOWN_PASSAGE)}"
    data = {"found": False, "quotes": 0}
    return Solution(text=text, data=data, confidence=0.0, model=model, found=False, caveats=("not_found",))


def _short(text: str, most: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= most else plain[: most - 3] + "..."
