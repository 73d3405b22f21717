"""Streams and forms over a real HTTP server on loopback: what is sent, what ends a stream, what is remembered."""

from __future__ import annotations

import asyncio
import gzip
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from swarm.errors import BadOutput, ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, Completion, Message, ResponseFormat, complete
from swarm.llm.endpoint_config import Timeouts
from swarm.llm.metered import ACCOUNT, CallOutcome, MeteredModel, Reservation
from swarm.llm.openai.models import OpenAIModel, OpenAIModels
from swarm.llm.openai.response_parser import MAX_RESPONSE, ServerError
from swarm.llm.openai.structured_output import LIMITS, WAYS, Way
from swarm.llm.openai.timeouts import CallTimeouts
from swarm.llm.openai.transport import MAX_ERROR
from swarm.llm.openai.usage import prompt_tokens
from swarm.testing.dialects import Dialect, Fit
from swarm.testing.model_server import DONE, Answer, ModelServer, Received, Reply, Script, Stream, chunk, completion
from swarm.types.result import Usage

KEY = "sk-secret-1234567890"
HELLO = [Message("user", "hello")]
FORM = ResponseFormat("plan", {"type": "object", "properties": {"steps": {"type": "array"}}})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def served(
    script: Script, *, delay: float = 0.0, clock: Clock | None = None
) -> AsyncIterator[tuple[ModelServer, OpenAIModel]]:
    async with ModelServer(script, delay=delay) as server:
        environ = {"SWARM_ENDPOINT_BOX_URL": server.url, "SWARM_ENDPOINT_BOX_KEY": KEY}
        async with OpenAIModels(environ, clock or time.monotonic) as models:
            yield server, models.get("box/small")


async def heard(
    model: OpenAIModel, form: ResponseFormat | None = None, timeout: float = 5.0
) -> tuple[list[str], Completion]:
    """The pieces of a stream and its end."""
    items = [item async for item in model.stream(ChatRequest(HELLO, format=form, timeout=timeout))]
    assert isinstance(items[-1], Completion)
    return [item for item in items if isinstance(item, str)], items[-1]


async def failure(script: Script, *, streamed: bool = True, timeout: float = 5.0) -> ExpertError:
    async with served(script) as (server, model):
        with pytest.raises((ModelUnavailable, ModelRefused, BadOutput)) as caught:
            await (heard(model, timeout=timeout) if streamed else complete(model, ChatRequest(HELLO, timeout=timeout)))
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1
    return caught.value


def way(request: Received) -> str:
    """How a request asks for its form."""
    if kind := request.body.get("response_format"):
        return str(kind["type"])
    return "tool" if "tools" in request.body else "words" if "JSON schema" in str(request.body["messages"]) else ""


def ways(server: ModelServer) -> list[str]:
    return [way(request) for request in server.requests]


def refusing(*refused: str, status: int = 400, said: str = "response_format and tools are not supported") -> Script:
    def answer(request: Received) -> Answer:
        return Reply({"error": {"message": said}}, status) if way(request) in refused else '{"steps": []}'

    return answer


# -- streams -----------------------------------------------------------------------------------------------------


async def test_a_stream_comes_in_pieces_and_ends_with_the_whole() -> None:
    async with served(lambda request: f"you said {request.last}, and that is that") as (server, model):
        pieces, whole = await heard(model)

    assert len(pieces) > 3
    assert "".join(pieces) == whole.text == "you said hello, and that is that"
    assert whole.usage == Usage(calls=1, input_tokens=prompt_tokens(HELLO), output_tokens=8)
    assert whole.model == "box/small"
    assert server.requests[0].body["stream"] is True
    assert server.requests[0].body["stream_options"] == {"include_usage": True}


async def test_pieces_come_while_the_server_still_writes() -> None:
    async with served(lambda request: "one two three four five six", delay=0.03) as (server, model):
        stream = model.stream(ChatRequest(HELLO))
        assert await anext(stream) == "one "
        assert server.open == 1
        rest = [item async for item in stream]

    assert isinstance(rest[-1], Completion)


async def test_closing_a_stream_hangs_up_at_once() -> None:
    async with served(lambda request: "word " * 400, delay=0.02) as (server, model):
        async with aclosing(model.stream(ChatRequest(HELLO))) as stream:
            await anext(stream)
        async with asyncio.timeout(40):
            await server.left.wait()

        assert (server.hung_up, server.open) == (1, 0)


async def test_cancelling_whoever_reads_a_stream_hangs_up() -> None:
    begun = asyncio.Event()

    async def words() -> AsyncIterator[object]:
        while True:
            yield chunk("word ")
            begun.set()
            await asyncio.sleep(0.02)

    async with served(lambda request: Stream(words())) as (server, model):
        reading = asyncio.create_task(heard(model))
        await begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        async with asyncio.timeout(40):
            await server.left.wait()


async def test_a_stream_that_never_ends_is_left_at_the_time_limit() -> None:
    async def forever() -> AsyncIterator[object]:
        while True:
            yield chunk("on and ")
            await asyncio.sleep(0.01)

    assert "no answer within 0.3 s" in str(await failure(lambda request: Stream(forever()), timeout=0.3))


async def test_a_stream_of_nothing_but_comments_is_left_at_the_time_limit() -> None:
    async def forever() -> AsyncIterator[str]:
        while True:
            yield ": keep-alive\n\n"

    assert "no answer within 0.3 s" in str(await failure(lambda request: Stream(forever()), timeout=0.3))


async def test_a_finished_stream_does_not_wait_for_a_server_that_holds_on() -> None:
    async def holds() -> AsyncIterator[object]:
        for part in (chunk("done"), chunk(finish_reason="stop"), DONE):
            yield part
        await asyncio.sleep(60)

    async with served(lambda request: Stream(holds())) as (_, model):
        async with asyncio.timeout(40):
            assert (await heard(model))[1].text == "done"


@pytest.mark.parametrize(
    "parts",
    [
        Stream([chunk("half an ans")], cut=True),
        Stream([chunk("half an ans")]),
        Stream([chunk("half"), 'data: {"choi'], cut=True),
        Stream([]),
        Stream([chunk("half"), {"error": {"message": "upstream went away", "code": "500"}}, DONE]),
        Stream([chunk("half"), {"error": {"message": "slow down", "code": 429}}]),
        None,
    ],
)
async def test_a_stream_that_breaks_off_is_unavailable_and_not_repeated(parts: Stream | None) -> None:
    assert isinstance(await failure(lambda request: parts), ModelUnavailable)


async def test_an_error_in_a_stream_is_of_the_class_it_names() -> None:
    error = await failure(lambda request: Stream([{"error": {"message": f"bad key {KEY}", "code": "401"}}]))

    assert isinstance(error, ModelRefused)
    assert "check the key" in str(error)


async def test_a_server_that_cannot_stream_answers_whole() -> None:
    async with served(lambda request: Reply(completion("all at once"))) as (_, model):
        assert await heard(model) == (["all at once"], await complete(model, ChatRequest(HELLO)))


NO_GZIP = b"\x1f\x8b\x08 this is no gzip"
RUBBISH = {
    "html": Reply("<html><body>Welcome to nginx</body></html>", headers={"content-type": "text/html"}),
    "no gzip": Reply(NO_GZIP, headers={"content-encoding": "gzip"}),
    "half a gzip": Reply(gzip.compress(b'{"choices": []')[:-9], headers={"content-encoding": "gzip"}),
    "bytes": Reply(b"\xff\xfe\x00\x80" * 50),
    "nothing": Reply("", headers={"content-type": "text/event-stream"}),
    "no end": Reply(b"{" * (MAX_RESPONSE + 1)),
    "one long line": Reply(b"data: " + b"x" * 10_000_000),
    "an event that is no json": Reply("data: certainly\n\n"),
    "an error": Reply({"error": {"message": "upstream gone"}}),
    "an error that is no gzip": Reply(NO_GZIP, 500, {"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("reply", RUBBISH.values(), ids=RUBBISH)
async def test_rubbish_is_a_typed_error_that_may_pass(reply: Reply, streamed: bool) -> None:
    error = await failure(lambda request: reply, streamed=streamed)

    assert isinstance(error, (BadOutput, ModelUnavailable))


async def test_half_a_character_at_the_end_of_a_chunk_is_no_matter() -> None:
    body = 'data: {"choices": [{"delta": {"content": "žluťoučký kůň 😀"}, "finish_reason": "stop"}]}\n\n'.encode()
    async with served(lambda request: Stream([body[at : at + 1] for at in range(len(body))])) as (_, model):
        assert (await heard(model))[1].text == "žluťoučký kůň 😀"


async def test_an_error_says_what_the_server_counted_before_it() -> None:
    counted = {"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 400}}
    parts: list[object] = [chunk(finish_reason="length"), counted]
    empty = await failure(lambda request: Stream(parts))
    broken = await failure(lambda request: Stream([chunk("hel"), counted], cut=True))
    away = await failure(lambda request: Reply("no", 503))

    assert isinstance(empty, BadOutput)
    assert isinstance(broken, ModelUnavailable)
    assert [error.call.tokens for error in (empty, broken, away)] == [(900, 400), (900, 400), (0, 0)]
    assert not any(error.call.estimated for error in (empty, broken, away))


async def test_an_error_of_an_answer_that_nobody_counted_says_an_estimate() -> None:
    broken = await failure(lambda request: Stream([chunk("hello there, "), chunk("dear")], cut=True))
    before = await failure(lambda request: Stream([": on its way\n\n"], cut=True))

    assert (broken.call.tokens, broken.call.estimated) == ((prompt_tokens(HELLO), 5), True)
    assert (before.call.tokens, before.call.estimated) == ((0, 0), False)


async def test_a_number_that_no_call_uses_is_no_count_of_tokens() -> None:
    async with served(lambda request: Reply(completion("hello") | {"usage": {"prompt_tokens": 10**300}})) as (_, model):
        assert (await complete(model, ChatRequest(HELLO))).usage.input_tokens < 100


async def test_an_unknown_model_is_told_with_what_to_check() -> None:
    error = await failure(lambda request: Reply({"error": {"message": "no such model"}}, 404))

    assert "check that 'small' is a model of the endpoint 'box'" in str(error)


async def test_the_package_is_loaded_without_holding_up_the_process() -> None:
    code = (
        "import asyncio, sys, threading\n"
        "from swarm.llm.base import ChatRequest, complete\n"
        "from swarm.llm.openai.models import OpenAIModels\n"
        "slow = ('openai', 'openai.resources.chat.completions.completions', 'anyio._backends._asyncio')\n"
        "class Spy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in slow: threads.append(threading.current_thread() is threading.main_thread())\n"
        "threads = []\n"
        "sys.meta_path.insert(0, Spy())\n"
        "async def main():\n"
        "    async with OpenAIModels({'SWARM_ENDPOINT_BOX_URL': 'http://127.0.0.1:9/v1'}) as models:\n"
        "        call = complete(models.get('box/x'), ChatRequest([]))\n"
        "        await asyncio.gather(call, models.warm(), return_exceptions=True)\n"
        "asyncio.run(main())\n"
        "sys.exit(threads != [False] * 3)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)

    assert await process.wait() == 0


async def test_an_error_without_end_is_read_to_its_cap_only() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Broken\r\ncontent-type: text/plain\r\n\r\nall is lost ")
        try:
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()
                sent += 10_000
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": url}) as models:
        with pytest.raises(ModelUnavailable, match="HTTP 500"):
            await complete(models.get("box/small"), ChatRequest(HELLO, timeout=5))

    assert sent < 20_000_000


async def test_an_error_that_grows_when_it_is_unpacked_is_read_to_its_cap_only() -> None:
    bomb = Reply(gzip.compress(b"all is lost " * 3_000_000), 500, {"content-encoding": "gzip"})
    async with served(lambda request: bomb) as (_, model):
        timeouts = CallTimeouts.of(Timeouts(), 5, asyncio.get_running_loop().time())
        with pytest.raises(ServerError) as caught:
            await model.connection.read("models", {}, timeouts, "box")

    assert str(caught.value.body).startswith("all is lost all is lost")
    assert len(str(caught.value.body)) <= MAX_ERROR


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
    assert (purse.held, [used.billed for used in purse.settled]) == (1, ["told"])
    assert found.usage.cost == 1


async def test_the_time_limit_covers_all_ways_together() -> None:
    async def slow(request: Received) -> Answer:
        await asyncio.sleep(1.0)
        return Reply({"error": {"message": "response_format and tools are not supported"}}, 400)

    async with served(slow) as (server, model):
        with pytest.raises(ModelUnavailable, match=r"no answer within 1\.8 s"):
            await complete(model, ChatRequest(HELLO, format=FORM, timeout=1.8))
    assert len(server.requests) == 2
