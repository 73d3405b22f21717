"""Fine-tuned experts: a trained head, or a tuned model behind an endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from experts.base import Expert, LoadBlob
from experts.finetuned.head import Head, read_head
from experts.finetuned.head_features import Floats
from experts.finetuned.word_head import WordHead
from experts.instruction.expert import ChatExpert, model_of
from experts.kinds import HEAD
from experts.prompt_inputs import inline
from swarm.encoder.base import Encoder
from swarm.errors import BadOutput, UnusableInput
from swarm.llm.base import Models
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution

TOP = 3
"""Number of labels whose probabilities are returned."""
SURE = 0.5
"""Confidence below which a label gets the caveat `low_confidence`."""

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
    head = await in_thread(read_head, await load_blob(card.blobs[0]))
    return HeadExpert(card, head, _encoder_of(head))


def _encoder_of(head: Head) -> Encoder | None:
    """The encoder of a head. Raises UnusableInput for an unknown one, MissingDependency for one that is not here."""
    if isinstance(head, WordHead):
        return None
    from swarm.encoder.models import by_identity
    from swarm.encoder.onnx import open_encoder

    if (model := by_identity(head.encoder)) is None:
        remedy = "train it again (swarm experts train) and publish"
        raise UnusableInput(f"the head needs the encoder {head.encoder}, which is unknown here; {remedy}")
    return open_encoder(model.name)


class HeadExpert:
    """Labels a text. The solution's text is the label; `data` is `{label, probabilities, abstained}`.

    Its confidence is the probability that the label is right. A head over words takes for granted that one of the
    labels fits, one over vectors does not. Below the card's `abstain` the expert finds nothing, or raises BadOutput so
    that a fallback is asked if the card names one.
    """

    def __init__(self, card: Card, head: Head, encoder: Encoder | None = None) -> None:
        self.card, self.head, self.encoder = card, head, encoder

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        chances, confidence = await self._classified(subject(inline(subtask.instruction, inputs)))
        best = sorted(range(len(chances)), key=lambda number: (-chances[number], number))[:TOP]
        ranked = {self.head.labels[number]: round(float(chances[number]), 4) for number in best}
        label = self.head.labels[best[0]]
        if self.card.abstain is not None and confidence < self.card.abstain:
            return self._abstained(label, ranked, confidence)
        return Solution(
            text=label,
            data={"label": label, "probabilities": ranked, "abstained": False},
            confidence=round(confidence, 4),
            model=self.card.model,
            caveats=() if confidence >= SURE else ("low_confidence",),
        )

    async def _classified(self, text: str) -> tuple[Floats, float]:
        """The probabilities of the labels, and the confidence in the first."""
        if self.encoder is None or isinstance(self.head, WordHead):
            chances = (await in_thread(cast(WordHead, self.head).probabilities, [text]))[0]
            return chances, float(chances.max())
        vectors = await self.encoder.encode([text])
        chances, confidence = await in_thread(self.head.classify, vectors)
        return chances[0], float(confidence[0])

    def _abstained(self, label: str, ranked: Mapping[str, float], confidence: float) -> Solution:
        """The result without a label. Raises BadOutput if the card names an expert to ask instead."""
        said = f"no label is likely enough: the first, {label}, is right with {confidence:.0%}"
        if self.card.fallback:
            raise BadOutput(f"{self.card.model}: {said}", retryable=False)
        return Solution(
            text=said[0].upper() + said[1:],
            data={"label": None, "probabilities": dict(ranked), "abstained": True},
            confidence=round(confidence, 4),
            model=self.card.model,
            found=False,
            caveats=("not_found",),
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
