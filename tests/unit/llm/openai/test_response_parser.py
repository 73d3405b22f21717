"""Bodies and event streams, byte by byte."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import BadOutput, ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.base import Completion
from swarm.llm.openai.response_parser import MAX_STREAM, ResponseParser, ServerError
from swarm.llm.openai.sse_parser import SseParser
from swarm.testing.model_server import DONE, chunk, completion
from swarm.testing.openai_payloads import USAGE
from swarm.types.result import Usage

END = chunk(finish_reason="stop")


def event(data: object, ending: str = "\n\n", before: str = "data: ") -> str:
    return f"{before}{data if isinstance(data, str) else json.dumps(data)}{ending}"


def stream(*data: object) -> bytes:
    return "".join(event(part) for part in data).encode()


def read(chunks: Iterable[bytes], *, tool: bool = False, streamed: bool = True) -> tuple[list[str], Completion]:
    reader = ResponseParser(streamed=streamed, tool=tool)
    pieces = [piece for part in chunks for piece in reader.feed(part)]
    pieces += reader.end()
    return pieces, reader.completion("a/b", "")


def text_of(*data: object, tool: bool = False) -> str:
    return read([stream(*data)], tool=tool)[1].text


def calling(arguments: object, index: int = 0) -> dict[str, object]:
    return chunk(delta={"tool_calls": [{"index": index, "function": {"name": "plan", "arguments": arguments}}]})


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_no_bytes_raise_anything_but_a_typed_error(body: bytes, tool: bool, streamed: bool) -> None:
    for given_body in (body, b"data: " + body + b"\n\n", stream(chunk("x")) + body):
        try:
            read([given_body], tool=tool, streamed=streamed)
        except (ExpertError, ServerError):
            continue


USUAL = {
    "no space": event(chunk("hi"), "\n\n", "data:") + event(END),
    "crlf": event(chunk("hi"), "\r\n\r\n") + event(END, "\r\n\r\n") + "data: [DONE]\r\n\r\n",
    "comments": ": keep-alive\n\n" + event(chunk("hi")) + ":\n\nid: 4\nretry: 10\n\n" + event(END),
    "byte order mark": "\ufeff\n" + event(chunk("hi")) + event(END),
    "several lines": event(json.dumps(chunk("hi"), indent=1).replace("\n", "\ndata: ")) + event(END),
    "named": "event: message\n" + event(chunk("hi")) + event(END),
    "no last empty line": event(chunk("hi")) + event(END, ""),
    "done alone": event(chunk("hi")) + DONE,
    "after done": event(chunk("hi")) + DONE + event("after the end"),
    "end with text": event(chunk("hi", finish_reason="stop")),
    "role first": event(chunk(delta={"role": "assistant", "content": ""})) + event(chunk("hi")) + event(END),
    "thinking first": event(chunk(delta={"reasoning_content": "hm"})) + event(chunk("hi")) + event(END),
    "second choice": event(chunk("hi")) + event(chunk(choices=[{"index": 1, "delta": {"content": "no"}}])) + event(END),
    "whole message at the end": event(chunk("hi"))
    + event(chunk(choices=[{"index": 0, "delta": {}, "message": {"content": "hi"}, "finish_reason": "stop"}])),
    "a whole body": json.dumps(completion("hi")),
    "a whole body after space": "\n " + json.dumps(completion("hi")),
}


@pytest.mark.parametrize("body", USUAL.values(), ids=USUAL)
def test_every_usual_stream_is_read(body: str) -> None:
    assert read([body.encode()])[1].text == "hi"


@pytest.mark.parametrize(
    "body",
    ["", ": nothing\n\n", event(chunk("hi")), event(chunk("hi")) + 'data: {"choices": [{"de', "what is this\n\n"],
    ids=["nothing", "comments", "no end", "half an event", "no events"],
)
def test_a_stream_without_an_end_broke_off(body: str) -> None:
    with pytest.raises((ModelUnavailable, BadOutput), match=r"broke off|not JSON"):
        read([body.encode()])


def test_an_escaped_character_cut_in_two_becomes_one() -> None:
    pieces, whole = read([stream(chunk("b\ud83d"), chunk("\ude00b"), END)])

    assert pieces == ["b", "😀b"]
    assert whole.text == "b😀b"


def test_half_a_character_is_replaced_so_that_the_text_can_be_sent_on() -> None:
    assert text_of(chunk("a\udc00b"), chunk("c\ud83d"), END) == "a\ufffdbc\ufffd"
    body = json.dumps(completion("x\ud83dy")).encode()
    assert read([body], streamed=False)[1].text == "x\ufffdy"


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert read([stream(chunk("a?b"), END).replace(b"?", b"\xff")])[1].text == "a\ufffdb"


@pytest.mark.parametrize(
    "last",
    [
        [chunk(finish_reason="stop", usage=USAGE)],
        [END, chunk(choices=[], usage=USAGE)],
        [chunk(usage=None), END, {"usage": USAGE}],
    ],
    ids=["with choices", "empty choices", "no choices"],
)
def test_usage_is_read_wherever_it_stands(last: list[object]) -> None:
    assert read([stream(chunk("hi"), *last, "[DONE]")])[1].usage == Usage(calls=1, input_tokens=7, output_tokens=3)


def test_a_stream_without_usage_counts_what_it_can_see() -> None:
    said = ResponseParser(streamed=True, asked=40)
    list(said.feed(stream(chunk(delta={"reasoning_content": "hm"}), chunk("a parcel is on its way"), END)))

    assert said.completion("a/b", "").usage == Usage(calls=1, input_tokens=40, output_tokens=6, estimated=1)


def test_a_stream_cut_at_the_limit_says_so() -> None:
    assert read([stream(chunk("hi"), chunk(finish_reason="length"))])[1].cut


def test_a_forced_tool_answers_with_its_arguments() -> None:
    assert text_of(calling('{"a"'), calling(": 1}"), chunk(finish_reason="tool_calls"), tool=True) == '{"a": 1}'
    assert text_of(calling({"a": 1}), END, tool=True) == '{"a": 1}'


def test_words_before_a_forced_tool_are_left_out_and_stand_alone_without_it() -> None:
    assert text_of(chunk("Let me see."), calling("{}"), END, tool=True) == "{}"
    assert text_of(chunk("{"), chunk("}"), END, tool=True) == "{}"


def test_a_tool_called_twice_gives_two_lines() -> None:
    assert text_of(calling('{"a":'), calling("1}"), calling('{"b": 2}', 1), END, tool=True) == '{"a":1}\n{"b": 2}'


def test_tools_that_nobody_forced_are_passed_over() -> None:
    assert text_of(calling("{}"), chunk("hi"), END) == "hi"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "x", "code": "429"}, 429),
        ({"message": "x", "code": 400, "type": "server_error"}, 400),
        ({"message": "x", "type": "invalid_request_error", "code": None}, 400),
        ({"message": "x", "code": "insufficient_quota"}, 429),
        ({"message": "x", "code": 7}, 500),
        ("x", 500),
        (True, 500),
    ],
)
def test_an_error_inside_a_200_has_the_status_it_names(error: object, status: int) -> None:
    for body in (stream(chunk("hi"), {"error": error}), json.dumps({"error": error}).encode()):
        with pytest.raises(ServerError) as caught:
            read([body])
        assert caught.value.status == status
        assert caught.value.inside


@pytest.mark.parametrize(
    "body", ['event: error\ndata: {"message": "x"}\n\n', 'error: {"message": "x"}\n\n', "event: error\ndata: x\n\n"]
)
def test_an_error_may_be_an_event_of_its_own(body: str) -> None:
    with pytest.raises(ServerError):
        read([body.encode()])


@pytest.mark.parametrize(
    "parts",
    [
        [chunk(delta={"refusal": "I will "}), chunk(delta={"refusal": "not"}), END],
        [chunk("x", finish_reason="content_filter")],
    ],
)
def test_a_refusal_in_a_stream_is_a_refusal(parts: list[object]) -> None:
    with pytest.raises(ModelRefused, match=r"I will not|content filter"):
        text_of(*parts)


def test_an_answer_that_spent_its_tokens_on_thinking_says_so() -> None:
    with pytest.raises(BadOutput, match="cut at the token limit before its first word"):
        text_of(chunk(finish_reason="length"))


@pytest.mark.parametrize("why", ["length", "max_tokens", "model_length"])
def test_an_answer_that_ended_at_a_limit_is_cut_whatever_its_server_calls_that(why: str) -> None:
    assert read([stream(chunk("half an ans"), chunk(finish_reason=why))])[1].cut


def test_an_answer_that_ended_in_an_error_broke_off() -> None:
    with pytest.raises(ModelUnavailable, match="broke off") as caught:
        text_of(chunk("half an ans"), chunk(finish_reason="error"))

    assert caught.value.call.health == "model"


def fed_until_full(reader: ResponseParser | SseParser, part: bytes, most: int) -> None:
    """Feed `part` again and again, `most` bytes at least, or until the reader has had enough."""
    for _ in range(most // len(part) + 2):
        list(reader.feed(part))


def test_text_without_end_is_given_up_at_the_cap() -> None:
    with pytest.raises(BadOutput, match="8,000,000 characters"):
        fed_until_full(ResponseParser(streamed=True), stream(chunk("x" * 100_000)), MAX_STREAM)


def test_a_stream_without_end_is_given_up_at_the_cap() -> None:
    comment = b":" + b"keep-alive" * 1000 + b"\n"
    with pytest.raises(BadOutput, match="the answer exceeds 64,000,000"):
        fed_until_full(ResponseParser(streamed=True), comment, MAX_STREAM)


def test_a_body_without_end_is_given_up_at_the_cap() -> None:
    with pytest.raises(BadOutput, match="the answer exceeds 4,000,000"):
        fed_until_full(ResponseParser(streamed=True), b"{" * 10_000, MAX_STREAM)
