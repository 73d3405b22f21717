"""Heads over the encoder's vectors on Banking77 and SNIPS: accuracy, unknown labels, and what the training costs.

The vectors are made once in the run; their processor time is given beside that of the training.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experts.finetuned.dataset import TrainingRow, read_rows
from experts.finetuned.head_features import Floats
from experts.finetuned.head_training import EncodedRows, train
from experts.finetuned.vector_head import VectorHead
from swarm.encoder.onnx import open_encoder
from swarm.errors import MissingDependency
from tests.bench.report import Metric, Samples
from tests.bench.rig import ROOT, Skipped

DATA = ROOT.parent / "shared" / "data"

ABSTAIN = 0.5
METRICS = {
    "banking_all": Metric("%", "≥ 94", row="Banking77, all 10,003 rows: right of 3,080"),
    "banking_10": Metric("%", "≥ 87", row="Banking77, 10 texts per label"),
    "banking_5": Metric("%", row="Banking77, 5 texts per label"),
    "snips_10": Metric("%", "≥ 92", row="SNIPS, 10 texts per label"),
    "unknown_joint": Metric("%", "≥ 83.5", row="Banking77, 27 of 77 labels unknown: right decisions at 0.5"),
    "unknown_in": Metric("%"),
    "unknown_out": Metric("%"),
    "train_all_s": Metric("CPU s", "≤ 20", row="training on 10,003 rows, without their vectors"),
    "train_10_s": Metric("CPU s", "≤ 0.5", row="training on 770 rows, without their vectors"),
    "encode_all_s": Metric("CPU s", row="vectors of 10,003 rows"),
    "file_kb": Metric("kB"),
}


class Texts(NamedTuple):
    rows: list[TrainingRow]
    vectors: Floats
    seconds: float


async def heads(rounds: int) -> Samples:
    """Everything is deterministic but the times, so that one round is enough."""
    if not (DATA / "banking77").is_dir():
        raise Skipped(f"there is no development data ({DATA.name}/banking77)")
    try:
        open_encoder()
    except MissingDependency as error:
        raise Skipped(str(error)) from None
    found = [await _measured() for _ in range(rounds)]
    return {name: [each[name] for each in found] for name in METRICS}


async def _measured() -> dict[str, float]:
    banking, snips = DATA / "banking77", DATA / "snips"
    test, whole = await _encoded(banking / "test.csv"), await _encoded(banking / "train.csv")
    found = {"encode_all_s": whole.seconds}
    for name, rows in (("10", banking / "train_10shot.csv"), ("5", banking / "train_5shot.csv")):
        head, seconds = _trained(some := await _encoded(rows))
        found[f"banking_{name}"] = _right(head, test)
        if name == "10":
            found["train_10_s"] = seconds
        del some
    head, found["train_all_s"] = _trained(whole)
    found["banking_all"], found["file_kb"] = _right(head, test), len(head.to_bytes()) / 1_000
    found |= _unknown(whole, test, banking / "oos_split.json")
    head, _ = _trained(_first(await _encoded(snips / "train.csv"), 10))
    found["snips_10"] = _right(head, await _encoded(snips / "test.csv"))
    return found


async def _encoded(path: Path) -> Texts:
    rows, begun = read_rows(path), time.process_time()
    vectors = await open_encoder().encode([row.text for row in rows])
    return Texts(rows, vectors, time.process_time() - begun)


def _trained(texts: Texts) -> tuple[VectorHead, float]:
    begun = time.process_time()
    head = train(texts.rows, EncodedRows(texts.vectors, open_encoder().identity))
    assert isinstance(head, VectorHead)
    return head, time.process_time() - begun


def _right(head: VectorHead, test: Texts) -> float:
    """Per cent of the texts whose first label is right; labels are compared without their case."""
    labels = np.array([label.lower() for label in head.labels])
    first = labels[head.classify(test.vectors)[0].argmax(axis=1)]
    return float(100 * np.mean(first == np.array([row.label.lower() for row in test.rows])))


def _first(texts: Texts, count: int) -> Texts:
    """The first `count` rows of each label."""
    seen: dict[str, int] = {}
    kept = []
    for at, row in enumerate(texts.rows):
        seen[row.label] = seen.get(row.label, 0) + 1
        if seen[row.label] <= count:
            kept.append(at)
    return Texts([texts.rows[at] for at in kept], texts.vectors[kept], texts.seconds)


def _unknown(whole: Texts, test: Texts, split: Path) -> dict[str, float]:
    """Train on the labels in scope alone, and decide on texts of all labels at the confidence ABSTAIN."""
    inside = {label.lower() for label in json.loads(split.read_text())["in_scope"]}
    kept = [at for at, row in enumerate(whole.rows) if row.label.lower() in inside]
    head, _ = _trained(Texts([whole.rows[at] for at in kept], whole.vectors[kept], 0.0))
    chances, confidence = head.classify(test.vectors)
    labels = np.array([label.lower() for label in head.labels])[chances.argmax(axis=1)]
    truth = np.array([row.label.lower() for row in test.rows])
    known = np.isin(truth, list(inside))
    right = np.where(known, (labels == truth) & (confidence >= ABSTAIN), confidence < ABSTAIN)
    return {
        "unknown_joint": float(100 * right.mean()),
        "unknown_in": float(100 * right[known].mean()),
        "unknown_out": float(100 * right[~known].mean()),
    }
