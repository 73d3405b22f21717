"""Trains a head from rows, and measures it on rows that are held out.

Everything is deterministic: the same rows give the same bytes on the same machine, and the same weights up to rounding
on any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experts.finetuned.dataset import OUT_OF_SCOPE, TrainingRow, check_labels, contradictory, read_rows
from experts.finetuned.head import Head
from experts.finetuned.head_features import Floats
from experts.finetuned.held_out import Numbers, is_crossed, numbers_of
from experts.finetuned.training_report import LabelCount, TrainingReport
from experts.finetuned.vector_training import train_on_vectors
from experts.finetuned.word_training import train_on_words
from swarm.encoder.base import Encoder
from swarm.errors import MissingDependency


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The vectors of rows, shape (rows, dimension), and the identity of the encoder that made them."""

    vectors: Floats
    encoder: str


def train(rows: Sequence[TrainingRow], encoded: EncodedRows | None = None) -> Head:
    """Train a head as `train_with_report` does."""
    return train_with_report(rows, encoded)[0]


def train_with_report(rows: Sequence[TrainingRow], encoded: EncodedRows | None = None) -> tuple[Head, TrainingReport]:
    """Train a head, and report its accuracy on held-out rows; the order of `rows` does not matter.

    Without `encoded` the head is over words. Rows with the label `out_of_scope` are texts that have none of the labels:
    the confidence of a head over vectors is fitted on them, a head over words ignores them. Raises BadInput below two
    labels.
    """
    order = sorted(range(len(rows)), key=lambda at: (rows[at].label, rows[at].text))
    inside = [at for at in order if rows[at].label != OUT_OF_SCOPE]
    known = [rows[at] for at in inside]
    check_labels("rows", (row.label for row in known))
    labels = tuple(sorted({row.label for row in known}))
    head: Head
    if encoded is None:
        head, logits, truth = train_on_words(known, labels)
    else:
        outside = [at for at in order if rows[at].label == OUT_OF_SCOPE]
        vectors = encoded.vectors
        head, logits, truth = train_on_vectors(known, vectors[inside], labels, encoded.encoder, vectors[outside])
    return head, _report(rows, known, labels, logits, truth, encoded)


def train_file(source: Path, target: Path, encoder: Encoder | None = None) -> TrainingReport:
    """Train on the rows in `source`, and write the head atomically to `target`.

    Raises what `encoder` raises. It runs an event loop of its own for the encoder.
    """
    rows, encoded = read_rows(source), None
    if encoder is not None:
        encoded = EncodedRows(asyncio.run(_vectors(encoder, rows)), encoder.identity)
    head, report = train_with_report(rows, encoded)
    content = head.to_bytes()
    beside = target.with_name(target.name + ".part")
    beside.write_bytes(content)
    beside.replace(target)
    return replace(report, bytes=len(content))


async def _vectors(encoder: Encoder, rows: Sequence[TrainingRow]) -> Floats:
    return await encoder.encode([row.text for row in rows])


def installed_encoder() -> Encoder | None:
    """The default encoder; None where its extra is not installed."""
    from swarm.encoder.onnx import open_encoder

    try:
        return open_encoder()
    except MissingDependency:
        return None


def _report(
    rows: Sequence[TrainingRow],
    known: Sequence[TrainingRow],
    labels: tuple[str, ...],
    logits: Floats,
    truth: Numbers,
    encoded: EncodedRows | None,
) -> TrainingReport:
    right = truth[logits.argmax(axis=1) == truth]
    counts = (np.bincount(found, minlength=len(labels)) for found in (numbers_of(known, labels), truth, right))
    by_label = tuple(map(LabelCount, labels, *(map(int, each) for each in counts)))
    return TrainingReport(
        by_label,
        crossed=is_crossed(known),
        contradictory=contradictory(rows),
        encoder=encoded.encoder if encoded else "",
        out_of_scope=len(rows) - len(known),
    )
