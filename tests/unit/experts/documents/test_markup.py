"""What of a document its reader would see."""

from __future__ import annotations

import time

import pytest

from experts.documents.markup import split_front, unclosed_comment, visible


def words(text: str) -> str:
    return " ".join(visible(text).split())


@pytest.mark.parametrize(
    "hidden",
    [
        "<!-- really SECRET -->",
        "<!--\nreally\n\nSECRET\n-->",
        "text <!-- SECRET --> text <!-- SECRET\nSECRET --> text",
        "[//]: # (SECRET)",
        "[comment]: <> (SECRET)",
        '[//]: # "SECRET"',
        "{# SECRET #}",
        "{% comment %}\nSECRET\n{% endcomment %}",
        "{/* SECRET */}",
        "<style>\n.SECRET { color: red }\n</style>",
        "<SCRIPT>SECRET()</SCRIPT>",
        "text {{< figure src=SECRET.png >}} text",
        "{{% SECRET %}}\ntext\n{{% /SECRET %}}",
        "{% include SECRET.html %}",
        "[[_TOC_]]",
        "[TOC]",
        "{:toc SECRET}",
        "text {: .SECRET }",
        ":::SECRET\ntext\n:::",
        "::: {.SECRET}\ntext\n:::",
        "!!! SECRET\n    text",
        "??? SECRET inline end\n    text",
        "> [!SECRET]\n> text",
        ".. toctree::\n   :maxdepth: 2\n\n   SECRET\n\ntext",
        ".. image:: SECRET.png\n   :alt: SECRET\n\ntext",
        ".. note::\n   :class: SECRET\n\n   text",
        ".. note::\n\n   text\n\n.. SECRET of\n   many SECRET lines\n\ntext",
        ".. index:: SECRET\n.. _SECRET-target:\n\ntext",
        "```{toctree}\nSECRET\n```",
        "```{note}\n:class: SECRET\ntext\n```",
    ],
)
def test_what_a_reader_does_not_see_is_no_text(hidden: str) -> None:
    found = words(f"Before.\n\n{hidden}\n\nAfter.")

    assert "SECRET" not in found
    assert "toc" not in found.lower()
    assert set(found.replace(">", "").split()) <= {"Before.", "After.", "text"}
    assert found.count("text") == hidden.count("text")
    assert found.startswith("Before.")
    assert found.endswith("After.")


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        (":::tip[Good to know]\nx", "Good to know x"),
        ("::: details Click me\nx", "Click me x"),
        ('!!! note "Good to know"\n    x', "Good to know x"),
        ('=== "Linux"\n    x', "Linux x"),
        ("> [!NOTE] Mind this\n> x", "Mind this > x"),
        (".. note:: Mind this\n   x", "Mind this x"),
        ("```{note} Mind this\nx\n```", "Mind this x"),
        ("## Returns {#returns}", "## Returns"),
    ],
)
def test_titles_that_directives_carry_are_kept(source: str, seen: str) -> None:
    assert words(source) == seen


@pytest.mark.parametrize(
    "text",
    [
        "```html\n<!-- an example -->\n```",
        "~~~\n[TOC]\n.. note::\n~~~",
        "Write `<!-- like this -->` for a comment.",
        "Prices: 3 < 4 -- and 5 > 4.",
        "A {{ name }} and {braces} and {#5}.",
        "[[Refunds]]",
        "__bold__",
        "[a]: https://example.com",
        "!!! Attention, please read",
        "...and so on\n.. three dots",
        "| a | b |\n|---|---|\n| 1 | 2 |",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_comment_that_is_never_closed_hides_the_rest_and_is_told() -> None:
    text = "Seen.\n\n<!-- a -->\n\n<!-- SECRET\n\nHidden."

    assert words(text) == "Seen."
    assert unclosed_comment(text) == 5
    assert unclosed_comment("Seen. <!-- a -->") is None


@pytest.mark.parametrize(
    ("text", "title", "rest"),
    [
        ("---\ntitle: Warranty terms\ntags:\n  - a\nowner: SECRET\n---\n# A", "Warranty terms", "# A"),
        ("---\nlayout: page\n---\nText.", "", "Text."),
        ('+++\ntitle = "Warranty"\ndate = 2026-01-01\n+++\nText.', "Warranty", "Text."),
        ("---\ntitle: Warranty: terms\n---\nText.", "", "Text."),
        ("---\ntitle: 5\n...\nText.", "", "Text."),
    ],
)
def test_front_matter_is_no_text_but_gives_its_title(text: str, title: str, rest: str) -> None:
    assert split_front(text) == (title, rest)


@pytest.mark.parametrize("text", ["---\nWords, and no field.\n---\nMore.", "---\n\n---\nText.", "---\na: b\n", "Text."])
def test_a_rule_at_the_top_is_no_front_matter(text: str) -> None:
    assert split_front(text) == ("", text)


def test_a_front_matter_of_one_long_key_does_not_take_long() -> None:
    begun = time.process_time()

    assert split_front("+++\na = 1\n" + "a." * 100_000 + "b=1\n+++\nWords.") == ("", "Words.")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "text",
    [
        "<stylesheet> is a tag.\n\nRefunds take 14 days.",
        "{# of items}: 3\n\nRefunds take 14 days.",
        "{/* of items: 3\n\nRefunds take 14 days.",
        "---\n# Title\n- refund within 30 days\n- call us\n---\nMore.",
        "+++\nPlus section\n+++\nMore.",
        "Total {.5 or less}",
    ],
)
def test_what_only_looks_like_markup_is_kept(text: str) -> None:
    title, body = split_front(text)

    assert (title, visible(body)) == ("", text)


def test_a_number_is_no_name_of_a_directive() -> None:
    assert visible("::: 30 days") == "30 days"
