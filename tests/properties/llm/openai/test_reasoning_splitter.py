"""Thoughts inside a text are not the answer, however the text is cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swarm.llm.openai.reasoning_splitter import ReasoningSplitter, answer_in
from swarm.llm.openai.reasoning_tags import TAGS, WRAPPERS
from tests.unit.linear import takes_linear_time


def given_by(splitter: ReasoningSplitter, pieces: Iterable[str], *, cut: bool = False) -> str:
    """The answer as whoever reads the pieces has it: what is void is forgotten."""
    said: list[str] = []
    for piece in [*pieces, None]:
        text = splitter.end(cut=cut) if piece is None else splitter.feed(piece)
        if splitter.void:
            splitter.void = False
            said.clear()
        said.append(text)
    return "".join(said)


MARKS = [mark for tag in TAGS for mark in (tag.open, tag.close)] + [*WRAPPERS, *WRAPPERS.values()]
MARKS += ["<|channel|>", "<|message|>", "<|end|>", "<|start|>", "analysis", "assistantfinal", "final"]
MARKS += ["```", "~~~", "{", '"']
WRITTEN = st.lists(
    st.sampled_from(MARKS)
    | st.sampled_from(["\n", " ", "`", "<", "[", "◁", "a. ", "B", "é", "</", "analysisX"])
    | st.text(max_size=70),
    max_size=14,
).map("".join)


@given(WRITTEN, st.data(), st.booleans(), st.booleans())
@example("a\n   ```\n<think>x</think>", None, False, False)
@example("```html\n<p></think> x", None, False, False)
def test_a_text_says_the_same_however_it_is_cut(text: str, data: st.DataObject | None, holds: bool, late: bool) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8))) if data else range(len(text))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    one, many = ReasoningSplitter(holds=holds, late=late), ReasoningSplitter(holds=holds, late=late)

    assert given_by(one, [text]) == given_by(many, pieces) == given_by(ReasoningSplitter(holds=not holds), [*text])
    assert (one.bare, one.opened) == (many.bare, many.opened)


@given(st.sampled_from(TAGS[:9]), st.text(alphabet="ab .\n", max_size=40), st.text(alphabet="cd", min_size=1))
def test_no_thought_is_in_the_answer(tag: Any, thought: str, answer: str) -> None:
    assert answer_in(f"{tag.open}{thought}{tag.close}{answer}") == answer
    assert answer_in(f"a{thought}.\n{tag.close}\n{answer}") == answer


@pytest.mark.parametrize("piece", ["<think>", "<think></think>", "a<\n", "```\n"])
def test_a_long_text_takes_no_longer_than_it_is(piece: str) -> None:
    assert takes_linear_time(answer_in, "", piece, 40_000)


def read_in_pieces(text: str, size: int) -> None:
    splitter = ReasoningSplitter()
    for at in range(0, len(text), size):
        splitter.feed(text[at : at + size])
    splitter.end()


@pytest.mark.parametrize(
    ("before", "piece", "size"),
    [
        ("analysisThe", " user", 4),
        ("", " ", 1),
        ("<think>a</think><answer>b", " ", 1),
        ("<|start|>", "<|message|>x ", 80_000),
        ("", "<think>x</think>\n", 80_000),
        ("", "a </think> ", 80_000),
        ("<|channel|>final<|message|>", "<|return|>", 4),
    ],
)
def test_a_text_four_times_as_long_takes_about_four_times_as_long(before: str, piece: str, size: int) -> None:
    assert takes_linear_time(lambda text: read_in_pieces(text, size), before, piece)
