from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.answer.source_markers import MarkerStripper, plain, read
from tests.unit.answer.test_source_markers import MARKS
from tests.unit.linear import takes_linear_time

texts = st.text(alphabet="t12rfind.#[](), \t\n", max_size=80) | st.lists(
    st.sampled_from(
        [
            "[t1]",
            "[t",
            "2]",
            " ",
            "\t" * 12,
            "[x](",
            "word",
            "\n",
            "[t1, t2]",
            "(",
            "[r1.find]",
            "[",
            "(t1)",
            "(t",
            "](",
            "2)",
            ")",
            "f(",
            "]",
        ]
    ),
    max_size=12,
).map("".join)


@given(texts, st.data())
def test_the_same_is_shown_however_a_text_is_cut_into_pieces(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    shown = MarkerStripper(MARKS)
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    assert "".join(map(shown.add, pieces)) + shown.end() == plain(text, MARKS)


@given(texts)
def test_no_mark_is_left_and_every_paragraph_stands_in_the_text(text: str) -> None:
    found = read(text, MARKS)

    assert "[t1, t2]" not in found.text.replace("[t1, t2](", "")
    assert all(paragraph.text and set(paragraph.subtasks) <= {"t1", "t2", "r1.find"} for paragraph in found.paragraphs)
    words = " ".join(found.text.split())
    assert all(" ".join(paragraph.text.split()) in words for paragraph in found.paragraphs)


@pytest.mark.parametrize("piece", ["[", "[t1 ", "(", "(t1 ", "(t1)", " ", "\n \n", "[t1][t2]"])
def test_no_text_takes_long(piece: str) -> None:
    assert takes_linear_time(lambda text: read(text, MARKS), "", piece, 10_000)
