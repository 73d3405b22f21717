"""What becomes of a job whose model server fails, in each class of fault: its ending, the reason, the calls it took."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from experts.catalog.loader import catalog_of
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.ledger import Ledger
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.testing.model_server import ModelServer, Received, Reply, Script, Stream, chunk, completion
from swarm.testing.openai_payloads import USAGE
from swarm.types.answer import Answer
from swarm.types.card import Card, Limits
from swarm.types.result import Usage
from tests.integration.processes import echo, expert, serving

ECHO = expert("spare", echo)


def a_chat(**more: object) -> Card:
    fields = {"kind": "instruction", "description": "chat", "model": "box/small", "instruction": "Answer."}
    return Card.model_validate({"name": "chat", "version": "1", "timeout": 3.0, **fields, **more})


@contextlib.asynccontextmanager
async def swarm(settings: Settings, script: Script, **card: object) -> AsyncIterator[tuple[SwarmClient, ModelServer]]:
    """A worker of everything before a model server, an expert that asks it, and a client."""
    cards = {"chat": a_chat(**card), "spare": ECHO.card}
    async with (
        ModelServer(script) as server,
        Connection.open(settings.redis_url or "", settings.prefix) as connection,
        SwarmClient(settings=settings) as client,
    ):
        await CatalogStore(connection, 600).publish(catalog_of(cards), {})
        environ = {"SWARM_ENDPOINT_BOX_URL": server.url}
        async with serving(settings, ECHO, environ=environ):
            yield client, server


async def asked(client: SwarmClient, **more: object) -> Answer:
    job = await client.submit("where is it?", expert="chat", attempts=2, **more)  # type: ignore[arg-type]
    return await job.answer(timeout=40)


def error(message: str, status: int, code: str = "") -> Reply:
    return Reply({"error": {"message": message, "type": None, "code": code or None}}, status, {"retry-after": "0.05"})


ENDINGS: dict[str, tuple[Reply | Stream | None, str, str, int]] = {
    "overloaded": (error("The engine is currently overloaded", 503), "unavailable", "fallback", 2),
    "server error": (error("oops", 500), "unavailable", "oops; check the log", 2),
    "gateway": (Reply("<h1>502 Bad Gateway</h1>", 502), "unavailable", "check that the server behind", 2),
    "no origin": (Reply("error code: 521", 521), "unavailable", "can be reached from there", 2),
    "timed out": (error("Request timed out", 408), "unavailable", "raise the time limit of the server", 2),
    "hung up": (None, "unavailable", "closed the connection before an answer", 2),
    "HTML": (
        Reply("<h1>Welcome</h1>", 200, {"content-type": "text/html"}),
        "bad_output",
        "check the URL of its endpoint",
        2,
    ),
    "an error inside a 200": (Reply({"error": {"message": "upstream gone"}}), "unavailable", "upstream gone", 2),
    "wrong key": (error("Incorrect API key provided", 401), "wrong_key", "check the key", 1),
    "quota spent": (error("You exceeded", 429, "insufficient_quota"), "quota_spent", "raise the quota", 1),
    "no credit": (error("Insufficient Balance", 402), "quota_spent", "pay its bill", 1),
    "too long": (error("maximum context length is 8", 400), "too_long", "ask for less", 1),
    "too large": (Reply("Payload Too Large", 413), "too_long", "ask for less", 1),
    "content refused": (error("filtered", 400, "content_filter"), "content_refused", "word it differently", 1),
    "refused by the model": (
        Reply(completion("", finish_reason="content_filter")),
        "content_refused",
        "the model will not answer this",
        1,
    ),
    "cut before a word": (Reply(completion("", finish_reason="length")), "cut", "before its first word", 2),
    "model gone": (error("The model `small` does not exist", 404), "model_gone", "swarm doctor", 1),
    "not there": (error("Not Found", 404), "refused", "check the URL", 1),
    "forbidden": (error("Country not supported", 403), "refused", "from here", 1),
    "bad request": (error("Unsupported value", 400), "refused", "what the card and the endpoint", 1),
}


@pytest.mark.parametrize(("reply", "reason", "said", "requests"), ENDINGS.values(), ids=ENDINGS)
async def test_a_job_ends_with_the_reason_and_the_remedy(
    settings: Settings, reply: Reply | Stream | None, reason: str, said: str, requests: int
) -> None:
    async with swarm(settings, lambda request: reply) as (client, server):
        answer = await asked(client)

        (missing,) = answer.missing
        assert (answer.ending, missing.reason) == ("failed", reason)
        assert said in missing.message
        assert len(server.requests) == requests


@pytest.mark.parametrize("fault", ["wrong key", "quota spent", "too long", "content refused", "model gone"])
async def test_what_no_attempt_changes_goes_to_the_fallback_at_once(settings: Settings, fault: str) -> None:
    reply = ENDINGS[fault][0]
    async with swarm(settings, lambda request: reply, fallback=("spare",)) as (client, server):
        answer = await asked(client)

        assert (answer.ending, answer.segments[0].expert) == ("completed", "spare")
        assert len(server.requests) == 1


async def test_words_that_were_cut_are_an_answer_that_says_so(settings: Settings) -> None:
    reply = Reply(completion("half an ans", finish_reason="length"))

    async with swarm(settings, lambda request: reply) as (client, server):
        answer = await asked(client)

        assert (answer.text, answer.segments[0].caveats, len(server.requests)) == ("half an ans", ("cut",), 1)


async def test_a_rate_that_is_reached_burns_no_attempt(settings: Settings) -> None:
    replies = [error("Rate limit reached", 429)] * 4

    def script(request: Received) -> Reply | str:
        return replies.pop() if replies else "there"

    async with swarm(settings, script) as (client, server):
        assert (await asked(client)).text == "there"
        assert len(server.requests) == 5


async def test_tokens_reach_the_answer_the_receipt_and_the_books_of_the_day(settings: Settings) -> None:
    told = USAGE | {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}

    async with swarm(settings, lambda request: Reply(completion("there", usage=told))) as (client, _):
        job = await client.submit("where is it?", expert="chat", tenant="acme")
        answer = await job.answer(timeout=40)
        receipt = await job.cancel()
        async with Connection.open(settings.redis_url or "", settings.prefix) as connection:
            ledger = Ledger(connection, settings)
            (acme,), day = await ledger.tenants(), await ledger.day(await ledger.today())

    used = Usage(calls=1, input_tokens=7, output_tokens=3, cached_tokens=4, reasoning_tokens=2)
    assert answer.usage == receipt.usage == receipt.parts[0].usage == used
    assert (acme.name, acme.today.tokens, day.tokens) == ("acme", 10, 10)


async def test_a_server_that_counts_nothing_has_its_tokens_estimated_in_success_and_in_failure(
    settings: Settings,
) -> None:
    def script(request: Received) -> Reply:
        return Reply(completion("half an ans", usage=None, finish_reason="length" if "cut" in request.last else "stop"))

    async with swarm(settings, script) as (client, _):
        found = await (await client.submit("where is it?", expert="chat")).answer(timeout=40)
        cut = await (await client.submit("be cut", expert="chat")).answer(timeout=40)

    assert (found.usage.calls, found.usage.estimated, found.usage.output_tokens) == (1, 1, 3)
    assert found.usage.input_tokens > 5
    assert (cut.segments[0].caveats, cut.usage.calls, cut.usage.estimated) == (("cut",), 1, 1)


@pytest.mark.parametrize("ends", ["stop", "length", "content_filter"])
async def test_a_server_that_counts_nothing_does_not_escape_a_limit_of_tokens(settings: Settings, ends: str) -> None:
    said = "".join(f"{i:04} " for i in range(900))
    reply = Reply(completion(said, usage=None, finish_reason=ends))

    async with swarm(settings, lambda request: reply, limits=Limits(tokens_per_minute=600_000)) as (client, _):
        await asked(client)
        async with Connection.open(settings.redis_url or "", settings.prefix) as connection:
            mean = float(await connection.call("HGET", connection.keys.limiter("expert:chat"), "mean"))

    assert 1_025 < mean < 1_035  # 1,000 at first, of which a fifth becomes that of every call: 1,125 and the prompt's


async def test_an_error_in_a_stream_is_told_as_what_it_is(settings: Settings) -> None:
    problem = {"error": {"message": "prompt is too long", "type": "invalid_request_error", "code": None}}

    async with swarm(
        settings.model_copy(update={"max_output": 100, "day_budget": 5.0, "unpriced": "count"}),
        lambda request: Stream([chunk("begun "), problem]) if request.streamed else Reply(problem),
    ) as (client, server):
        answer = await asked(client)

        assert (answer.missing[0].reason, len(server.requests)) == ("too_long", 1)
