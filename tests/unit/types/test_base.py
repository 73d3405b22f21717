"""What every text goes through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.types.base import cleaned


@pytest.mark.parametrize(
    ("pasted", "text"),
    [
        ("log \x1b[32mok\x1b[0m", "log ok"),
        ("\x1b[38;5;196mred\x1b[m", "red"),
        ("\x1b]8;;https://a.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title\x07prompt", "prompt"),
        ("\x1b(Bplain\x1b[2K", "plain"),
        ("page one\x0cpage two\x0b", "page one\npage two\n"),
        ("cut \x1b", "cut "),
        ("cut \x1b[", "cut ["),
        ("tab\tand\r\nline", "tab\tand\r\nline"),
    ],
)
def test_pasted_terminal_output_becomes_text(pasted: str, text: str) -> None:
    assert cleaned(pasted) == text


@given(st.text())
def test_no_escape_and_no_page_break_is_left(text: str) -> None:
    assert not set(cleaned(text)) & set("\x1b\x0b\x0c")
    plain = text.translate({0x1B: None, 0x0B: None, 0x0C: None})
    assert cleaned(plain) == plain
