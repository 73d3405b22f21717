import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.text.clauses import MAX_CLAUSES, clauses
from tests.unit.linear import takes_linear_time

PIECES = st.sampled_from(
    [
        "Classify this message: ", "write a reply", "my parcel broke", "terms and conditions", "then ", "and ", "if ",
        "finally, ", ", ", ". ", "; ", "?", ":", "。", "\n", "\n\n", "1. ", "2) ", "- ", "> ", "e.g. ", "${t1}",
        "'", '"', "“", "”", "```",
    ]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join))


@given(TEXTS)
def test_clauses_follow_each_other_without_gap_or_overlap(text: str) -> None:
    found = clauses(text)

    assert "".join(text[clause.start : clause.end] for clause in found) == (text if found else "")
    assert found or not text.strip()
    assert all(clause.start <= clause.head <= clause.end for clause in found)


def test_what_has_too_many_parts_is_cut_no_further() -> None:
    text = "a; " * (MAX_CLAUSES + 50)
    found = clauses(text)

    assert len(found) == MAX_CLAUSES + 1
    assert found[-1].end == len(text)


@pytest.mark.parametrize(
    "unit",
    [
        "a. ",
        "'a ",
        '"a" ',
        "1. ",
        "a: ",
        "and then find it. ",
        "> a\n",
        " ",
        "“a",
        "\n \t",
        "; ",
        "- a\n",
        "((",
        "a, b ",
        "the a and the ",
    ],
)
def test_no_text_takes_time_beyond_its_length(unit: str) -> None:
    text = unit * (4_000 // len(unit))

    assert clauses(text) or not text.strip()
    assert takes_linear_time(clauses, "", unit, 1_000), "no look over the whole text at every token"
