"""How models are spoken to: against a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from swarm.errors import BadOutput, ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, Message, Model, complete
from swarm.llm.endpoints import Endpoint, Endpoints
from swarm.llm.openai.models import OpenAIModels
from swarm.llm.openai.sse_parser import MAX_RESPONSE
from swarm.llm.openai.usage import prompt_tokens
from swarm.testing.model_server import ModelServer, Reply, Script, completion
from swarm.types.result import Usage

KEY = "sk-secret-1234567890"
HELLO = [Message("user", "hello")]


@asynccontextmanager
async def served(script: Script) -> AsyncIterator[tuple[ModelServer, Model]]:
    async with ModelServer(script) as server:
        environ = {"SWARM_ENDPOINT_MY_BOX_URL": server.url, "SWARM_ENDPOINT_MY_BOX_KEY": KEY}
        async with OpenAIModels(environ) as models:
            yield server, models.get("my-box/org/small")


async def failure(script: Script, timeout: float = 5.0) -> Exception:
    async with served(script) as (_, model):
        with pytest.raises((ModelUnavailable, ModelRefused, BadOutput)) as caught:
            await complete(model, ChatRequest(HELLO, timeout=timeout))
    assert KEY not in str(caught.value)
    return caught.value


def endpoint(name: str, environ: Mapping[str, str]) -> Endpoint:
    return Endpoints.load(environ).get(name)


def replied(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    return lambda request: Reply(body, status, headers or {})


async def test_a_completion_comes_with_its_text_and_usage() -> None:
    async with served(lambda request: f"you said {request.last}") as (server, model):
        answer = await complete(model, ChatRequest(HELLO, max_tokens=50))

    assert answer.text == "you said hello"
    assert answer.usage == Usage(calls=1, input_tokens=prompt_tokens(HELLO), output_tokens=4)
    assert answer.model == model.name == "my-box/org/small"
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[0].body["model"] == "org/small"
    assert server.requests[0].body["max_tokens"] == 50


async def test_an_answer_cut_at_the_limit_says_so() -> None:
    async with served(replied(completion("half an ans", finish_reason="length"))) as (_, model):
        assert (await complete(model, ChatRequest(HELLO))).cut


async def test_the_tokens_of_an_answer_without_usage_are_estimated() -> None:
    async with served(replied(completion("a parcel", usage=None))) as (_, model):
        used = (await complete(model, ChatRequest(HELLO))).usage

    assert used == Usage(calls=1, input_tokens=prompt_tokens(HELLO), output_tokens=2, estimated=1)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503])
async def test_statuses_that_may_pass_are_unavailable_and_not_retried_here(status: int) -> None:
    async with served(replied({"error": {"message": "not now"}}, status, {"retry-after": "7"})) as (server, model):
        with pytest.raises(ModelUnavailable, match=f"HTTP {status}: not now") as caught:
            await complete(model, ChatRequest(HELLO))

    assert caught.value.retryable
    assert caught.value.retry_after == 7
    assert len(server.requests) == 1


async def test_an_answer_and_a_refusal_say_when_the_limits_are_fresh_again() -> None:
    spent = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m30s"}
    async with served(replied(completion("x"), 200, spent)) as (_, model):
        assert (await complete(model, ChatRequest(HELLO))).pause == 90

    error = await failure(replied({"error": {"message": "slow down"}}, 429, spent))

    assert isinstance(error, ModelUnavailable)
    assert (error.call.limited, error.retry_after) == (True, 90)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_statuses_that_will_not_pass_are_refused(status: int) -> None:
    error = await failure(replied({"detail": f"no, and your key is {KEY}"}, status))

    assert isinstance(error, ModelRefused)
    assert not error.retryable
    assert "no, and your key is ***" in str(error)


async def test_a_spent_quota_is_refused_though_its_status_is_429() -> None:
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}

    error = await failure(replied(body, 429))

    assert isinstance(error, ModelRefused)
    assert not error.call.limited, "asking less would change nothing"
    assert "; raise the quota of the endpoint 'my-box'" in str(error)


@pytest.mark.parametrize(
    ("header", "value", "seconds"),
    [
        ("retry-after-ms", "250", 0.25),
        ("llm_provider-retry-after", "3", 3.0),
        ("retry-after", "Wed, 21 Oct 2020 07:28:00 GMT", 0.0),
        ("retry-after", "inf", None),
        ("retry-after", "-5", None),
    ],
)
async def test_the_wait_a_server_asks_for_is_read_where_it_stands(
    header: str, value: str, seconds: float | None
) -> None:
    error = await failure(replied({}, 503, {header: value}))

    assert isinstance(error, ModelUnavailable)
    assert error.retry_after == seconds


async def test_an_error_inside_a_200_is_an_error() -> None:
    assert isinstance(await failure(replied({"error": {"message": "upstream gone"}})), ModelUnavailable)


@pytest.mark.parametrize(
    "body",
    ["no json", "[" * 100_000, [], {}, {"choices": []}, {"choices": [{"message": None}]}, completion("  "),
     {"choices": [{"message": {"content": [1]}}]}],
)  # fmt: skip
async def test_what_is_no_completion_is_bad_output(body: object) -> None:
    assert isinstance(await failure(replied(body)), BadOutput)


async def test_a_refusal_in_words_is_a_refusal() -> None:
    body = {"choices": [{"message": {"content": None, "refusal": "I cannot help with that"}}]}

    assert "I cannot help with that" in str(await failure(replied(body)))


async def test_an_endless_answer_is_given_up_at_the_cap() -> None:
    assert isinstance(await failure(replied("x" * (MAX_RESPONSE + 1))), BadOutput)


async def test_a_silent_server_is_left_at_the_time_limit() -> None:
    async def sleeps(request: object) -> str:
        await asyncio.sleep(60)
        return "late"

    assert "no answer within 0.2 s" in str(await failure(sleeps, timeout=0.2))


async def test_a_connection_that_breaks_is_unavailable() -> None:
    assert isinstance(await failure(lambda request: None), ModelUnavailable)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with OpenAIModels({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}) as models:
        with pytest.raises(ModelUnavailable, match=r"cannot reach 127\.0\.0\.1:9 .*; check the URL .*'openai'.* runs"):
            await complete(models.get("openai/gpt"), ChatRequest(HELLO, timeout=40))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "check the key of the endpoint"),
        (404, "is a model of the endpoint"),
        (429, "or raise the limit of the endpoint"),
    ],
)
async def test_an_error_that_the_operator_can_mend_says_how(status: int, remedy: str) -> None:
    assert remedy in str(await failure(replied({"error": {"message": "no"}}, status)))


async def test_cancelling_a_call_closes_its_connection() -> None:
    started = asyncio.Event()

    async def sleeps(request: object) -> str:
        started.set()
        await asyncio.sleep(60)
        return "late"

    async with served(sleeps) as (server, model):
        call = asyncio.create_task(complete(model, ChatRequest(HELLO)))
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(40):
            await server.left.wait()

    assert server.open == 0
