"""What of a document its reader would see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.documents.markup import split_front, visible
from tests.unit.linear import takes_linear_time

MARKS = st.sampled_from(
    [
        "<!--",
        "-->",
        "{#",
        "#}",
        "{%",
        "%}",
        "{{<",
        ">}}",
        ":::",
        "!!!",
        "```",
        ".. note::",
        "`",
        "\n",
        " ",
        "word",
        "---",
    ]
)


@given(st.lists(MARKS | st.text(max_size=5), max_size=60))
def test_no_page_breaks_the_reading_and_nothing_is_made_up(parts: list[str]) -> None:
    text = "".join(parts)

    seen = visible(split_front(text)[1])

    assert len(seen) <= len(text)
    assert seen.count("word") <= text.count("word")


@pytest.mark.parametrize(
    "piece",
    ["<!-- a -->", "<!--", "{# ", "`<!--`", "{{<", "{% ", " {#", "{:", "<script", "[[toc", "a {/* ", "x <script "],
)
def test_one_long_line_does_not_take_long(piece: str) -> None:
    assert takes_linear_time(visible, "", piece, 20_000)
    assert takes_linear_time(visible, "", piece * 500 + "\n", 20_000)
