"""Chunks: what is kept together, what is never cut, and that only changed text gets a new digest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from experts.documents.base import Block, Document
from experts.documents.chunking import LONGEST, chunks
from experts.documents.markdown import read_markdown
from experts.documents.storage import decode, encoded

BLOCKS = st.lists(
    st.builds(
        Block,
        st.sampled_from(["heading", "paragraph", "header", "row", "code"]),
        st.text(alphabet="ab .\n|é語", min_size=1, max_size=60).map(lambda text: f"x{text}x") | st.just("word. " * 900),
        st.sampled_from([(), ("A",), ("A", "B")]),
        st.sampled_from([None, 1, 2]),
        st.none(),
        st.sampled_from(["", "| h |"]),
    ),
    max_size=12,
)


@given(BLOCKS)
def test_chunks_hold_all_words_in_order_and_are_the_same_each_time(blocks: list[Block]) -> None:
    document = Document("a", tuple(blocks))

    found = chunks(document)

    body = "".join("".join(block.text.split()) for block in blocks if block.kind not in ("heading", "header"))
    said = "".join("".join(chunk.text.split()) for chunk in found)
    assert said == body or any(block.kind == "header" for block in blocks)
    assert all(body.count(letter) <= said.count(letter) for letter in "xé語")
    assert chunks(decode("a", encoded(document))) == found
    assert [chunk.index for chunk in found] == list(range(len(found)))


def test_a_line_of_ten_million_characters_is_cut() -> None:
    found = chunks(read_markdown("a.txt", "word " * 1_999_999))

    assert sum(chunk.text.count("word") for chunk in found) == 1_999_999
    assert all(len(chunk.text) <= LONGEST for chunk in found)
