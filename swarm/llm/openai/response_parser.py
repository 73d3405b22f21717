"""Parse a server's response, whole or as a stream of events, without trusting it. Pure.

Servers differ: some end with `[DONE]` and some just stop, usage comes in an event with choices or without, an error may
be inside a 200, and a streamed request may get a whole response.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm.errors import BadOutput, CallFacts, ContentRefused, ModelUnavailable
from swarm.llm.bad_output import cut_output, with_problem
from swarm.llm.base import Anew, Completion
from swarm.llm.openai import usage
from swarm.llm.openai.error_table import status_of
from swarm.llm.openai.message_fields import sizes, tools, words
from swarm.llm.openai.reasoning_splitter import ReasoningSplitter
from swarm.llm.openai.sse_parser import MAX_RESPONSE, SseParser
from swarm.types.result import Usage

MAX_STREAM = 16 * MAX_RESPONSE
"""Bytes of a stream, in which each token is wrapped in a few hundred of them."""
TOKEN_BYTES = 16
"""Bytes of text in one event that are at least one token: hardly any token is longer."""
CUT = frozenset({"length", "max_tokens", "model_length"})
"""Finish reasons of an answer that was cut at a token limit: its own, or the model's."""
NO_JSON = "the answer is not JSON"
PAGE = f"{NO_JSON} but a page of HTML; check the URL of its endpoint: the path in it may be wrong"
NO_TOOLS = "say in its card that it has none, turn them off at its server, or use another model"
LOOK = "check the log of its server, and of any proxy or gateway before it"
AFTER_FINISH = 5.0
AFTER_DONE = 0.2
"""Seconds to read on after a finished answer: for its usage, and for an end that lets the connection be reused."""


class ServerError(Exception):
    """A server's error as it came. `inside`: it came in a 200. It does not leave this package.

    `body` is the part that describes the error, `raw` the whole response.
    """

    def __init__(
        self,
        status: int,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        inside: bool = False,
        raw: bytes = b"",
    ) -> None:
        self.status, self.body, self.headers, self.inside, self.raw = status, body, headers or {}, inside, raw
        super().__init__(f"HTTP {status}")


@dataclass(slots=True)
class ResponseParser:
    """Parses one response as its bytes come. `feed` returns text to pass on, `end` the text that was held back.

    If a tool was forced, its arguments are the answer, and other text only without them.
    """

    streamed: bool = False
    tool: bool = False
    translate: Callable[[Any], Any] | None = None
    """Translates the server's data into chat completions, if it uses another API."""
    by_tool: bool = False
    finish: str = ""
    refusal: str = ""
    done: bool = False
    """Whether the server sent `[DONE]`, or a whole response."""
    reported: Mapping[str, Any] = field(default_factory=dict)
    """The usage that the server reported."""
    remedy: str = ""
    """What to do about a cut answer."""
    asked: int = 0
    """Estimated tokens of the prompt, used if the server reports none."""
    splitter: ReasoningSplitter = field(default_factory=ReasoningSplitter)
    """Separates its text from its thoughts."""
    pause: float = 0.0
    """Seconds until the server accepts another request, from its headers."""
    written: int = 0
    """Least number of tokens so far: one per event with text, thoughts included, more for a long one."""
    _events: SseParser | None = None
    _body: bytearray = field(default_factory=bytearray)
    _size: int = 0
    _said: list[str] = field(default_factory=list)
    _held: list[str] = field(default_factory=list)
    _half: str = ""
    _length: int = 0
    _bytes: int = 0
    _call: object = None
    _unoffered: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.done or bool(self.finish)

    @property
    def text(self) -> str:
        return "".join(self._said)

    @property
    def speaks(self) -> bool:
        """Whether words have come that may be of the answer."""
        return bool(self._said) or self.splitter.holding

    @property
    def withheld(self) -> bool:
        """That the answer was stopped, so that its text shows nothing of what the server honours."""
        return bool(self.refusal) or self.cut or self.finish == "content_filter"

    @property
    def cut(self) -> bool:
        return self.finish in CUT

    @property
    def used(self) -> Usage:
        """One call as the server counted it so far, and as estimated where it did not. Before an answer: nothing."""
        if not (self.reported or self.written or self.finished):
            return Usage()
        received = max(self.written, -(-self._bytes // usage.TOKEN_BYTES))
        return usage.estimated(usage.counted(self.reported), sent=self.asked, received=received)

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The text that `chunk` completes."""
        self._size += len(chunk)
        cap = MAX_STREAM if self._events else MAX_RESPONSE
        if self._size > cap:
            raise BadOutput(f"the answer exceeds {cap:,} bytes", retryable=False)
        if self._events is None:
            self._body += chunk
            chunk = self._begun()
        if self._events:
            for name, data in self._events.feed(chunk):
                yield from self._event(name, data)

    def end(self) -> Iterator[str]:
        """The text that stands when no more bytes come. Raises what the answer lacks."""
        if self._events:
            for name, data in self._events.end():
                yield from self._event(name, data, last=True)
            if not self._events.known:
                raise BadOutput(NO_JSON)
        elif not self.streamed or self._body.strip():
            yield from self._whole()
        if not self.finished or self.finish == "error":
            raise ModelUnavailable(f"the answer broke off; {LOOK}", call=CallFacts(health="model", elsewhere=True))
        yield from self._passed("" if self.by_tool else "".join(self._held), last=True)
        yield from self._given("" if self.by_tool else self.splitter.end(cut=self.cut))

    def stop(self) -> None:
        """Mark the answer as cut here. The usage reported so far is not what the server charges."""
        self.finish, self.reported = "length", {}

    def completion(self, model: str, asked_by: str) -> Completion:
        """The completion. Raises the reason if the response is no answer."""
        if self.refusal or self.finish == "content_filter":
            refused = "the model will not answer this"
            raise ContentRefused(f"{refused}: {self.refusal or 'content filter'}", log_message=refused)
        text = self.text
        if not text.strip():
            raise self._empty()
        return Completion(
            text=text,
            usage=self.used,
            model=model,
            cut=self.cut,
            asked_by=asked_by,
            pause=self.pause,
            thoughts=self.splitter.thoughts,
            remedy=self.remedy if self.cut else "",
        )

    def _empty(self) -> BadOutput:
        thoughts = bool(self.splitter.thoughts)
        if self.cut:
            where = "while the model was thinking" if thoughts else "before its first word"
            return cut_output("", self.remedy, f"the answer is empty: it was cut at the token limit {where}")
        if self._unoffered:
            called = ", ".join(dict.fromkeys(filter(None, self._unoffered)))[:100] or "without a name"
            return with_problem(f"called a tool ({called}), and there are none", NO_TOOLS)
        return BadOutput("the answer is empty: the model wrote only reasoning" if thoughts else "the answer is empty")

    def _begun(self) -> bytes:
        """The body so far, once it proves to be an event stream. Some servers answer in one piece."""
        start = bytes(self._body[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if not self.streamed or not start or start in b"{[<":
            return b""
        self._events = SseParser()
        held, self._body = bytes(self._body), bytearray()
        return held.removeprefix(b"\xef\xbb\xbf")

    def _whole(self) -> Iterator[str]:
        try:
            data: Any = json.loads(bytes(self._body))
        except (ValueError, RecursionError):
            page = self._body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
            raise BadOutput(PAGE if page else NO_JSON) from None
        data = data if self.translate is None else self.translate(data)
        raise_error(data)
        if not (isinstance(data, dict) and data.get("choices")):
            raise BadOutput("the response is not a chat completion")
        yield from self._take(data)
        self.done = True

    def _event(self, name: str, data: str, *, last: bool = False) -> Iterator[str]:
        if data.strip() == "[DONE]":
            self.done = True
        if self.done or not data.strip():
            return
        try:
            value: Any = json.loads(data)
        except (ValueError, RecursionError):
            if last:  # an event that the connection's end cut in two
                return
            value = data
        if name == "error":
            value = value if isinstance(value, dict) and value.get("error") else {"error": value}
        value = value if self.translate is None else self.translate(value)
        raise_error(value)
        if not isinstance(value, dict):
            raise BadOutput("an event of the answer is not JSON")
        yield from self._take(value)

    def _take(self, data: Mapping[str, Any]) -> Iterator[str]:
        """The text of one event, or of a whole answer: they differ in one name."""
        try:
            choices = data.get("choices") or ()
            parts = [choice.get("delta", choice.get("message")) or {} for choice in choices]
            # a server that sends more choices than requested charges for all of them
            found = [size for part in parts for size in sizes(part)]
            self.written += sum(-(-size // TOKEN_BYTES) for size in found)
            self._bytes += sum(found)
            if isinstance(reported := data.get("usage"), dict):
                self.reported = reported
            elif found:
                self.reported = {}  # what was counted before this is not all of it
            for choice, part in zip(choices, parts, strict=True):
                if choice.get("index") in (0, None):
                    self.finish = str(choice.get("finish_reason") or self.finish)
                    self.refusal += str(part.get("refusal") or "")
                    yield from self._texts(part)
        except (TypeError, AttributeError, LookupError):
            raise BadOutput("the response is not a chat completion") from None

    def _texts(self, part: Mapping[str, Any]) -> Iterator[str]:
        content, thoughts = words(part)
        if thoughts:
            self.splitter.think(thoughts)
        self._unoffered += [] if self.tool else tools(part)
        for call in (part.get("tool_calls") or ()) if self.tool else ():
            yield from self._passed(self._arguments(call))
        if not self.tool:
            yield from self._passed(content)
        elif content:
            self._counted(content)
            self._held.append(content)

    def _arguments(self, call: Mapping[str, Any]) -> str:
        """The arguments that a tool call adds. Two calls are two values, each on lines of its own."""
        given = call["function"].get("arguments") or ""
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        number = call.get("index", call.get("id"))
        another = self.by_tool and number is not None and number != self._call
        self._call, self.by_tool = number if number is not None else self._call, self.by_tool or bool(text)
        return f"\n{text}" if another and text else text

    def _passed(self, text: str, *, last: bool = False) -> Iterator[str]:
        """Pass on `text` as valid Unicode: an event may end between the halves of an escaped character."""
        text, self._half = self._half + text, ""
        if not last and text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        if not text.isascii():
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if text:
            self._counted(text)
            yield from self._given(text if self.by_tool else self.splitter.feed(text))

    def _given(self, text: str) -> Iterator[str]:
        if self.splitter.void:  # what was given before were thoughts
            self.splitter.void = False
            self._said.clear()
            yield Anew()
        if text:
            self._said.append(text)
            yield text

    def _counted(self, text: str) -> None:
        self._length += len(text)
        if self._length > 2 * MAX_RESPONSE:
            raise BadOutput(f"the answer exceeds {2 * MAX_RESPONSE:,} characters", retryable=False)


def raise_error(data: object) -> None:
    """Raise ServerError for an error inside a 200: some servers send them."""
    if isinstance(data, dict) and (error := data.get("error")):
        raise ServerError(
            status_of(error), error if isinstance(error, (dict, str)) else data | {"error": None}, inside=True
        )
