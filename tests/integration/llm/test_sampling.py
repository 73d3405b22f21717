"""What a server is sent of how a model is to write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from experts.instruction.expert import build
from swarm.errors import ModelRefused
from swarm.llm.base import ChatRequest, Message, complete
from swarm.llm.logged import LoggedModels
from swarm.llm.metered import ACCOUNT, CallOutcome, MeteredModels, Reservation
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.model_server import ModelServer
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Usage
from swarm.types.sampling import Sampling

HELLO = [Message("user", "hello")]
WHOLE = Sampling(
    max_tokens=40, temperature=0, top_p=0.5, stop=("END", "\n\n"), seed=7, reasoning_effort="low", extra={"top_k": 4}
)


@asynccontextmanager
async def served(folder: Path, more: str = "") -> AsyncIterator[tuple[ModelServer, OpenAIModels]]:
    async with ModelServer(lambda request: "yes") as server:
        path = folder / "swarm.toml"
        path.write_text(f'[endpoints.box]\nurl = "{server.url}"\n{more}\n')
        async with OpenAIModels({"SWARM_CONFIG": str(path)}) as models:
            yield server, models


async def test_a_server_is_sent_what_the_card_says_and_else_what_its_endpoint_says(tmp_path: Path) -> None:
    defaults = "sampling = { temperature = 1, max_tokens = 9, extra = { top_k = 1, min_p = 0.1 } }"
    card = Card(name="writer", kind="instruction", description="d", model="box/small", sampling=WHOLE)
    async with served(tmp_path, defaults) as (server, models):
        await (await build(card, None, models)).solve(Subtask(id="t1", expert="writer", instruction="hi"), {})  # type: ignore[arg-type]
        await complete(models.get("box/small"), ChatRequest(HELLO))
        await complete(models.get("box/small"), ChatRequest(HELLO, max_tokens=3))

    mine, plain, capped = (request.body for request in server.requests)
    said = {"temperature": 0, "top_p": 0.5, "stop": ["END", "\n\n"], "seed": 7, "reasoning_effort": "low"}
    assert mine.items() >= (said | {"top_k": 4, "min_p": 0.1, "max_tokens": 40}).items()
    assert plain.items() >= {"temperature": 1, "max_tokens": 9, "top_k": 1, "min_p": 0.1}.items()
    assert "seed" not in plain
    assert capped["max_tokens"] == 3


async def test_responses_are_asked_in_their_own_words(tmp_path: Path) -> None:
    async with served(tmp_path, 'api = "responses"') as (server, models):
        model = models.get("box/small")
        await complete(
            model,
            ChatRequest(HELLO, sampling=Sampling(temperature=0, max_tokens=4, reasoning_effort="low", extra={"k": 1})),
        )
        with pytest.raises(ModelRefused, match="the responses API has no stop and no seed; leave it out") as caught:
            await complete(model, ChatRequest(HELLO, sampling=WHOLE))

    (request,) = server.requests
    assert request.body.items() >= {"temperature": 0, "max_output_tokens": 4, "k": 1}.items()
    assert request.body["reasoning"] == {"effort": "low"}
    assert caught.value.call.billed == "nothing"


class Purse:
    """An account that keeps what is reserved."""

    def __init__(self) -> None:
        self.wanted: list[int | None] = []

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        self.wanted.append(wanted)
        return Reservation(1, model, cap=wanted)

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        return Usage()


async def test_what_a_call_can_cost_is_held_for_the_cap_that_is_sent(tmp_path: Path) -> None:
    purse = Purse()
    token = ACCOUNT.set(purse)
    try:
        async with served(tmp_path, "sampling = { max_tokens = 9 }") as (server, models):
            model = LoggedModels(MeteredModels(models)).get("box/small")
            await complete(model, ChatRequest(HELLO))
            await complete(model, ChatRequest(HELLO, sampling=Sampling(max_tokens=5)))
            await complete(model, ChatRequest(HELLO, max_tokens=3, sampling=Sampling(max_tokens=5)))
    finally:
        ACCOUNT.reset(token)

    assert purse.wanted == [9, 5, 3] == [request.body["max_tokens"] for request in server.requests]
