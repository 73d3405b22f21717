"""What of thoughts reaches whoever asked a model over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from experts.instruction.expert import build
from swarm.errors import ExpertError
from swarm.llm.base import ChatRequest, Completion, Message, ResponseFormat
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.model_server import Answer, ModelServer, Script, Stream, chunk
from swarm.types.card import Card
from swarm.types.plan import Subtask

HELLO = [Message("user", "hello")]
SECRET = "They seem angry; my notes are private."
ANSWER = "Dear customer, you get it back."


# -- what of it reaches whoever asked --------------------------------------------------------------------------


@asynccontextmanager
async def served(script: Script, delay: float = 0.0) -> AsyncIterator[OpenAIModels]:
    async with (
        ModelServer(script, delay=delay) as server,
        OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models,
    ):
        yield models


async def heard(models: OpenAIModels, name: str = "box/qwq-small", **more: Any) -> tuple[list[str], Completion]:
    *pieces, whole = [item async for item in models.get(name).stream(ChatRequest(HELLO, **more))]
    assert isinstance(whole, Completion)
    return [str(piece) for piece in pieces], whole


LATE = f"{SECRET}\n</think>\n\n{ANSWER} And more words than one."


async def test_no_thought_is_streamed_of_a_model_that_may_think_by_its_name() -> None:
    async with served(lambda request: LATE) as models:
        first, second = await heard(models), await heard(models)

    for pieces, whole in (first, second):
        assert "".join(pieces) == whole.text == f"{ANSWER} And more words than one."
        assert len(pieces) > 3, "what follows the thoughts comes as it is written"


async def test_a_model_that_is_known_to_answer_at_once_is_streamed_at_once() -> None:
    async with served(lambda request: f"{ANSWER} " * 3) as models:
        first, second = await heard(models), await heard(models)

    assert (len(first[0]), "".join(first[0])) == (1, f"{ANSWER} " * 3)
    assert len(second[0]) > 10


async def test_json_is_streamed_at_once_and_does_not_show_how_a_model_thinks() -> None:
    said: Iterator[Answer] = iter(['{"a": ' + "1" * 90 + "}", LATE])
    async with served(lambda request: next(said)) as models:
        form = ResponseFormat("a", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
        assert len((await heard(models, format=form))[0]) > 3
        pieces, _ = await heard(models)

    assert SECRET not in "".join(pieces)


async def test_a_model_that_begins_to_think_makes_void_what_was_streamed() -> None:
    async with served(lambda request: LATE) as models:
        pieces, whole = await heard(models, "box/small")
        again, _ = await heard(models, "box/small")

    assert SECRET in "".join(pieces), "nobody could know"
    assert SECRET not in whole.text
    assert SECRET not in "".join(again)


async def test_a_model_that_thinks_and_is_cut_has_not_begun_its_answer() -> None:
    cut = [chunk(SECRET), chunk(finish_reason="length")]
    said: Iterator[Answer] = iter([LATE, Stream(cut), "yes"])
    async with served(lambda request: next(said)) as models:
        await heard(models)
        with pytest.raises(ExpertError, match="cut at the token limit while the model was thinking") as caught:
            await heard(models)
        assert (await heard(models))[1].text == "yes"

    assert caught.value.reason == "cut"


async def test_the_first_answer_of_a_thinker_by_name_that_is_cut_in_its_thoughts_is_none() -> None:
    async with served(lambda request: Stream([chunk(SECRET), chunk(finish_reason="length")])) as models:
        for _ in range(2):
            with pytest.raises(ExpertError, match="cut at the token limit while the model was thinking"):
                await heard(models)


async def test_an_answer_that_is_kept_when_its_time_is_up_has_no_thoughts_in_it() -> None:
    async def slow() -> AsyncIterator[object]:
        for piece in (SECRET, "\n</think>\n\n", "Dear customer, "):
            yield chunk(piece)
        await asyncio.sleep(60)

    card = Card(
        name="w",
        kind="instruction",
        description="d",
        model="box/small",
        instruction="Write.",
        partial="keep",
        timeout=4,
    )
    async with served(lambda request: Stream(slow())) as models:
        expert = await build(card, None, models)  # type: ignore[arg-type]
        solution = await expert.solve(Subtask(id="t1", expert="w", instruction="write to the customer"), {})

    assert (solution.text.strip(), solution.caveats) == ("Dear customer,", ("cut",))


async def test_data_is_read_from_the_answer() -> None:
    schema = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
    card = Card(name="sorter", kind="instruction", description="d", model="box/small", output=schema)
    said = iter([
        '<think>Could be {"label": "other"}... no.</think>\n{"label": "refund"}',
        'First I thought {"label": "other"} of it.</think>\n{"label": "refund"}',
    ])  # fmt: skip
    async with served(lambda request: next(said)) as models:
        expert = await build(card, None, models)  # type: ignore[arg-type]
        for _ in range(2):
            solution = await expert.solve(Subtask(id="t1", expert="sorter", instruction="sort"), {})
            assert solution.data == {"label": "refund"}
            assert "thought" not in solution.text
