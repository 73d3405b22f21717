"""Chunks: what is kept together, what is never cut, and that only changed text gets a new digest."""

from __future__ import annotations

from experts.documents.base import Block, Document
from experts.documents.chunking import FULL, MOST, Chunk, chunks, estimated_tokens
from experts.documents.markdown import read_markdown

SENTENCE = "Lamps are covered for two years from the day of delivery. "
ROWS = tuple(f"| Country{number} | {number}.50 EUR | {number * 2}.00 EUR |" for number in range(90))
TABLE = "| Country | Standard | Express |\n|---|---|---|\n" + "\n".join(ROWS)


def texts(found: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in found]


def test_paragraphs_of_one_section_are_joined_up_to_the_limit_and_sections_never() -> None:
    long = (SENTENCE * 8).strip()
    document = read_markdown("a.md", f"# One\n\nShort.\n\nShort too.\n\n{long}\n\n{long}\n\n# Two\n\nOther.\n")

    found = chunks(document)

    assert texts(found) == [f"Short.\n\nShort too.\n\n{long}", long, "Other."]
    assert [chunk.headings for chunk in found] == [("One",), ("One",), ("Two",)]
    assert [chunk.index for chunk in found] == [0, 1, 2]
    assert [chunk.lines for chunk in found] == [(3, 7), (9, 9), (13, 13)]


def test_a_long_table_is_cut_between_rows_and_each_chunk_has_its_header() -> None:
    found = chunks(read_markdown("a.md", f"# Rates\n\nIn euros:\n\n{TABLE}\n\nEnd.\n"))

    tables = [chunk for chunk in found if chunk.header]
    assert [row for chunk in tables for row in chunk.text.split("\n")] == list(ROWS)
    assert len(tables) > 3
    assert all(estimated_tokens(chunk.text) <= FULL for chunk in tables)
    assert {chunk.header for chunk in tables} == {"| Country | Standard | Express |"}
    assert tables[0].searched.startswith("Rates\n| Country | Standard | Express |\n| Country0 |")
    assert tables[0].lines == (7, 6 + len(tables[0].text.split("\n")))


def test_pages_are_never_joined() -> None:
    blocks = tuple(Block("paragraph", f"Page {page}.", (), page) for page in (1, 1, 2))

    assert [(chunk.page, chunk.text) for chunk in chunks(Document("a.pdf", blocks))] == [
        (1, "Page 1.\n\nPage 1."),
        (2, "Page 2."),
    ]


def test_a_change_gives_new_digests_only_near_it() -> None:
    paragraphs = [f"Paragraph {number}. {SENTENCE * 2}" for number in range(200)]
    before = chunks(read_markdown("a.md", "\n\n".join(paragraphs)))
    changed = ["New.", *paragraphs[:100], "Other words.", *paragraphs[101:]]
    after = chunks(read_markdown("b.md", "\n\n".join(changed)))

    old, new = ({chunk.digest for chunk in found} for found in (before, after))
    assert len(new) > 30
    assert len(new - old) <= 8


def test_scripts_without_spaces_are_cut_by_their_tokens() -> None:
    text = "商品损坏时，客户可以在三十天内申请全额退款。" * 100

    found = chunks(read_markdown("a.md", text))

    assert "".join(texts(found)) == text
    assert all(estimated_tokens(chunk.text) <= MOST for chunk in found)
    assert all(chunk.text.endswith("。") for chunk in found)
