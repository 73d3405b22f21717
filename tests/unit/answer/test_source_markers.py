from __future__ import annotations

import pytest

from swarm.answer.source_markers import MAX_PARAGRAPHS, MarkerParser, MarkerStripper, Paragraph, plain, read

MARKS = MarkerParser(["t1", "t2", "r1.find", "r1.item#3", "r2.find"])


def test_marks_are_taken_out_and_say_where_each_paragraph_is_from() -> None:
    found = read("Oslo is wet [t1]. It stays so [t2][r1.find].\n\nBergen is wetter [t1, t2].", MARKS)

    assert found.text == "Oslo is wet. It stays so.\n\nBergen is wetter."
    assert found.paragraphs == (
        Paragraph("Oslo is wet. It stays so.", ("t1", "t2", "r1.find")),
        Paragraph("Bergen is wetter.", ("t1", "t2")),
    )
    assert found.unknown == ()


def test_a_paragraph_without_a_mark_names_nobody() -> None:
    assert read("Dear customer,\n\nit is late [t1].", MARKS).paragraphs[0] == Paragraph("Dear customer,")


def test_marks_in_a_line_of_their_own_belong_to_what_stands_before() -> None:
    assert read("It rains.\n\n[t1] [t2]\n\nIt pours [t1].", MARKS).paragraphs == (
        Paragraph("It rains.", ("t1", "t2")),
        Paragraph("It pours.", ("t1",)),
    )


@pytest.mark.parametrize(
    ("inside", "names"),
    [
        ("T1", ("t1",)),
        ("t1 and t2", ("t1", "t2")),
        ("t2; t1, t2", ("t2", "t1")),
        ("t1.label", ("t1",)),
        ("r1.item#3", ("r1.item#3",)),
        ("item#3", ("r1.item#3",)),
        ("r1.find.count", ("r1.find",)),
    ],
)
def test_an_id_may_be_written_in_many_ways(inside: str, names: tuple[str, ...]) -> None:
    assert MARKS.named(inside) == (names, ())


def test_marks_that_look_like_ids_and_are_none_are_dropped_and_told() -> None:
    found = read("Rain [t9]. Snow [t1, t7]. Sun [r3.item#8].", MARKS)

    assert found.text == "Rain. Snow. Sun."
    assert found.unknown == ("t9", "t7", "r3.item#8")
    assert found.paragraphs[0].subtasks == ("t1",)


@pytest.mark.parametrize(
    "text",
    [
        "see [here](https://example.org)",
        "[t1](https://example.org)",
        "- [x] done, - [ ] open",
        "as [Smith 2001] says",
        "find [find] in either round",
        "an array[0] and [1, 2]",
        "[not closed",
        "[two\nlines t1]",
        f"[{'t1 ' * 200}]",
        "[]",
        "[words](t1)",
        "[t1](t2)",
        "call f(t1) or g[0](t1)",
        "(see t1)",
        "(find)",
        "(t1, t7)",
        "(t1",
        "(t1\n)",
        "()",
    ],
)
def test_other_brackets_are_text(text: str) -> None:
    assert plain(text, MARKS) == text
    assert all(not paragraph.subtasks for paragraph in read(text, MARKS).paragraphs)


def test_known_ids_in_round_brackets_are_marks_too() -> None:
    found = read("Oslo is wet (t1). Bergen too (T2, r1.item#3).\n\nSo it is, [I think] (t2; t1).", MARKS)

    assert found.text == "Oslo is wet. Bergen too.\n\nSo it is, [I think]."
    assert [paragraph.subtasks for paragraph in found.paragraphs] == [("t1", "t2", "r1.item#3"), ("t2", "t1")]
    assert found.unknown == ()


def test_ids_that_may_be_words_or_numbers_are_no_marks_in_round_brackets() -> None:
    marks = MarkerParser(["weather", "2024", "covid19"])

    assert plain("the forecast (weather) of (2024) and (covid19)", marks) == "the forecast (weather) of (2024) and"


def test_nothing_that_may_be_a_mark_is_shown_before_it_is_clear_what_it_is() -> None:
    shown = MarkerStripper(MARKS)

    assert [shown.add(piece) for piece in ("It rains", " [", "t1", "]", ". So [", "there", "]!")] == [
        "It rains", "", "", "", ". So", "", " [there]!",
    ]  # fmt: skip
    assert shown.end() == ""


def test_paragraphs_are_bounded_and_nothing_is_lost() -> None:
    found = read("\n\n".join(f"p{i} [t1]" for i in range(2_000)), MARKS)

    assert len(found.paragraphs) == MAX_PARAGRAPHS
    assert found.paragraphs[-1].text.endswith("p1999")
    assert len(found.text.split()) == 2_000


def test_a_mark_that_comes_again_and_again_is_looked_up_once() -> None:
    class Counting(MarkerParser):
        times = 0

        def _named(self, inside: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
            self.times += 1
            return super()._named(inside)

    marks = Counting(["t1", "t2"])
    found = read("one [t1] two [t2] [see] " * 1_000, marks)

    assert found.paragraphs[0].subtasks == ("t1", "t2")
    assert marks.times == 3
