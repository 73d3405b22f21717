"""Rows to train a head with, as values and as a file."""

from __future__ import annotations

from pathlib import Path

from experts.finetuned.dataset import TrainingRow

ROWS = [
    TrainingRow(f"{start} {text}", label)
    for start in ("please", "hello,", "again:", "why")
    for text, label in (
        ("where is my parcel", "delivery"), ("the courier is late with my package", "delivery"),
        ("I forgot my password", "account"), ("my login does not work", "account"),
        ("the card was charged twice", "payment"), ("send me the invoice", "payment"),
    )
]  # fmt: skip


def rows_file(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
