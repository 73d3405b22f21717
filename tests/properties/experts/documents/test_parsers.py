"""Hostile documents are read too."""

from __future__ import annotations

from experts.documents import html


def test_deeply_nested_elements_are_read() -> None:
    page = "<div>" * 20_000 + "Deep." + "</div>" * 20_000

    assert [block.text for block in html.parse("a.html", page.encode()).blocks] == ["Deep."]
