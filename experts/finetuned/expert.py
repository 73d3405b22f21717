"""Fine-tuned experts: a trained head, or a tuned model behind an endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping

from experts.base import Expert, LoadBlob
from experts.finetuned.head import Head
from experts.instruction.expert import ChatExpert, model_of
from experts.kinds import HEAD
from experts.prompt_inputs import inline
from swarm.llm.base import Models
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution

TOP = 5
"""Number of labels whose probabilities are returned."""
SURE = 0.5
"""Probability below which a label gets the caveat `low_confidence`."""

_PARTNER = {"'": "'", '"': '"', "‘": "’", "“": "”", "«": "»"}
_OPENING = re.compile(r"(?:^|(?<=[\s:(]))['\"‘“«]")
_CLOSING = re.compile(r"['\"’”»](?=$|[\s.,;:!?)])")
_ASKED = re.compile(
    r"^\s*(?:please\s+)?(?:classify|label|triage|categori[sz]e|sort|route|tag|identify)\b[^:\n]{0,80}:\s*(?=\S)",
    re.IGNORECASE,
)


async def build(card: Card, load_blob: LoadBlob, models: Models) -> Expert:
    """Build the expert of a fine-tuned card."""
    if card.model != HEAD:
        return ChatExpert(card, model_of(card, models))
    content = await load_blob(card.blobs[0])
    return HeadExpert(card, await in_thread(Head.from_bytes, content))


class HeadExpert:
    """Labels a text. The solution's text is the label; its confidence is the label's probability."""

    def __init__(self, card: Card, head: Head) -> None:
        self.card, self.head = card, head

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        text = subject(inline(subtask.instruction, inputs))
        chances = (await in_thread(self.head.probabilities, [text]))[0]
        best = sorted(range(len(chances)), key=lambda number: (-chances[number], number))[:TOP]
        ranked = {self.head.labels[number]: round(float(chances[number]), 4) for number in best}
        label = self.head.labels[best[0]]
        sure = ranked[label] >= SURE
        return Solution(
            text=label,
            data={"label": label, "probabilities": ranked},
            confidence=ranked[label],
            model=self.card.model,
            caveats=() if sure else ("low_confidence",),
        )


def subject(instruction: str) -> str:
    """Extract the text to label: the quotation after words such as `classify this:`, else what follows them, else all.

    >>> subject("Classify this message: 'My parcel isn't here'.")
    "My parcel isn't here"
    >>> subject("triage this: where is my parcel?")
    'where is my parcel?'
    >>> subject("Where is 'my' parcel?")
    "Where is 'my' parcel?"
    """
    asked = _ASKED.match(instruction)
    rest = instruction[asked.end() :] if asked else instruction
    start, end = _quoted(rest)
    if end and (asked or end - start + 2 > len(rest) / 2):
        return rest[start:end].strip() or rest.strip()
    return rest.strip()


def _quoted(text: str) -> tuple[int, int]:
    """Start and end of the text between the first paired opening quote and its last closing quote; else (0, 0)."""
    last = {closing[0]: closing.start() for closing in _CLOSING.finditer(text)}
    for opening in _OPENING.finditer(text):
        end = last.get(_PARTNER[opening[0]], -1)
        if end > opening.end():
            return opening.end(), end
    return 0, 0
