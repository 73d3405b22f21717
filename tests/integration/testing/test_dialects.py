"""Every kind of server, streamed and whole, with a form and without: the same text, or the right typed error."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from swarm.errors import ContextTooLong, ExpertError, ModelGone, ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, Completion, Message, Model, ResponseFormat, complete
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.dialects import (
    AIMOCK,
    DIALECTS,
    LITELLM,
    LLAMA_CPP_PYTHON,
    OPENAI,
    Dialect,
    FaultKind,
    InjectedFault,
    Speech,
)
from swarm.testing.model_server import ModelServer

KEY = "sk-secret-1234567890"
HELLO = [Message("user", "hello")]
FORM = ResponseFormat("plan", {"type": "object", "properties": {"steps": {"type": "array"}}})
SAID = json.dumps({"steps": [{"id": f"t{number}", "do": "žluťoučký 😀"} for number in range(5)]}, ensure_ascii=False)

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=str)
streamed_or_not = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@asynccontextmanager
async def served(dialect: Dialect, script: Speech, key: str = KEY) -> AsyncIterator[tuple[ModelServer, Model]]:
    async with ModelServer(dialect.speaks(script, key=KEY)) as server:
        environ = {"SWARM_ENDPOINT_BOX_URL": server.url, "SWARM_ENDPOINT_BOX_KEY": key}
        async with OpenAIModels(environ) as models:
            yield server, models.get("box/small")


async def answered(
    model: Model, *, streamed: bool, form: ResponseFormat | None = None, limit: int | None = None
) -> Completion:
    if not streamed:
        return await complete(model, ChatRequest(HELLO, format=form, max_tokens=limit, timeout=40))
    request = ChatRequest(HELLO, format=form, max_tokens=limit, timeout=40)
    *pieces, whole = [item async for item in model.stream(request)]
    assert isinstance(whole, Completion)
    assert "".join(map(str, pieces)) == whole.text
    return whole


@every_dialect
@streamed_or_not
async def test_plain_text_is_the_same_everywhere(dialect: Dialect, streamed: bool) -> None:
    async with served(dialect, lambda request: "Good day 😀, and welcome") as (server, model):
        answer = await answered(model, streamed=streamed)

    assert answer.text == "Good day 😀, and welcome"
    assert answer.asked_by == ""
    assert answer.usage.output_tokens > 0
    assert bool(answer.usage.estimated) == (dialect.usage == "none")
    assert len(server.requests) == 1


@every_dialect
@streamed_or_not
async def test_the_json_asked_for_is_in_every_answer_and_costs_one_request_from_then_on(
    dialect: Dialect, streamed: bool
) -> None:
    async with served(dialect, lambda request: SAID) as (server, model):
        await answered(model, streamed=streamed, form=FORM)
        before = len(server.requests)
        answer = await answered(model, streamed=streamed, form=FORM)

    assert len(server.requests) == before + 1
    assert SAID in answer.text
    honoured = dialect.json_schema != "ignores"
    assert (answer.text == SAID) == honoured
    assert answer.asked_by == ("json_object" if dialect.json_schema == "refuses" else "json_schema")


@streamed_or_not
@pytest.mark.parametrize("base", [OPENAI, LLAMA_CPP_PYTHON, AIMOCK], ids=str)
async def test_a_forced_tool_gives_the_same_text(base: Dialect, streamed: bool) -> None:
    dialect = replace(base, json_schema="refuses", json_object="refuses")
    async with served(dialect, lambda request: SAID) as (_, model):
        answer = await answered(model, streamed=streamed, form=FORM)

    assert (answer.text, answer.asked_by) == (SAID, "tool")


@streamed_or_not
async def test_an_object_without_a_schema_is_passed_over_by_openai(streamed: bool) -> None:
    dialect = replace(OPENAI, json_schema="refuses")
    async with served(dialect, lambda request: SAID) as (server, model):
        answer = await answered(model, streamed=streamed, form=FORM)

    assert (answer.text, answer.asked_by, len(server.requests)) == (SAID, "tool", 3)


@every_dialect
@streamed_or_not
async def test_a_wrong_key_is_refused_where_it_is_looked_at(dialect: Dialect, streamed: bool) -> None:
    async with served(dialect, lambda request: SAID, key="sk-wrong-987654321") as (server, model):
        if "wrong key" not in dialect.faults:
            assert SAID in (await answered(model, streamed=streamed, form=FORM)).text
            return
        for count, form in enumerate((None, FORM), 1):
            with pytest.raises(ModelRefused) as caught:
                await answered(model, streamed=streamed, form=form)
            assert "sk-wrong" not in str(caught.value)
            assert len(server.requests) == count


EXPECTED: dict[FaultKind, type[ExpertError]] = {
    "unknown model": ModelGone,
    "too long": ContextTooLong,
    "overloaded": ModelUnavailable,
    "timed out": ModelUnavailable,
    "upstream": ModelUnavailable,
}


@every_dialect
@streamed_or_not
async def test_each_fault_is_an_error_of_its_class(dialect: Dialect, streamed: bool) -> None:
    faults: list[FaultKind] = []
    async with served(dialect, lambda request: InjectedFault(faults[-1], "half an answer")) as (_, model):
        for kind, expected in EXPECTED.items():
            faults.append(kind)
            for form in (None, FORM):
                with pytest.raises((ModelRefused, ModelUnavailable)) as caught:
                    await answered(model, streamed=streamed, form=form)
                assert (kind, type(caught.value)) == (kind, expected)
                assert KEY not in str(caught.value)


@pytest.mark.parametrize("dialect", [OPENAI, LITELLM], ids=str)
async def test_the_wait_that_a_server_asks_for_is_passed_on(dialect: Dialect) -> None:
    async with served(dialect, lambda request: InjectedFault("overloaded")) as (_, model):
        with pytest.raises(ModelUnavailable) as caught:
            await answered(model, streamed=True, form=FORM)
    assert caught.value.retry_after == 3


@every_dialect
@streamed_or_not
async def test_an_answer_cut_at_the_limit_says_so(dialect: Dialect, streamed: bool) -> None:
    async with served(dialect, lambda request: "one two three four five") as (_, model):
        answer = await answered(model, streamed=streamed, limit=3)

    assert (answer.text, answer.cut) == ("one two thre", True)
    assert answer.usage.output_tokens == 3
