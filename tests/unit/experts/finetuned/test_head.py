"""A trained head: its answers, its file, and the expert that answers with it."""

from __future__ import annotations

import io
import time
import zipfile
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.finetuned.expert import HeadExpert, subject
from experts.finetuned.head import head_problem, read_head
from experts.finetuned.head_file import MAX_FILE
from experts.finetuned.head_training import train
from experts.finetuned.word_head import WordHead
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.unit.experts.finetuned.rows import ROWS

HEAD = cast(WordHead, train(ROWS))


def test_a_head_labels_what_it_has_not_seen() -> None:
    chances = HEAD.probabilities(["the package has not come, where is it?", "password forgotten", "invoice please"])

    assert [HEAD.labels[number] for number in chances.argmax(axis=1)] == ["delivery", "account", "payment"]
    assert np.allclose(chances.sum(axis=1), 1)


def test_training_again_gives_the_same_bytes() -> None:
    assert train(ROWS).to_bytes() == HEAD.to_bytes()


@pytest.mark.parametrize("text", ["", " ", "?!", "\ud800", "x" * 100_000, "мир 世界"])
def test_any_text_gets_probabilities(text: str) -> None:
    assert np.allclose(HEAD.probabilities([text]).sum(), 1)


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def about(text: str) -> bytes:
    return npy(np.frombuffer(text.encode(), dtype="u1"))


# -- the file --------------------------------------------------------------------------------------------------


def test_a_head_survives_its_file() -> None:
    again = read_head(HEAD.to_bytes())
    assert isinstance(again, WordHead)

    assert again.labels == HEAD.labels
    assert np.array_equal(again.weights, HEAD.weights)
    assert np.allclose(again.probabilities(["where is it"]), HEAD.probabilities(["where is it"]), atol=1e-3)
    assert again.to_bytes() == HEAD.to_bytes()


def test_numpy_can_open_the_file() -> None:
    with np.load(io.BytesIO(HEAD.to_bytes()), allow_pickle=False) as arrays:
        assert arrays["weights"].shape == (HEAD.dims, 3)


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x" * (MAX_FILE + 1), "at most 10,000,000"),
        (changed(weights=npy(np.zeros((4, 3), dtype="<f2"))), "wrong type or shape"),
        (changed(bias=npy(np.array([1, np.nan, 0], dtype="<f4"))), "not numbers"),
        (changed(about=about('{"format": 9}')), "of format 9"),
        (changed(about=about('{"format": 1, "labels": ["a", "a"], "dims": 256}')), "distinct labels"),
        (changed(about=about('{"format": 1, "labels": ["a", "b"], "dims": 3}')), "number of columns"),
        (changed(rarity=b"\0" * 90_000_000), "unpacks to more"),
        (changed(bias=b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16), "not a head file"),
        (changed(bias=b"cos\nsystem\n(S'id'\ntR."), "unknown form"),
    ],
)  # fmt: skip
def test_a_file_that_says_what_cannot_be_is_refused(content: bytes, words: str) -> None:
    assert words in (head_problem(content) or "")


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

    assert time.process_time() - begun < 2
