"""A trained head: rows, training, its file, and the expert that answers with it."""

from __future__ import annotations

import contextlib
import io
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.finetuned.expert import HeadExpert, subject
from experts.finetuned.features import counted, times
from experts.finetuned.head import MAX_FILE, Head, head_problem
from experts.finetuned.rows import Row, read_rows
from experts.finetuned.train import main, train, train_file, train_with_report
from swarm.errors import BadInput
from swarm.models import Card, Solution
from swarm.plans import Subtask

ROWS = [
    Row(f"{start} {text}", label)
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
        (changed(bias=npy(np.array([1, np.nan, 0], dtype="<f4"))), "no numbers"),
        (changed(about=about('{"format": 9}')), "not of format 1"),
        (changed(about=about('{"format": 1, "labels": ["a", "a"], "dims": 256}')), "different labels"),
        (changed(about=about('{"format": 1, "labels": ["a", "b"], "dims": 3}')), "number of columns"),
        (changed(rarity=b"\0" * 90_000_000), "unpacks to more"),
        (changed(bias=b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16), "no head file"),
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
    expected = [Row("a, b", "x"), Row("c", "y")]

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
        ("text,label\na,x\nb,x\n", "r.csv", "rows of 1 label"),
        (b"text,label\na,x\n\xff,y\n", "r.csv", "r.csv:3: is not UTF-8"),
        ("text,label\na," + "x" * 201, "r.csv", "a label of 201 characters"),
        ('{"text": "a", "label": "x"}\nno', "r.jsonl", "r.jsonl:2: is no JSON"),
        ("[1]", "r.jsonl", "r.jsonl:1: is no object"),
        ('{"text": 1, "label": "x"}', "r.jsonl", "r.jsonl:1: has no text"),
    ],
)
def test_what_is_wrong_with_rows_is_said_with_the_line(
    tmp_path: Path, content: str | bytes, name: str, words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read_rows(rows_file(tmp_path, content, name))

    assert words in str(caught.value)
    assert caught.value.remedy


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
    assert report.warning == "no better than guessing the commonest label, which is right for 75.0%"
    assert main([str(source), str(target)]) == 0
    said = capsys.readouterr()
    assert f"accuracy {report.accuracy:.1%}, cross-validated on 60 rows held out" in said.out
    assert f"warning: {report.warning}" in said.err


def test_a_head_that_has_learnt_is_told_without_a_warning() -> None:
    rows = [Row(f"{word} number {i}", word) for i in range(300) for word in ("late", "broken")]
    report = train_with_report(rows)[1]

    assert (report.crossed, report.warning) == (False, "")
    assert report.told == f"100.0%, of {report.held_out:,} rows held out"


# -- the expert ------------------------------------------------------------------------------------------------


async def test_the_solution_is_the_label_with_its_probability() -> None:
    card = Card(name="triage", kind="fine-tuned", description="d", model="local/head")
    subtask = Subtask(id="t2", expert="triage", instruction="Classify this message: ${t1}")

    solution = await HeadExpert(card, HEAD).solve(subtask, {"t1": Solution(text="where is my parcel?")})

    assert solution.text == solution.data["label"] == "delivery"
    assert solution.confidence == solution.data["probabilities"]["delivery"] > 0.5
    assert next(iter(solution.data["probabilities"])) == "delivery"


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
    begun = time.perf_counter()
    subject(text)

    assert time.perf_counter() - begun < 0.1
