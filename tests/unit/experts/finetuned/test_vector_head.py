"""A head over vectors: its labels, its confidence in texts that fit none, its file, and the expert that answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from experts.finetuned.dataset import OUT_OF_SCOPE, TrainingRow
from experts.finetuned.expert import HeadExpert, build
from experts.finetuned.head import read_head
from experts.finetuned.head_training import EncodedRows, train, train_with_report
from experts.finetuned.vector_head import VectorHead
from swarm.encoder.base import UNCALIBRATED, Calibration, TextKind, normalised
from swarm.errors import BadOutput, UnusableInput
from swarm.llm.base import NoModels
from swarm.types.card import Blob, Card
from swarm.types.plan import Subtask

LABELS = ("account", "delivery", "invoice", "password", "refund", "repair")
DIMENSION = 16
DIRECTIONS = np.eye(DIMENSION, dtype=np.float32)


def near(label: int, count: int, spread: float = 0.15, seed: int = 0) -> NDArray[np.float32]:
    """Vectors around the direction of a label; those from 6 on are of no label."""
    noise = np.random.default_rng([seed, label]).normal(0, spread, (count, DIMENSION))
    return normalised((DIRECTIONS[label] + noise).astype(np.float32))


def encoded(count: int, unknown: int = 0) -> tuple[list[TrainingRow], EncodedRows]:
    rows = [TrainingRow(f"{label} {n}", label) for label in LABELS for n in range(count)]
    vectors = [near(number, count) for number in range(len(LABELS))]
    if unknown:
        rows += [TrainingRow(f"nothing {n}", OUT_OF_SCOPE) for n in range(unknown)]
        vectors.append(near(9, unknown))
    return rows, EncodedRows(np.concatenate(vectors), "some-encoder@1234")


def trained(count: int = 10, unknown: int = 0) -> VectorHead:
    head = train(*encoded(count, unknown))
    assert isinstance(head, VectorHead)
    return head


HEAD = trained()


class Directions:
    """An encoder that knows a direction for each text."""

    identity, dimension = "some-encoder@1234", DIMENSION

    @property
    def calibration(self) -> Calibration:
        return UNCALIBRATED

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        return np.stack([DIRECTIONS[int(text)] for text in texts])


def test_it_labels_vectors_that_it_has_not_seen() -> None:
    chances, confidence = HEAD.classify(np.concatenate([near(number, 20, seed=1) for number in range(6)]))

    assert chances.argmax(axis=1).tolist() == [number for number in range(6) for _ in range(20)]
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert confidence.mean() > 0.8


def test_it_doubts_what_has_none_of_its_labels_though_no_such_row_was_given() -> None:
    known = HEAD.classify(np.concatenate([near(number, 20, seed=1) for number in range(6)]))[1]
    foreign = HEAD.classify(np.concatenate([near(number, 20, seed=1) for number in range(8, 14)]))[1]

    assert (known > 0.5).mean() > 0.9
    assert (foreign < 0.5).mean() > 0.9


def test_rows_out_of_scope_are_no_label_and_lower_the_confidence_in_their_like() -> None:
    head, report = train_with_report(*encoded(10, unknown=30))
    assert isinstance(head, VectorHead)

    assert head.labels == report.labels == LABELS
    assert report.out_of_scope == 30
    assert head.classify(near(9, 20, seed=2))[1].max() < 0.5


def test_the_report_counts_only_rows_held_out_and_the_order_of_rows_does_not_matter() -> None:
    rows, vectors = encoded(10)
    head, report = train_with_report(rows, vectors)
    order = np.random.default_rng(0).permutation(len(rows))
    again = train([rows[at] for at in order], EncodedRows(vectors.vectors[order], vectors.encoder))

    assert (report.held_out, report.crossed, report.encoder) == (60, True, "some-encoder@1234")
    assert report.accuracy == report.balanced_accuracy == 1.0
    assert again.to_bytes() == head.to_bytes()


def test_two_labels_and_one_row_of_each_are_enough() -> None:
    rows = [TrainingRow("a", "x"), TrainingRow("b", "y")]
    head = train(rows, EncodedRows(DIRECTIONS[:2], "e@1"))
    assert isinstance(head, VectorHead)

    chances, confidence = head.classify(DIRECTIONS[:2])
    assert chances.argmax(axis=1).tolist() == [0, 1]
    assert confidence.tolist() == [0.5, 0.5]  # nothing was held out to measure it on


def test_of_many_rows_the_file_keeps_as_many_examples_of_each_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experts.finetuned.vector_training.MAX_EXAMPLE_BYTES", 30 * DIMENSION)
    head = trained(40)

    assert len(head.examples.vectors) == 30
    assert np.diff([*head.examples.starts, 30]).tolist() == [5] * 6


# -- the file --------------------------------------------------------------------------------------------------


def test_a_head_survives_its_file() -> None:
    again = read_head(HEAD.to_bytes())
    assert isinstance(again, VectorHead)
    vectors = np.concatenate([near(number, 5, seed=1) for number in range(6)])

    assert (again.labels, again.encoder, again.temperature) == (HEAD.labels, HEAD.encoder, HEAD.temperature)
    assert np.allclose(again.classify(vectors)[0], HEAD.classify(vectors)[0], atol=0.05)
    assert np.allclose(again.classify(vectors)[1], HEAD.classify(vectors)[1], atol=0.05)


# -- the expert ------------------------------------------------------------------------------------------------


def card(**fields: object) -> Card:
    return Card.model_validate(
        {"name": "triage", "kind": "fine-tuned", "description": "d", "model": "local/head"} | fields
    )


def asked(number: int) -> Subtask:
    return Subtask(id="t1", expert="triage", instruction=str(number))


async def test_the_expert_gives_the_label_with_its_first_three_and_a_confidence() -> None:
    solution = await HeadExpert(card(), HEAD, Directions()).solve(asked(1), {})

    assert solution.text == solution.data["label"] == "delivery"
    assert len(solution.data["probabilities"]) == 3
    assert (solution.confidence or 0) > 0.5
    assert solution.found


async def test_below_abstain_it_finds_nothing_or_asks_the_fallback() -> None:
    unsure = await HeadExpert(card(abstain=0.5), HEAD, Directions()).solve(asked(12), {})

    assert (unsure.found, unsure.data["label"], unsure.data["abstained"]) == (False, None, True)
    assert unsure.text.startswith("No label is likely enough: the first, ")
    with pytest.raises(BadOutput, match="no label is likely enough") as refused:
        await HeadExpert(card(abstain=0.5, fallback=("clerk",)), HEAD, Directions()).solve(asked(12), {})
    assert not refused.value.retryable
    assert (await HeadExpert(card(abstain=0.5), HEAD, Directions()).solve(asked(1), {})).text == "delivery"


async def test_a_head_of_an_unknown_encoder_is_refused_with_the_remedy() -> None:
    async def load(blob: Blob) -> bytes:
        return HEAD.to_bytes()

    with pytest.raises(UnusableInput, match=r"needs the encoder some-encoder@1234.*train it again"):
        await build(card(blobs=(Blob(path="h.npz", sha256="0", size=1),)), load, NoModels())
