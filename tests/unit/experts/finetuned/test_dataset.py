"""Rows to train a head with: from every form that tools write, or what is wrong with them, by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from experts.finetuned.dataset import TrainingRow, read_rows
from swarm.errors import BadInput
from tests.unit.experts.finetuned.rows import rows_file


def test_rows_come_from_csv_and_jsonl(tmp_path: Path) -> None:
    expected = [TrainingRow("a, b", "x"), TrainingRow("c", "y")]

    assert read_rows(rows_file(tmp_path, '\ufefftext,label\n"a, b",x\nc,y\n')) == expected
    assert read_rows(rows_file(tmp_path, 'ID,Category,Text\n1,x,"a, b"\n2,y,c\n')) == expected
    assert (
        read_rows(rows_file(tmp_path, '{"text": "a, b", "label": "x"}\n\n{"text": "c", "label": "y"}', "r.jsonl"))
        == expected
    )


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("a,b\n1,2\n", "r.csv", "r.csv:1: has no columns text and label"),
        ("", "r.csv", "r.csv:1: has no columns"),
        ("text,label\na,x\n  ,y\n", "r.csv", "r.csv:3: has no text"),
        ("text,label\na,x\nb,\n", "r.csv", "r.csv:3: has no label"),
        ("text,label\na,x\nb\n", "r.csv", "r.csv:3: has no label"),
        ('text,label\na,x\n"b,y\n', "r.csv", "is no CSV"),
        ("text,label\na,x\nb,x\n", "r.csv", "r.csv: has only rows of the label 'x'"),
        (b"text,label\na,x\n\xff,y\n", "r.csv", "r.csv:3: is not UTF-8"),
        ("text,label\na," + "x" * 201, "r.csv", "a label of 201 characters"),
        ('{"text": "a", "label": "x"}\nno', "r.jsonl", "r.jsonl:2: is no JSON"),
        ("[1]", "r.jsonl", "r.jsonl:1: is no object"),
        (
            "text,label\na,x\nhello, i want my money,refund\n",
            "r.csv",
            "r.csv:3: has 3 fields, but the first line names 2",
        ),
        ("text,label,\na,x,\nhello, i want my money,refund\n", "r.csv", "r.csv:3: has 3 fields"),
        ("id;text;label\n1;a;x\n2;b; c;y\n", "r.csv", "r.csv:3: has 4 fields"),
        ('text,label\na,x\n"b\nc",y\n"never closed,y\nd,y\n', "r.csv", "r.csv:5: is no CSV (a quote is not closed)"),
        ('text,label\na,x\n"b, said "no",y\n"c",y\n', "r.csv", "r.csv:3: is no CSV"),
        (b"PK\x03\x04\x14\0\0\0\xff\xfe", "r.xlsx", "r.xlsx: is a spreadsheet"),
        (b"PK\x03\x04\x14\0\0\0", "r.csv", "r.csv: is no text file"),
        (b"\x89PNG\r\n\x1a\n\0\0", "r.csv", "r.csv:1: is not UTF-8"),
        (b"PAR1\0\0", "r.csv", "r.csv: is no text file"),
        ("text,label\ncaf\xe9,x\n".encode("latin-1"), "r.csv", "r.csv:2: is not UTF-8"),
        ('[{"text": "a", "label": "x"}]', "r.json", "r.json:1: is no object; write one object a line"),
        ('{"text": "a", "label": ["x"]}', "r.jsonl", "a label that is not a text but ['x']"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "r.jsonl", "r.jsonl:1: has no label"),
        ('{"text": 1, "label": "x"}', "r.jsonl", "r.jsonl:1: has no text"),
        ("text,label,label\na,x,y\nb,y,x\n", "r.csv", "r.csv:1: names the column label twice"),
        ("Text,text,label\na,b,x\nb,c,y\n", "r.csv", "r.csv:1: names the column text twice"),
        (
            "text,intent,category\na,x,y\n",
            "r.csv",
            "r.csv:1: has the columns intent and category, each of which may be",
        ),
        ('{"text": "a", "label": "x", "label": "y"}', "r.jsonl", "r.jsonl:1: names the field label twice"),
        ('{"text": "a", "intent": "x", "category": "y"}', "r.jsonl", "r.jsonl:1: has the fields intent and category"),
        ("text,label\na,x\nText,Label\nb,y\n", "r.csv", "r.csv:3: repeats the first line; remove it"),
        (
            "text,label,note\na,refund,\nb,refund,\nhello, my parcel broke,refund\nc,other,\n",
            "r.csv",
            "r.csv:4: has the label 'my parcel broke', which no other row has, and the label 'refund' in the column",
        ),
        (
            "id,text,label,note\n1,a,x,\n2,hello,I want my money,x\n3,b,y,\n",
            "r.csv",
            "r.csv:3: has the label 'I want my money', which no other row has, and the label 'x' in the column 'note'",
        ),
        (
            "text,label\na,x\nb,x\nhello, where is my parcel?\nc,y\n",
            "r.csv",
            "r.csv:4: has the label 'where is my parcel?', which no other row has, after a delimiter and a blank",
        ),
        ('{"text": "a", "label": NaN}', "r.jsonl", "a label that is not a text but nan"),
    ],
)
def test_what_is_wrong_with_rows_is_said_with_the_line(
    tmp_path: Path, content: str | bytes, name: str, words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read_rows(rows_file(tmp_path, content, name))

    assert words in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("header", [",text,label", "id,text,label", "label,text,id"])
def test_a_number_that_no_comma_moves_does_not_make_a_rare_label_a_wrong_one(tmp_path: Path, header: str) -> None:
    """As in the index that pandas writes: a comma in a text moves only what stands behind the text."""
    rows = [{"": n, "id": n, "text": f"hello {n}", "label": n % 3} for n in range(12)]
    rows.append({"": 1, "id": 1, "text": "rare", "label": 7})
    lines = [header, *(",".join(str(row[name]) for name in header.split(",")) for row in rows)]

    assert len(read_rows(rows_file(tmp_path, "\n".join(lines), "r.csv"))) == 13


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("text;label\na, b;0\nc;1\n", "r.csv"),
        ("label\ttext\n0\ta, b\n1\tc\n", "r.tsv"),
        ('text,label,,\n"a, b",0,,\n\nc,1,,\n,,,\n,\n', "r.csv"),
        ('{"text": "a, b", "label": 0}\n{"text": "c", "label": 1}\n', "r.jsonl"),
        ('{"text": "a, b", "label": 0}\n{"text": "c", "label": 1}\n', "r.txt"),
        (
            '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a, b"}, '
            '{"role": "assistant", "content": "0"}]}\n{"messages": [{"role": "user", "content": "first"}, '
            '{"role": "assistant", "content": "well?"}, {"role": "user", "content": [{"type": "text", "text": "c"}]}, '
            '{"role": "assistant", "content": "1"}]}',
            "chat.jsonl",
        ),
    ],
)
def test_rows_are_understood_in_the_forms_that_tools_write(tmp_path: Path, content: str, name: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        assert read_rows(rows_file(tmp_path, content.encode(encoding), name)) == [
            TrainingRow("a, b", "0"),
            TrainingRow("c", "1"),
        ]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("text, label\na, x\nb, y\nc, x\n", "r.csv"),  # a blank after each delimiter is a way to write
        ("text,label,intent\na,x,p\nb,y,q\nc,x,r\n", "r.csv"),
        ("text,label,before\na,x,y\nb,y,x\nc,x,x\n", "r.csv"),  # a column that holds labels itself
        (
            '{"text": "a", "label": "x", "n": 1}\n{"text": "b", "label": "y", "n": null}\n{"text":"c","label":"x"}',
            "r.jsonl",
        ),
        (
            '{"text": "a", "label": null, "intent": "x"}\n{"text": "b", "intent": "y"}\n{"text":"c","label":"x"}',
            "r.jsonl",
        ),
    ],
)
def test_what_only_looks_like_a_mistake_is_read(tmp_path: Path, content: str, name: str) -> None:
    assert read_rows(rows_file(tmp_path, content, name)) == [
        TrainingRow("a", "x"),
        TrainingRow("b", "y"),
        TrainingRow("c", "x"),
    ]


def test_a_number_is_one_label_however_it_is_written(tmp_path: Path) -> None:
    labels = ["1", '"1"', "1.0", "true", "2.5"]
    rows = "".join(f'{{"text": "t{n}", "label": {label}}}\n' for n, label in enumerate(labels))

    assert [row.label for row in read_rows(rows_file(tmp_path, rows, "r.jsonl"))] == ["1", "1", "1", "true", "2.5"]


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_all_rows_that_are_wrong_are_told_at_once(tmp_path: Path, name: str) -> None:
    if name == "r.csv":
        content = "text,label\na,x\n" + "b,\n,y\nc,d,e\n" * 10 + 'f,y\n"never closed'
    else:
        content = '{"text": "a", "label": "x"}\n' + 'no\n{"text": "b"}\n{"label": "y"}\n' * 10 + "[]"
    with pytest.raises(BadInput) as caught:
        read_rows(rows_file(tmp_path, content, name))
    lines = [str(caught.value), *caught.value.__notes__]
    first = 3 if name == "r.csv" else 2

    assert [int(line.split(":")[1]) for line in lines[:-1]] == list(range(first, first + 20))
    assert lines[-1] == "and 11 more rows are wrong"
