"""Streams over a real HTTP server on loopback: what is sent, and what ends a stream."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from swarm.errors import BadOutput, ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, Completion, complete
from swarm.llm.endpoint_config import Timeouts
from swarm.llm.openai.models import OpenAIModels
from swarm.llm.openai.response_parser import ServerError
from swarm.llm.openai.sse_parser import MAX_RESPONSE
from swarm.llm.openai.timeouts import CallTimeouts
from swarm.llm.openai.transport import MAX_ERROR
from swarm.llm.openai.usage import prompt_tokens
from swarm.testing.model_server import DONE, Reply, Script, Stream, chunk, completion
from swarm.types.result import Usage
from tests.integration.llm.openai.served import HELLO, KEY, heard, served


async def failure(script: Script, *, streamed: bool = True, timeout: float = 5.0) -> ExpertError:
    async with served(script) as (server, model):
        with pytest.raises((ModelUnavailable, ModelRefused, BadOutput)) as caught:
            await (heard(model, timeout=timeout) if streamed else complete(model, ChatRequest(HELLO, timeout=timeout)))
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1
    return caught.value


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
            await complete(models.get("box/small"), ChatRequest(HELLO, timeout=40))

    assert sent < 20_000_000


async def test_an_error_that_grows_when_it_is_unpacked_is_read_to_its_cap_only() -> None:
    bomb = Reply(gzip.compress(b"all is lost " * 3_000_000), 500, {"content-encoding": "gzip"})
    async with served(lambda request: bomb) as (_, model):
        timeouts = CallTimeouts.of(Timeouts(), 5, asyncio.get_running_loop().time())
        with pytest.raises(ServerError) as caught:
            await model.connection.read("models", {}, timeouts, "box")

    assert str(caught.value.body).startswith("all is lost all is lost")
    assert len(str(caught.value.body)) <= MAX_ERROR
