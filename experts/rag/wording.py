"""How answers from documents are worded: a quote with its place, and that there is no answer."""

from __future__ import annotations

from swarm.types.result import Citation, Solution

SHOWN_QUESTION, SHOWN_CLOSEST = 200, 300
"""Characters of a question and of the closest sentences that a refusal repeats."""


def quoted(cited: Citation) -> str:
    """Format a quote and its source on one line."""
    return f'"{" ".join(cited.quote.split())}" ({cited.place})'


def absent(
    question: str,
    model: str,
    why: str = "The documents do not hold an answer to",
    closest: Citation | None = None,
) -> Solution:
    """The solution for a question that the documents do not answer. Its `data` is `{found, quotes}`.

    The text repeats the closest sentences, if there are any.
    """
    text = f"{why}: {_short(question, SHOWN_QUESTION)}"
    if closest is not None:
        text += f"\nClosest is {closest.place}: {_short(closest.quote, SHOWN_CLOSEST)}"
    data = {"found": False, "quotes": 0}
    return Solution(text=text, data=data, confidence=0.0, model=model, found=False, caveats=("not_found",))


def _short(text: str, most: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= most else plain[: most - 3] + "..."
