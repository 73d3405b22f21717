"""The unigram tokenizer, against ids worked out by hand over a small vocabulary."""

from __future__ import annotations

import struct

import pytest

from swarm.encoder.unigram import Unigram

SCORED = {
    "<unk>": 0.0, "<s>": 0.0, "</s>": 0.0, "▁": -3.0, "▁pa": -4.0, "▁par": -5.0, "cel": -5.0, "r": -6.0, "cels": -9.5,
    "▁wo": -4.0, "s": -4.0, "▁é": -5.0, "1": -5.0,
}  # fmt: skip
ID = {piece: number for number, piece in enumerate(SCORED)}


def file(scored: dict[str, float]) -> bytes:
    """A SentencePiece file with these pieces."""
    content = b""
    for piece, score in scored.items():
        text = piece.encode()
        entry = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score)
        content += b"\x0a" + bytes([len(entry)]) + entry
    return content + b"\x12\x02\x08\x01"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("parcel", "▁par cel"),
        ("parcels", "▁par cel s"),
        ("wo  \t parcel\n", "▁wo ▁par cel"),
        ("pas", "▁pa s"),
        ("e\u0301", "▁é"),
        ("①", "▁ 1"),
        ("s\u200bs", "▁ s ▁ s"),
        ("x", "▁ <unk>"),
        ("", "<unk>"),
    ],
)
def test_a_text_becomes_the_pieces_with_the_best_sum_of_scores(text: str, pieces: str) -> None:
    tokenizer = Unigram(file(SCORED))

    assert tokenizer.ids(text) == [ID["<s>"], *(ID[piece] for piece in pieces.split()), ID["</s>"]]


def test_ids_end_at_the_limit() -> None:
    assert Unigram(file(SCORED)).ids("parcel " * 100_000, limit=6) == [1, *[ID["▁par"], ID["cel"]] * 2, 2]


def test_a_long_piece_is_read() -> None:
    long = "a" * 100
    tokenizer = Unigram(file(SCORED | {long: -1.0}))

    assert tokenizer.ids(long) == [1, ID["▁"], len(SCORED), 2]
