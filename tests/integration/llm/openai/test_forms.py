"""Forms over a real HTTP server on loopback: which way is asked in, and what is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from swarm.errors import ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, ResponseFormat, complete
from swarm.llm.metered import ACCOUNT, CallOutcome, MeteredModel, Reservation
from swarm.llm.openai.structured_output import LIMITS, WAYS, Way
from swarm.testing.dialects import Dialect, Fit
from swarm.testing.model_server import DONE, Answer, ModelServer, Received, Reply, Script, Stream, chunk
from swarm.types.result import Usage
from tests.integration.llm.openai.served import HELLO, Clock, heard, served, way

FORM = ResponseFormat("plan", {"type": "object", "properties": {"steps": {"type": "array"}}})


def ways(server: ModelServer) -> list[str]:
    return [way(request) for request in server.requests]


def refusing(*refused: str, status: int = 400, said: str = "response_format and tools are not supported") -> Script:
    def answer(request: Received) -> Answer:
        return Reply({"error": {"message": said}}, status) if way(request) in refused else '{"steps": []}'

    return answer


# -- forms -------------------------------------------------------------------------------------------------------


async def test_without_a_form_nothing_is_said_about_one() -> None:
    async with served(lambda request: "hello") as (server, model):
        answer = await complete(model, ChatRequest(HELLO, max_tokens=5))

    assert answer.asked_by == ""
    assert server.requests[0].body == {
        "model": "small",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_a_server_that_cannot_stream_is_asked_for_the_whole_once_and_remembered() -> None:
    def whole_only(request: Received) -> Answer:
        if request.streamed:
            return Reply({"error": {"message": "streaming is not supported by this model"}}, 400)
        return "all at once"

    async with served(whole_only) as (server, model):
        assert await heard(model) == (["all at once"], await complete(model, ChatRequest(HELLO)))

    assert [request.streamed for request in server.requests] == [True, False, False]


@pytest.mark.parametrize("how", ["cancelled", "late"])
async def test_a_whole_answer_that_is_given_up_frees_its_server(how: str) -> None:
    asked = asyncio.Event()

    def words(request: Received) -> Answer:
        asked.set()
        return "word " * 400

    async with served(words, delay=0.02) as (server, model):
        call = asyncio.create_task(complete(model, ChatRequest(HELLO, timeout=0.3 if how == "late" else 30)))
        async with asyncio.timeout(40):
            await asked.wait()
            if how == "cancelled":
                call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await server.left.wait()

    assert (server.hung_up, server.open) == (1, 0)


@pytest.mark.parametrize(("refused", "taken"), [(WAYS[:count], way) for count, way in enumerate(WAYS)])
async def test_the_best_way_that_is_taken_is_found_once_and_kept_for_an_hour(
    refused: Sequence[Way], taken: Way
) -> None:
    clock, fits = Clock(), dict[str, Fit](dict.fromkeys(refused, "refuses"))
    dialect = Dialect(
        "picky",
        json_schema=fits.get("json_schema", "honours"),
        json_object=fits.get("json_object", "honours"),
        tool=fits.get("tool", "honours"),
        refusal=Reply({"detail": "response_format and tools are not supported"}, 400),
    )
    async with served(dialect.speaks(lambda request: '{"steps": []}'), clock=clock) as (server, model):
        for streamed in (True, False, True):
            answer = (
                (await heard(model, FORM))[1] if streamed else await complete(model, ChatRequest(HELLO, format=FORM))
            )
            assert (answer.text, answer.asked_by) == ('{"steps": []}', taken)
        assert ways(server) == [*refused, taken, taken, taken]

        clock.now = 3601
        await complete(model, ChatRequest(HELLO, format=FORM))
        assert ways(server)[len(refused) + 3 :] == [*refused, taken]


async def test_a_refusal_without_a_reason_costs_one_more_request() -> None:
    async with served(refusing("json_schema", status=500, said="Internal Server Error")) as (server, model):
        assert (await complete(model, ChatRequest(HELLO, format=FORM))).asked_by == "json_object"
        await complete(model, ChatRequest(HELLO, format=FORM))
    assert ways(server) == ["json_schema", "json_object", "json_object"]

    script = refusing("json_schema", "json_object", status=500, said="Internal Server Error")
    async with served(script) as (server, model):
        with pytest.raises(ModelUnavailable, match="Internal Server Error"):
            await complete(model, ChatRequest(HELLO, format=FORM))
    assert ways(server) == ["json_schema", "json_object"]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
async def test_a_wrong_key_a_missing_model_or_a_busy_server_is_asked_once(status: int) -> None:
    async with served(refusing("json_schema", status=status)) as (server, model):
        with pytest.raises((ModelRefused, ModelUnavailable)):
            await complete(model, ChatRequest(HELLO, format=FORM))
    assert ways(server) == ["json_schema"]


async def test_a_way_that_worked_is_kept_through_a_passing_failure() -> None:
    replies: list[Answer] = ['{"steps": []}', Reply("oops", 500), '{"steps": [1]}']
    async with served(lambda request: replies.pop(0)) as (server, model):
        await complete(model, ChatRequest(HELLO, format=FORM))
        with pytest.raises(ModelUnavailable):
            await complete(model, ChatRequest(HELLO, format=FORM))
        await complete(model, ChatRequest(HELLO, format=FORM))
    assert ways(server) == ["json_schema"] * 3


async def test_a_server_that_ignores_forms_is_asked_by_tool_and_then_in_words() -> None:
    def answer(request: Received) -> str:
        return '{"steps": []}' if way(request) == "words" else "First I would look around."

    async with served(answer) as (server, model):
        said = [(await heard(model, FORM))[1].text for _ in range(5)]

    assert ways(server) == ["json_schema", "json_schema", "tool", "words", "words"]
    assert said[3:] == ['{"steps": []}'] * 2


async def test_one_chatty_answer_changes_nothing_for_the_requests_after_it() -> None:
    answers = iter(['{"steps": []}', "First I would look around.", "Well, well.", '{"steps": []}'])

    async with served(lambda request: next(answers)) as (server, model):
        for _ in range(4):
            await heard(model, FORM)

    assert ways(server) == ["json_schema"] * 4


async def test_a_refusal_inside_a_stream_goes_down_while_nothing_was_written() -> None:
    def answer(request: Received) -> Answer:
        error = {"error": {"message": "upstream: response_format is not supported", "code": "500"}}
        return Stream([error, DONE]) if way(request) == "json_schema" else '{"steps": []}'

    async with served(answer) as (server, model):
        assert (await heard(model, FORM))[1].asked_by == "json_object"
    assert ways(server) == ["json_schema", "json_object"]


async def test_nothing_is_repeated_once_a_piece_was_given() -> None:
    parts = [chunk('{"st'), {"error": {"message": "response_format is not supported", "code": "500"}}]
    async with served(lambda request: Stream(parts)) as (server, model):
        with pytest.raises(ModelUnavailable):
            await heard(model, FORM)
    assert ways(server) == ["json_schema"]


async def test_a_server_without_stream_options_is_asked_without_them() -> None:
    def answer(request: Received) -> Answer:
        if "stream_options" in request.body:
            return Reply(
                {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, 422
            )
        return '{"steps": []}'

    async with served(answer) as (server, model):
        assert (await heard(model, FORM))[1].asked_by == "json_schema"
        assert (await heard(model))[1].usage.estimated == 1
    assert ["stream_options" in request.body for request in server.requests] == [True, False, False]


def knowing(limit: str, status: int = 400, said: str = "Unsupported parameter: '{}' is not supported.") -> Script:
    """A server that knows one name for the most that an answer may have, and refuses the other."""

    def answer(request: Received) -> Answer:
        other = next(name for name in LIMITS if name != limit)
        if other in request.body:
            return Reply({"error": {"message": said.format(other), "param": other}}, status)
        return '{"steps": []}'

    return answer


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Unsupported parameter: '{}' is not supported with this model. Use the other one instead."),
        (400, "Unrecognized request argument supplied: {}"),
        (422, "[{{'type': 'extra_forbidden', 'loc': ('body', '{}'), 'msg': 'Extra inputs are not permitted'}}]"),
        (400, 'json: unknown field "{}"'),
    ],
)
async def test_a_server_that_knows_another_name_for_the_limit_is_asked_by_that_for_an_hour(
    status: int, said: str
) -> None:
    clock = Clock()
    async with served(knowing("max_completion_tokens", status, said), clock=clock) as (server, model):

        async def names(form: ResponseFormat | None) -> list[str]:
            server.requests.clear()
            assert (await complete(model, ChatRequest(HELLO, max_tokens=5, format=form))).asked_by == (
                "json_schema" if form else ""
            )
            return [name for request in server.requests for name in LIMITS if request.body.get(name) == 5]

        assert await names(FORM) == ["max_tokens", "max_completion_tokens"]
        assert await names(None) == await names(FORM) == ["max_completion_tokens"]
        clock.now = 3601
        assert await names(FORM) == ["max_tokens", "max_completion_tokens"]

        server.script = knowing("max_tokens", status, said)
        assert await names(FORM) == ["max_completion_tokens", "max_tokens"]
        assert await names(None) == ["max_tokens"]


@pytest.mark.parametrize(
    ("status", "said", "asked"),
    [
        (400, "max_tokens is too large: 5. This model supports at most 4 completion tokens", 1),
        (400, "Invalid 'max_tokens': integer above maximum value", 1),
        (500, "got an unexpected keyword argument 'max_tokens'", 1),
        (400, "Unsupported parameters: max_tokens, max_completion_tokens", 2),
    ],
)
async def test_a_limit_is_said_otherwise_only_where_its_name_is_refused_and_once(
    status: int, said: str, asked: int
) -> None:
    async with served(lambda request: Reply({"error": {"message": said}}, status)) as (server, model):
        with pytest.raises((ModelRefused, ModelUnavailable)):
            await complete(model, ChatRequest(HELLO, max_tokens=5))
    assert len(server.requests) == asked


class Purse:
    """An account that counts what it holds."""

    def __init__(self) -> None:
        self.held = 0
        self.settled: list[CallOutcome] = []

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        self.held += 1
        return Reservation(self.held, model, 5, 100)

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        self.settled.append(used)
        return Usage(cost=1)


async def test_a_request_that_is_refused_for_the_name_of_its_limit_shares_its_hold_with_the_next() -> None:
    async with served(knowing("max_completion_tokens")) as (server, model):
        token = ACCOUNT.set(purse := Purse())
        found = await complete(MeteredModel(model), ChatRequest(HELLO))
        ACCOUNT.reset(token)

    assert len(server.requests) == 2
    assert (purse.held, [used.billed for used in purse.settled]) == (1, ["reported"])
    assert found.usage.cost == 1


async def test_the_time_limit_covers_all_ways_together() -> None:
    async def slow(request: Received) -> Answer:
        await asyncio.sleep(1.5)
        return Reply({"error": {"message": "response_format and tools are not supported"}}, 400)

    async with served(slow) as (server, model):
        with pytest.raises(ModelUnavailable, match=r"no answer within 2\.8 s"):
            await complete(model, ChatRequest(HELLO, format=FORM, timeout=2.8))
    assert len(server.requests) == 2
