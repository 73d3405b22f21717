"""An encoder on an endpoint, over HTTP: its vectors, what it costs, and a server that fails or changes its model."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from swarm.encoder.base import Encoder
from swarm.encoder.endpoint import NO_PREFIXES, UNRELATED, EndpointEncoder, Prefixes
from swarm.errors import BadOutput, ModelRefused, ModelUnavailable, Unaffordable
from swarm.llm.metered import ACCOUNT, CallOutcome
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.model_server import ModelServer, Received, Reply, Script, hang
from swarm.testing.openai_payloads import embedded, embeddings, inputs, vector
from tests.integration.llm.test_metered import Purse, paid_by
from tests.integration.processes import until


def answers(request: Received) -> Reply:
    return Reply(embedded(inputs(request.body)))


@asynccontextmanager
async def served(
    script: Script, prefixes: Prefixes = NO_PREFIXES
) -> AsyncIterator[tuple[ModelServer, EndpointEncoder]]:
    async with ModelServer(script) as server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        encoder = await EndpointEncoder.open(models.embedder("box/embedder"), prefixes)
        server.requests.clear()
        yield server, encoder


@pytest.mark.parametrize("as_text", [False, True], ids=["numbers", "base64"])
async def test_vectors_are_float32_of_length_1_whatever_the_server_sends(as_text: bool) -> None:
    def longer(request: Received) -> Reply:
        return Reply(embeddings([[7 * n for n in vector(text)] for text in inputs(request.body)], as_text=as_text))

    async with served(longer) as (_, encoder):
        used: Encoder = encoder
        found = await used.encode(["one", "two"])
        none = await used.encode([])

    assert found.dtype == np.float32
    assert found.tolist() == [pytest.approx(vector(text), abs=1e-3) for text in ("one", "two")]
    assert none.shape == (0, encoder.dimension)


async def test_opening_measures_the_cosine_of_unrelated_texts() -> None:
    async with ModelServer(answers) as server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        encoder = await EndpointEncoder.open(models.embedder("box/embedder"))

        assert [request.body["input"] for request in server.requests] == [list(UNRELATED)]
    vectors = np.array([vector(text) for text in UNRELATED])
    cosines = [float(vectors[a] @ vectors[b]) for a in range(len(vectors)) for b in range(a)]
    assert encoder.calibration.mean == pytest.approx(np.mean(cosines), abs=1e-5)
    assert encoder.calibration.sd == pytest.approx(np.std(cosines), abs=1e-5)
    assert encoder.identity == f"box/embedder@{len(vector('x'))}"


async def test_prefixes_are_sent_by_kind_and_are_part_of_the_identity() -> None:
    async with served(answers, Prefixes("query: ", "passage: ")) as (server, encoder):
        for kind in ("query", "passage", "text"):
            await encoder.encode(["one"], kind=kind)

    assert [request.body["input"] for request in server.requests] == [["query: one"], ["passage: one"], ["one"]]
    async with served(answers) as (_, plain):
        assert encoder.identity.startswith(f"{plain.identity}+")


async def test_no_request_has_more_than_128_texts_and_a_blank_text_is_never_sent() -> None:
    texts = [*(f"text {number}" for number in range(300)), "", "  "]
    async with served(answers) as (server, encoder):
        found = await encoder.encode(texts)

    assert found.shape == (302, encoder.dimension)
    sent = [list(inputs(request.body)) for request in server.requests]
    assert max(map(len, sent)) <= 128
    assert [text for some in sent for text in some][:300] == texts[:300]
    assert all(text.strip() for some in sent for text in some)


async def test_each_request_is_paid_for_in_a_delivery() -> None:
    async with served(answers) as (server, encoder):
        with paid_by(Purse()) as purse:
            await encoder.encode([f"text {number}" for number in range(100)])

    assert len(server.requests) == len(purse.reserved) == 2
    assert {(model, cap) for model, _, cap in purse.reserved} == {("box/embedder", 1)}
    assert all(sent > 300 for _, sent, _ in purse.reserved)
    assert list(purse.settled.values()) == [CallOutcome("reported", 7, answered=True)] * 2


async def test_without_money_nothing_is_sent() -> None:
    async with served(answers) as (server, encoder):
        with paid_by(Purse(room=0)), pytest.raises(Unaffordable):
            await encoder.encode(["one"])

    assert server.requests == []


async def test_in_a_delivery_a_failure_is_told_to_the_account_and_left_to_the_queue() -> None:
    down: list[Reply] = []

    def script(request: Received) -> Reply:
        return down[0] if down else answers(request)

    async with served(script) as (server, encoder):
        down.append(Reply({"error": {"message": "overloaded"}}, 503))
        with paid_by(Purse()) as purse, pytest.raises(ModelUnavailable):
            await encoder.encode(["one"])

    assert len(server.requests) == 1
    (outcome,) = purse.settled.values()
    assert (outcome.down, outcome.answered) == ("model", False)


async def test_outside_of_a_delivery_a_failure_that_may_pass_is_tried_again() -> None:
    failures: list[Reply] = []
    async with served(lambda request: failures.pop() if failures else answers(request)) as (server, encoder):
        assert ACCOUNT.get() is None
        failures += [Reply({"error": {"message": "overloaded"}}, 503, headers={"retry-after": "0.01"})] * 2
        found = await encoder.encode(["one"])

    assert found[0].tolist() == pytest.approx(vector("one"), abs=1e-6)
    assert len(server.requests) == 3


async def test_a_failure_that_will_not_pass_is_not_tried_again() -> None:
    refused = [False]

    def script(request: Received) -> Reply:
        return Reply({"error": {"message": "no"}}, 400) if refused[0] else answers(request)

    async with served(script) as (server, encoder):
        refused[0] = True
        with pytest.raises(ModelRefused):
            await encoder.encode(["one"])

    assert len(server.requests) == 1


async def test_cancelling_a_call_keeps_its_reservation_open() -> None:
    slow: list[bool] = []

    async def script(request: Received) -> Reply:
        if slow:
            await hang(request)
        return answers(request)

    async with served(script) as (server, encoder):
        slow.append(True)
        with paid_by(Purse()) as purse:
            task = asyncio.create_task(encoder.encode(["one"]))
            await until(lambda: bool(server.requests), "the request has arrived")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert [outcome.left for outcome in purse.settled.values()] == [True]


async def test_a_model_that_was_changed_silently_is_noticed() -> None:
    changed: list[bool] = []

    def script(request: Received) -> Reply:
        texts = list(inputs(request.body))
        return Reply(embeddings([vector(f"new {text}" if changed else text) for text in texts]))

    async with served(script) as (_, first):
        pass
    async with served(script) as (_, again):
        assert again.is_same_model(first.probes)
    changed.append(True)
    async with served(script) as (_, other):
        assert other.identity == first.identity
        assert not other.is_same_model(first.probes)
        assert not other.is_same_model(first.probes[:, :3])


async def test_another_dimension_is_an_error() -> None:
    size = [8]
    async with served(lambda request: Reply(embeddings([vector(t, size[0]) for t in inputs(request.body)]))) as (
        _,
        encoder,
    ):
        size[0] = 4
        with pytest.raises(BadOutput, match="box/embedder: its vectors had 8 numbers and have 4 now"):
            await encoder.encode(["one"])
    assert math.isclose(float((encoder.probes**2).sum()), 3, abs_tol=1e-4)
