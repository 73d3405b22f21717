"""Model calls are paid for: held before at the most they can cost, settled after by what became of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from swarm.errors import BadOutput, ExpertError, ModelUnavailable, Unaffordable
from swarm.llm.base import ChatRequest, Completion, Message, ResponseFormat, complete
from swarm.llm.metered import (
    ACCOUNT,
    PER_CALL,
    PER_MESSAGE,
    CallOutcome,
    MeteredModels,
    Reservation,
)
from swarm.llm.openai.models import OpenAIModels
from swarm.llm.openai.usage import prompt_tokens
from swarm.testing.model_server import DONE, ModelServer, Received, Reply, Script, Stream, chunk, completion
from swarm.testing.openai_payloads import USAGE
from swarm.testing.scripted_model import ScriptedModels
from swarm.types.result import Usage

ASKED = [Message("user", "where is my parcel?")]
FORM = ResponseFormat("answer", {"type": "object"})
TOLD = CallOutcome("reported", 7, 3, answered=True)
LOST = CallOutcome("unknown", 11, estimated=True)
"""A call of which nobody told anything: only its prompt is known, and not what became of it."""


class Purse:
    """An account that has room for so many requests, and notes what it pays for."""

    def __init__(self, cap: int | None = None, room: int = 99) -> None:
        self.cap, self.room = cap, room
        self.reserved: list[tuple[str, int, int | None]] = []
        self.settled: dict[int, CallOutcome] = {}

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        if len(self.reserved) >= self.room:
            raise Unaffordable("no money left")
        self.reserved.append((model, sent, wanted))
        return Reservation(len(self.reserved), model, self.cap, 100)

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        if held.number in self.settled:
            return Usage()
        self.settled[held.number] = used
        return Usage(presumed=100) if used.billed == "unknown" else Usage(cost=used.sent + used.received)


@contextlib.contextmanager
def paid_by(purse: Purse) -> Iterator[Purse]:
    token = ACCOUNT.set(purse)
    yield purse
    ACCOUNT.reset(token)


@contextlib.asynccontextmanager
async def metered(script: Script) -> AsyncIterator[tuple[MeteredModels, ModelServer]]:
    async with (
        ModelServer(script) as server,
        OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models,
    ):
        yield MeteredModels(models), server


async def outcome(script: Script, *, timeout: float = 5.0, purse: Purse | None = None, **more: Any) -> Purse:
    """What an account has on record after one call, whatever came of it."""
    async with metered(script) as (models, _):
        with paid_by(purse or Purse()) as payer, contextlib.suppress(ExpertError):
            await complete(models.get("box/small"), ChatRequest(ASKED, timeout=timeout, **more))
    return payer


async def test_a_call_is_held_for_at_every_byte_of_its_prompt_and_settled_by_what_its_server_told() -> None:
    async with metered(lambda request: "on its way") as (models, server):
        with paid_by(Purse()) as purse:
            answer = await complete(models.get("box/small"), ChatRequest(ASKED, max_tokens=30))

    assert purse.reserved == [("box/small", 19 + PER_MESSAGE + PER_CALL, 30)]
    assert purse.settled == {1: CallOutcome("reported", prompt_tokens(ASKED), 3, answered=True)}
    assert answer.usage == Usage(calls=1, input_tokens=11, output_tokens=3, cost=14)
    assert (server.requests[0].streamed, server.requests[0].body["max_tokens"]) == (True, 30)


async def test_where_a_limit_holds_the_cap_is_sent_and_the_answer_streamed() -> None:
    async with metered(lambda request: "on its way") as (models, server):
        with paid_by(Purse(cap=50)) as purse:
            answer = await complete(models.get("box/small"), ChatRequest(ASKED))

    assert answer.text == "on its way"
    assert (server.requests[0].streamed, server.requests[0].body["max_tokens"]) == (True, 50)
    assert purse.settled == {1: CallOutcome("reported", prompt_tokens(ASKED), 3, answered=True)}


@pytest.mark.parametrize("name", ["content", "reasoning_content"])
async def test_a_server_that_passes_its_cap_is_hung_up_on_and_what_was_held_is_gone(name: str) -> None:
    async def endless() -> AsyncIterator[Any]:
        yield chunk("begun ")
        while True:
            yield chunk(delta={name: "word "})
            await asyncio.sleep(0.001)

    async with metered(lambda request: Stream(endless())) as (models, server):
        with paid_by(Purse(cap=20)) as purse:
            answer = await complete(models.get("box/small"), ChatRequest(ASKED))
        await asyncio.wait_for(server.left.wait(), 40)

    assert answer.cut
    assert len(answer.text.split()) <= 21
    assert (answer.usage.calls, answer.usage.cost, answer.usage.presumed, answer.usage.estimated) == (1, 0, 100, 1)
    assert (answer.usage.input_tokens, answer.usage.output_tokens > 20) == (11, True)
    assert (purse.settled[1].billed, purse.settled[1].estimated) == ("unknown", True)


async def test_a_long_piece_counts_as_more_than_one_token() -> None:
    parts = [chunk("x" * 1600), chunk("y" * 16), chunk(finish_reason="stop"), DONE]

    async with metered(lambda request: Stream(parts, delay=0.02)) as (models, _):
        with paid_by(Purse(cap=99)):
            answer = await complete(models.get("box/small"), ChatRequest(ASKED))

    assert (answer.text, answer.cut) == ("x" * 1600, True)


async def test_thoughts_that_are_said_under_two_names_count_once() -> None:
    both = [chunk(delta={"reasoning": f"{n}", "reasoning_content": f"{n}"}) for n in range(15)]
    parts = [*both, chunk("so"), chunk(finish_reason="stop", usage=USAGE), DONE]

    async with metered(lambda request: Stream(parts, delay=0.001)) as (models, _):
        with paid_by(Purse(cap=20)) as purse:
            answer = await complete(models.get("box/small"), ChatRequest(ASKED))

    assert (answer.text, answer.cut, purse.settled) == ("so", False, {1: TOLD})


async def test_choices_that_nobody_asked_for_count_too() -> None:
    async def endless() -> AsyncIterator[Any]:
        yield chunk("begun ")
        while True:
            yield {"choices": [{"index": 1, "delta": {"content": "word "}}]}
            await asyncio.sleep(0.001)

    async with metered(lambda request: Stream(endless())) as (models, server):
        with paid_by(Purse(cap=20)) as purse:
            answer = await complete(models.get("box/small"), ChatRequest(ASKED))
        await asyncio.wait_for(server.left.wait(), 40)

    assert (answer.text, answer.cut, purse.settled[1].billed) == ("begun ", True, "unknown")


async def test_what_was_counted_before_the_last_words_is_not_what_they_cost() -> None:
    parts = [chunk("on ", usage=USAGE), chunk("its way"), chunk(finish_reason="stop"), DONE]

    purse = await outcome(lambda request: Stream(parts), purse=Purse(cap=20))

    assert purse.settled == {1: CallOutcome("reported", 11, 3, answered=True, estimated=True)}


async def test_thoughts_that_are_counted_in_the_total_alone_are_paid_for() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 110}

    purse = await outcome(lambda request: Reply(completion("so", usage=usage)))

    assert purse.settled == {1: CallOutcome("reported", 7, 103, answered=True, reasoning=100)}


@pytest.mark.parametrize(
    ("reply", "used"),
    [
        (Reply({"error": {"message": "no"}}, 401), CallOutcome("nothing", answered=True)),
        (
            Reply({"error": {"message": "slow"}}, 429, {"retry-after": "2"}),
            CallOutcome("nothing", limited=True, pause=2.0, answered=True),
        ),
        (Reply({"error": {"message": "late"}}, 408), replace(LOST, down="model")),
        (
            Reply({"error": {"message": "out of order"}}, 503, {"retry-after": "1"}),
            replace(LOST, pause=1.0, down="model"),
        ),
        (Reply({"error": {"message": "no", "code": 400}}), replace(LOST, answered=True)),
        (Reply("no JSON"), replace(LOST, answered=True)),
        (Reply(completion("")), TOLD),
        (Reply(completion("so", usage=None)), CallOutcome("reported", 11, 1, answered=True, estimated=True)),
        (None, replace(LOST, down="model")),
    ],
    ids=["401", "429", "408", "503", "error in a 200", "no JSON", "empty answer", "no usage", "hung up"],
)
async def test_what_a_call_may_cost_is_told_by_what_became_of_it(reply: Reply | None, used: CallOutcome) -> None:
    assert (await outcome(lambda request: reply)).settled == {1: used}


async def test_a_stream_that_breaks_off_may_have_cost_anything() -> None:
    # some servers tell their usage as they go, which is not what they charge in the end
    part = chunk("on its", usage=USAGE)

    purse = await outcome(lambda request: Stream([part], cut=True), purse=Purse(cap=50))

    assert purse.settled == {1: CallOutcome("unknown", 7, 3, down="model")}


async def test_a_late_answer_may_have_cost_anything_and_an_unreached_server_costs_nothing() -> None:
    async def never(request: Received) -> None:
        await asyncio.sleep(60)

    late = await outcome(never, timeout=0.2)
    models = MeteredModels(OpenAIModels({"SWARM_ENDPOINT_BOX_URL": "http://127.0.0.1:9/v1"}))
    with paid_by(Purse()) as purse, pytest.raises(ModelUnavailable):
        await complete(models.get("box/small"), ChatRequest(ASKED))

    assert late.settled == {1: replace(LOST, down="model")}
    assert purse.settled == {1: CallOutcome("nothing", down="endpoint")}


@pytest.mark.parametrize(("status", "probe", "spared"), [(503, True, True), (503, False, False), (401, True, False)])
async def test_who_tries_out_for_all_others_what_was_failing_loses_no_attempt_over_it(
    status: int, probe: bool, spared: bool
) -> None:
    class Trying(Purse):
        async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
            return Reservation(1, model, probe=probe)

    async with metered(lambda request: Reply({"error": {"message": "no"}}, status)) as (models, _):
        with paid_by(Trying()) as purse, pytest.raises(ExpertError) as caught:
            await complete(models.get("box/small"), ChatRequest(ASKED))

    assert (caught.value.call.limited, caught.value.call.breaker_open) == (spared, spared)
    assert not purse.settled[1].limited, "that is no matter of the server's limits"


async def test_asking_in_another_way_after_a_refusal_costs_nothing_more() -> None:
    def script(request: Received) -> Reply:
        refused = Reply({"error": {"message": "response_format is not supported"}}, 400)
        return refused if "response_format" in request.body else Reply(completion('{"a": 1}'))

    purse = await outcome(script, format=FORM)

    assert len(purse.reserved) == 1
    assert purse.settled == {1: TOLD}


async def test_each_request_that_failed_and_may_be_charged_has_a_hold_of_its_own() -> None:
    def script(request: Received) -> Reply:
        failed = Reply({"error": {"message": "response_format broke the grammar"}}, 500)
        return failed if "response_format" in request.body else Reply(completion('{"a": 1}'))

    async with metered(script) as (models, server):
        with paid_by(Purse()) as purse:
            answer = await complete(models.get("box/small"), ChatRequest(ASKED, format=FORM))
        asked = len(server.requests)
    async with metered(script) as (models, server):
        with paid_by(Purse(room=1)) as poor, pytest.raises(Unaffordable):
            await complete(models.get("box/small"), ChatRequest(ASKED, format=FORM))

    assert len(purse.reserved) == asked > 1
    assert [used.billed for used in purse.settled.values()] == ["unknown"] * (asked - 1) + ["reported"]
    lost = Usage(calls=1, input_tokens=11, presumed=100, estimated=1, unknown=1)
    assert answer.usage == sum([lost] * (asked - 1), Usage(calls=1, input_tokens=7, output_tokens=3, cost=10))
    assert len(server.requests) == 1
    assert poor.settled == {1: LOST}


async def test_cached_tokens_are_told_apart() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 64}}

    purse = await outcome(lambda request: Reply(completion("yes", usage=usage)))

    assert purse.settled == {1: CallOutcome("reported", 100, 3, cached=64, answered=True)}


@pytest.mark.parametrize(("allowed", "down"), [(0.505, ["model"]), (60.0, [""])])
async def test_a_call_that_is_cancelled_as_its_time_is_up_says_that_its_model_does_not_answer(
    allowed: float, down: list[str]
) -> None:
    async def never(request: Received) -> str:
        await asyncio.Event().wait()
        return ""

    await outcome(lambda request: "the client is loaded")
    async with metered(never) as (models, _):
        with paid_by(Purse()) as purse, pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await complete(models.get("box/small"), ChatRequest(ASKED, timeout=allowed))

    assert [used.down for used in purse.settled.values()] == down


async def test_a_call_that_is_given_up_stays_held() -> None:
    async with metered(lambda request: Stream(map(chunk, ["word "] * 50), delay=0.01)) as (models, _):
        with paid_by(Purse(cap=90)) as purse:
            async with aclosing(models.get("box/small").stream(ChatRequest(ASKED))) as items:
                assert await anext(items) == "word "

    assert purse.settled == {1: CallOutcome("unknown", 11, 2, estimated=True, left=True)}


async def test_nobody_pays_for_local_models_or_outside_a_delivery() -> None:
    models = MeteredModels(ScriptedModels(lambda messages: "yes"))
    with paid_by(Purse()) as purse:
        await complete(models.get("local/scripted"), ChatRequest(ASKED))
    answer = await complete(models.get("box/small"), ChatRequest(ASKED))
    streamed = [item async for item in models.get("box/small").stream(ChatRequest(ASKED))]

    assert purse.reserved == []
    assert answer.text == "yes"
    assert isinstance(streamed[-1], Completion)


async def test_what_is_refused_by_the_account_is_not_asked() -> None:
    async with metered(lambda request: "yes") as (models, server):
        with paid_by(Purse(room=0)), pytest.raises(Unaffordable):
            await complete(models.get("box/small"), ChatRequest(ASKED))

    assert server.requests == []


async def test_half_an_answer_without_words_is_an_error_that_may_have_cost_anything() -> None:
    async def thinking() -> AsyncIterator[Any]:
        while True:
            yield chunk(delta={"reasoning_content": "hm "})
            await asyncio.sleep(0.001)

    async with metered(lambda request: Stream(thinking())) as (models, _):
        with paid_by(Purse(cap=20)) as purse, pytest.raises(BadOutput, match="was thinking; raise max_tokens"):
            await complete(models.get("box/small"), ChatRequest(ASKED))

    used = purse.settled[1]
    assert (used.billed, used.answered, used.estimated) == ("unknown", True, True)
    assert (used.sent, 20 < used.received < 30) == (prompt_tokens(ASKED), True)
