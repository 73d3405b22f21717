"""A trained head: rows, training, its file, and the expert that answers with it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.finetuned import minibatch
from experts.finetuned.dataset import TrainingRow, read_rows
from experts.finetuned.expert import HeadExpert, subject
from experts.finetuned.head import MAX_FILE, Head, head_problem
from experts.finetuned.head_features import counted, rarity, times, weighted
from experts.finetuned.head_training import _folds, _numbers, main, train, train_file, train_with_report
from swarm.errors import BadInput
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution

ROWS = [
    TrainingRow(f"{start} {text}", label)
    for start in ("please", "hello,", "again:", "why")
    for text, label in (
        ("where is my parcel", "delivery"), ("the courier is late with my package", "delivery"),
        ("I forgot my password", "account"), ("my login does not work", "account"),
        ("the card was charged twice", "payment"), ("send me the invoice", "payment"),
    )
]  # fmt: skip
HEAD = train(ROWS)


def test_a_head_labels_what_it_has_not_seen() -> None:
    chances = HEAD.probabilities(["the package has not come, where is it?", "password forgotten", "invoice please"])

    assert [HEAD.labels[number] for number in chances.argmax(axis=1)] == ["delivery", "account", "payment"]
    assert np.allclose(chances.sum(axis=1), 1)


def test_training_again_gives_the_same_bytes() -> None:
    assert train(ROWS).to_bytes() == HEAD.to_bytes()


def test_the_report_is_of_rows_held_out() -> None:
    _, report = train_with_report(ROWS)

    assert report.rows == report.held_out == len(ROWS)
    assert report.accuracy > 0.8


@pytest.mark.parametrize("text", ["", " ", "?!", "\ud800", "x" * 100_000, "мир 世界"])
def test_any_text_gets_probabilities(text: str) -> None:
    assert np.allclose(HEAD.probabilities([text]).sum(), 1)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_the_sparse_product_is_the_product(texts: list[str]) -> None:
    rows, matrix = counted(texts, 64), np.arange(128, dtype=np.float64).reshape(64, 2)
    dense = np.zeros((len(texts), 64))
    dense[rows.owners, rows.columns] = rows.values

    assert np.allclose(times(rows, matrix), dense @ matrix)


# -- the file --------------------------------------------------------------------------------------------------


def test_a_head_survives_its_file() -> None:
    again = Head.from_bytes(HEAD.to_bytes())

    assert again.labels == HEAD.labels
    assert np.array_equal(again.weights, HEAD.weights)
    assert np.allclose(again.probabilities(["where is it"]), HEAD.probabilities(["where is it"]), atol=1e-3)
    assert again.to_bytes() == HEAD.to_bytes()


def test_numpy_can_open_the_file() -> None:
    with np.load(io.BytesIO(HEAD.to_bytes()), allow_pickle=False) as arrays:
        assert arrays["weights"].shape == (HEAD.dims, 3)


@settings(deadline=None)
@given(st.data())
def test_hostile_bytes_are_bad_input(data: st.DataObject) -> None:
    content = bytearray(HEAD.to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 400) | st.integers(-400, -1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))

    with contextlib.suppress(BadInput):
        assert np.isfinite(Head.from_bytes(bytes(content[:cut])).weights).all()


@given(st.binary(max_size=300))
def test_any_bytes_are_bad_input(content: bytes) -> None:
    assert head_problem(content) is not None


def changed(**members: bytes) -> bytes:
    """The file with some members replaced."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(HEAD.to_bytes())) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.removesuffix(".npy"), old.read(name)))
    return file.getvalue()


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def about(text: str) -> bytes:
    return npy(np.frombuffer(text.encode(), dtype="u1"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x" * (MAX_FILE + 1), "at most 10,000,000"),
        (changed(weights=npy(np.zeros((4, 3), dtype="<f2"))), "wrong type or shape"),
        (changed(bias=npy(np.array([1, np.nan, 0], dtype="<f4"))), "not numbers"),
        (changed(about=about('{"format": 9}')), "not of format 1"),
        (changed(about=about('{"format": 1, "labels": ["a", "a"], "dims": 256}')), "distinct labels"),
        (changed(about=about('{"format": 1, "labels": ["a", "b"], "dims": 3}')), "number of columns"),
        (changed(rarity=b"\0" * 90_000_000), "unpacks to more"),
        (changed(bias=b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16), "not a head file"),
        (changed(bias=b"cos\nsystem\n(S'id'\ntR."), "unknown form"),
    ],
)  # fmt: skip
def test_a_file_that_says_what_cannot_be_is_refused(content: bytes, words: str) -> None:
    assert words in (head_problem(content) or "")


# -- rows ------------------------------------------------------------------------------------------------------


def rows_file(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


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


def test_labels_that_are_written_in_two_ways_are_told() -> None:
    rows = [
        TrainingRow(f"{label} {n}", label) for label in ("1", "1.0", "Refund", "refund", "other") for n in range(20)
    ]
    report = train_with_report(rows)[1]

    assert report.alike == (("1", "1.0"), ("Refund", "refund"))
    assert report.warnings[-1].startswith("the labels 'Refund' and 'refund' are learnt as different labels")


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


@pytest.mark.parametrize("many", [False, True])
def test_rows_are_held_out_of_every_label_and_rare_ones_are_named(many: bool) -> None:
    sizes = {"common": 700 if many else 60, "rare": 6, "pair": 2, "single": 1}
    rows = [TrainingRow(f"{label} thing {i}", label) for label, size in sizes.items() for i in range(size)]
    report = train_with_report(rows)[1]
    held_out = {each.label: each.held_out for each in report.by_label}

    assert {each.label: each.rows for each in report.by_label} == sizes
    assert held_out == (
        {"common": 140, "rare": 2, "pair": 1, "single": 0}
        if many
        else {"common": 60, "rare": 6, "pair": 2, "single": 0}
    )
    assert report.warnings[-1].startswith("the accuracy says little about 'single' (rows: 1, held out: 0)")
    assert ("'rare'" in report.warnings[-1]) is many
    assert train_with_report(rows[::-1])[1] == report


def test_equal_texts_are_held_out_together() -> None:
    rows = [TrainingRow(f"{label} {i // 4}", label) for label in ("x", "y") for i in range(40)]

    assert all(len({fold for row, fold in zip(rows, _folds(rows), strict=True) if row == one}) == 1 for one in rows)


def test_many_labels_are_learnt_within_little_memory() -> None:
    """A process of its own, since the peak of a process is never lowered."""
    code = (
        "import resource\n"
        "from experts.finetuned import minibatch\n"
        "from experts.finetuned.dataset import TrainingRow\n"
        "from experts.finetuned.head_training import train_with_report\n"
        "rows = [TrainingRow(f'about thing{i} number {j}', f'label{i}') for i in range(1000) for j in range(2)]\n"
        "minibatch.EPOCHS = 3\n"
        "head, report = train_with_report(rows)\n"
        "print(report.accuracy, len(head.to_bytes()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    environ = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # threads that spin take long on a busy machine
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environ)
    accuracy, size, megabytes = map(float, done.stdout.split())

    assert accuracy > 0.9
    assert size < MAX_FILE
    assert megabytes < 600


def test_small_batches_learn_what_the_exact_method_learns() -> None:
    labels, truth = ("account", "delivery", "payment"), _numbers(ROWS, ("account", "delivery", "payment"))
    counts = counted([row.text for row in ROWS], 2**10)
    rows = weighted(counts, rarity(counts, 2**10))
    weights, bias = minibatch.fit(rows, truth, 2**10, len(labels), 1e-3)

    assert np.array_equal((times(rows, weights) + bias).argmax(axis=1), truth)
    assert np.array_equal(minibatch.fit(rows, truth, 2**10, len(labels), 1e-3)[0], weights)


def test_the_command_writes_a_head_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = rows_file(tmp_path, "text,label\nhello there,x\ngood bye,y\n"), tmp_path / "h.npz"

    assert main([str(source), str(target)]) == 0
    assert Head.from_bytes(target.read_bytes()).labels == ("x", "y")
    assert main([str(tmp_path / "gone.csv"), str(target)]) == 2
    assert main([]) == 2
    assert "gone.csv: cannot be read" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.npz", "rows.csv"]
    assert train_file(source, target).bytes == target.stat().st_size


def test_a_head_that_is_no_better_than_a_guess_is_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # the words say nothing of the label
    rows = "".join(f"word{i} only{i},{'x' if i % 4 else 'y'}\n" for i in range(60))
    source, target = rows_file(tmp_path, "text,label\n" + rows), tmp_path / "h.npz"
    report = train_file(source, target)

    assert (report.crossed, report.held_out, report.commonest) == (True, 60, 0.75)
    assert report.accuracy <= 0.75
    (warning,) = report.warnings
    assert warning == "no better than always guessing the most common label, which is right for 75.0%"
    assert main([str(source), str(target)]) == 0
    said = capsys.readouterr()
    assert f"accuracy {report.accuracy:.1%}, cross-validated on 60 rows held out" in said.out
    assert f"warning: {warning}" in said.err


def test_a_head_that_has_learnt_is_told_without_a_warning() -> None:
    rows = [TrainingRow(f"{word} number {i}", word) for i in range(300) for word in ("late", "broken")]
    report = train_with_report(rows)[1]

    assert (report.crossed, report.warnings, report.held_out) == (False, (), 120)
    assert report.summary == "100.0%, of 120 rows held out, 60 of each label"


# -- the expert ------------------------------------------------------------------------------------------------


async def test_the_solution_is_the_label_with_its_probability() -> None:
    card = Card(name="triage", kind="fine-tuned", description="d", model="local/head")
    subtask = Subtask(id="t2", expert="triage", instruction="Classify this message: ${t1}")

    solution = await HeadExpert(card, HEAD).solve(subtask, {"t1": Solution(text="where is my parcel?")})

    assert solution.text == solution.data["label"] == "delivery"
    assert solution.confidence == solution.data["probabilities"]["delivery"] > 0.5
    assert next(iter(solution.data["probabilities"])) == "delivery"


async def test_a_label_that_is_likelier_wrong_than_right_is_marked() -> None:
    card = Card(name="triage", kind="fine-tuned", description="d", model="local/head")
    sure, unsure = [
        await HeadExpert(card, HEAD).solve(Subtask(id="t1", expert="triage", instruction=text), {})
        for text in ("where is my parcel?", "zebra crossing")
    ]

    assert (sure.confidence or 0) > 0.5 > (unsure.confidence or 0)
    assert (sure.caveats, unsure.caveats) == ((), ("low_confidence",))


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        ("Classify this message: 'My parcel isn't here, I want my money'", "My parcel isn't here, I want my money"),
        ('Please classify the message: "It broke."', "It broke."),
        ("Triage: where is it?", "where is it?"),
        ("'Where is my parcel?'", "Where is my parcel?"),
        ("I can't find 'refund' on my bill: what now?", "I can't find 'refund' on my bill: what now?"),
        ("My card: where is it?", "My card: where is it?"),
    ],
)  # fmt: skip
def test_what_is_labelled_is_the_message_and_not_the_request(instruction: str, text: str) -> None:
    assert subject(instruction) == text


@pytest.mark.parametrize("text", [" 'x" * 33_000, " “x" * 33_000, "label this:" + " " * 100_000])
def test_no_instruction_takes_long_to_be_searched_for_quotes(text: str) -> None:
    begun = time.process_time()
    subject(text)

    assert time.process_time() - begun < 0.1
