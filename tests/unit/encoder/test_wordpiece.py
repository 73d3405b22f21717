"""The WordPiece tokenizer, against ids worked out by hand over a small vocabulary."""

from __future__ import annotations

import pytest

from swarm.encoder.wordpiece import WordPiece

PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] where is my par ##cel ? ##s cafe ! [ ] mask 5 $ hello , world don ' t "
    "包 裹 ##3 na ##ive"
).split()
ID = {piece: number for number, piece in enumerate(PIECES)}


@pytest.fixture
def tokenizer() -> WordPiece:
    return WordPiece(PIECES)


def spelt(*pieces: str) -> list[int]:
    return [ID[piece] for piece in ("[CLS]", *pieces, "[SEP]")]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Where is my parcel?", "where is my par ##cel ?"),
        ("parcels", "par ##cel ##s"),
        ("parcelx", "[UNK]"),
        ("", ""),
        (" \t\r\n ", ""),
        ("Café!", "cafe !"),
        ("cafe\u0301", "cafe"),
        ("NAÏVE", "na ##ive"),
        ("[MASK]", "[ mask ]"),
        ("$5", "$ 5"),
        ("don't", "don ' t"),
        ("hel\x00lo,\u00a0wor\u200bld\ufffd", "hello , world"),
        ("hello\u3000world", "hello world"),
        ("包裹", "包 裹"),
        ("my包", "my 包"),
        ("x" * 101, "[UNK]"),
        ("€", "[UNK]"),
    ],
)
def test_a_text_becomes_these_pieces(tokenizer: WordPiece, text: str, pieces: str) -> None:
    assert tokenizer.ids(text) == spelt(*pieces.split())
    assert tokenizer.ids(text) == spelt(*pieces.split()), "a remembered word has the same pieces"


def test_ids_end_at_the_limit(tokenizer: WordPiece) -> None:
    assert tokenizer.ids("my parcel is my parcel", limit=5) == spelt("my", "par", "##cel")


def test_a_long_text_is_read_only_as_far_as_the_limit_needs(tokenizer: WordPiece) -> None:
    seen: list[int] = []

    class Text(str):
        def __getitem__(self, at: object) -> str:
            seen.append(at.stop)  # type: ignore[attr-defined]
            return super().__getitem__(at)  # type: ignore[index]

    assert len(tokenizer.ids(Text("my " * 100_000), limit=8)) == 8
    assert seen
    assert max(seen) < 200


def test_a_pair_has_a_start_two_ends_and_says_which_text_an_id_is_of(tokenizer: WordPiece) -> None:
    ids, types = tokenizer.pair("where is", "my parcel")

    assert ids == spelt("where", "is", "[SEP]", "my", "par", "##cel")
    assert types == [0, 0, 0, 0, 1, 1, 1, 1]


def test_the_second_text_of_a_pair_is_cut_first(tokenizer: WordPiece) -> None:
    ids, types = tokenizer.pair("where is", "my " * 50, limit=10)

    assert ids == spelt("where", "is", "[SEP]", *["my"] * 5)
    assert len(ids) == len(types) == 10


def test_the_first_text_of_a_pair_gets_half_of_the_limit(tokenizer: WordPiece) -> None:
    ids, types = tokenizer.pair("is " * 50, "my " * 50, limit=10)

    assert ids == spelt(*["is"] * 3, "[SEP]", *["my"] * 4)
    assert types == [0] * 5 + [1] * 5


def test_words_of_another_language_fall_into_more_pieces(tokenizer: WordPiece) -> None:
    assert tokenizer.pieces_per_word("where is my, my parcel?") == pytest.approx(6 / 5)
    assert tokenizer.is_english("where is my, my parcel?")
    assert tokenizer.pieces_per_word("my parcel") == pytest.approx(3 / 2)
    assert not tokenizer.is_english("my parcel")
    assert not tokenizer.is_english("包裹"), "an ideograph is one piece, and no English word"
    assert tokenizer.is_english("5 $ ?"), "without words nothing speaks against it"
