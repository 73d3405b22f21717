"""What a server sends, read by hand: whole bodies and streams of events, trusted for nothing but their shape. Pure.

Servers differ (`notes/llm-servers.md`): some say `[DONE]` and some just stop, usage comes in an event with choices or
without, a failure may stand inside a 200, and what was asked for as a stream may come back whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm.errors import BadOutput, ContentRefused, ModelUnavailable
from swarm.llm.base import Anew, Completion
from swarm.llm.openai import usage
from swarm.llm.openai.error_table import status_of
from swarm.llm.openai.message_fields import sizes, tools, words
from swarm.llm.openai.reasoning_splitter import Splitter
from swarm.types.result import Usage

MAX_RESPONSE = 4_000_000
"""Bytes of one answer, decompressed; of one event and of all text, where it is streamed."""
MAX_STREAM = 16 * MAX_RESPONSE
"""Bytes of a stream, in which each token is wrapped in a few hundred of them."""
TOKEN_BYTES = 16
"""Of text, in one event, that are one token at least: hardly any is longer."""
CUT = frozenset({"length", "max_tokens", "model_length"})
"""Why an answer ended that was not done: at the tokens it may have, or that the model can."""
NO_JSON = "the answer is not JSON"
PAGE = f"{NO_JSON} but a page of HTML; check the URL of its endpoint: the path in it may be wrong"
NO_TOOLS = "say in its card that it has none, turn them off at its server, or use another model"
LOOK = "look into the log of its server, and of what stands between"
AFTER_FINISH = 5.0
AFTER_DONE = 0.2
"""Seconds for which a finished answer waits: for its usage, and for an end that lets the connection be used again."""


class ServerError(Exception):
    """An error in the server's own words. `inside` says that it came in a 200. It does not leave this package.

    `body` is what says something of the error, `raw` all that came.
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
class SseParser:
    """Bytes of an event stream go in as they come, the (name, data) of its events come out."""

    _line: bytearray = field(default_factory=bytearray)
    _name: str = ""
    _data: list[str] = field(default_factory=list)
    _size: int = 0
    known: bool = False
    """Whether any line was one of an event stream."""

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._line += part
            line = self._line.removesuffix(b"\r").decode(errors="replace")
            self._line.clear()
            yield from self._read(line)
        self._line += rest
        if len(self._line) + self._size > MAX_RESPONSE:
            raise BadOutput(f"an event of the answer exceeds {MAX_RESPONSE:,} bytes", retryable=False)

    def end(self) -> Iterator[tuple[str, str]]:
        """What the last bytes hold where the empty line after an event is missing."""
        yield from self.feed(b"\n\n")

    def _read(self, line: str) -> Iterator[tuple[str, str]]:
        name, colon, value = line.partition(":")
        self.known = self.known or (bool(colon) and name in ("", "data", "event", "id", "retry", "error"))
        value = value.removeprefix(" ")
        if not line:
            yield from self._event()
        elif name == "data":
            self._data.append(value)
            self._size += len(value) + 8
        elif name == "event":
            self._name = value
        elif name == "error":  # llama-server of old says so, as a field
            yield "error", value

    def _event(self) -> Iterator[tuple[str, str]]:
        if self._data:
            yield self._name, "\n".join(self._data)
        self._name, self._size = "", 0
        self._data.clear()


@dataclass(slots=True)
class ResponseParser:
    """One answer, read as its bytes come. What `feed` gives is text to pass on; `end` gives what was held back.

    Where a tool was forced, its arguments are the answer, and other text only if there are none.
    """

    streamed: bool = False
    tool: bool = False
    words: Callable[[Any], Any] | None = None
    """Translates what the server says into the words of chat completions, if it says something else."""
    by_tool: bool = False
    finish: str = ""
    refusal: str = ""
    done: bool = False
    """That the server said `[DONE]`, or sent the answer whole."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What the server counted."""
    remedy: str = ""
    """What to do where the answer was cut."""
    asked: int = 0
    """Tokens of the prompt, as estimated: said if the server tells none."""
    splitter: Splitter = field(default_factory=Splitter)
    """Tells its words from its thoughts."""
    pause: float = 0.0
    """Seconds for which the server takes no more, as its headers say."""
    written: int = 0
    """Tokens that have come at least: one for each event with text, thoughts included, more for a long one."""
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
        if not (self.told or self.written or self.finished):
            return Usage()
        received = max(self.written, -(-self._bytes // usage.TOKEN_BYTES))
        return usage.estimated(usage.counted(self.told), sent=self.asked, received=received)

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
            broken = ModelUnavailable(f"the answer broke off; {LOOK}")
            broken.down = "model"
            raise broken
        yield from self._passed("" if self.by_tool else "".join(self._held), last=True)
        yield from self._given("" if self.by_tool else self.splitter.end(cut=self.cut))

    def stop(self) -> None:
        """Take the answer for cut here. What the server counted so far is not what it charges."""
        self.finish, self.told = "length", {}

    def completion(self, model: str, asked_by: str) -> Completion:
        """What was read, or the reason why it is no answer."""
        if self.refusal or self.finish == "content_filter":
            raise ContentRefused(f"the model will not answer this: {self.refusal or 'content filter'}")
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
            return BadOutput.cut("", self.remedy, f"the answer is empty: it was cut at the token limit {where}")
        if self._unoffered:
            called = ", ".join(dict.fromkeys(filter(None, self._unoffered)))[:100] or "without a name"
            return BadOutput.with_problem(f"called a tool ({called}), and there are none", NO_TOOLS)
        return BadOutput("the answer is empty: the model only thought" if thoughts else "the answer is empty")

    def _begun(self) -> bytes:
        """Once it shows that the body is a stream of events: all of it so far. Some servers answer in one piece."""
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
        data = data if self.words is None else self.words(data)
        raise_error(data)
        if not (isinstance(data, dict) and data.get("choices")):
            raise BadOutput("the answer is no chat completion")
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
        value = value if self.words is None else self.words(value)
        raise_error(value)
        if not isinstance(value, dict):
            raise BadOutput("an event of the answer is not JSON")
        yield from self._take(value)

    def _take(self, data: Mapping[str, Any]) -> Iterator[str]:
        """The text of one event, or of a whole answer: they differ in one name."""
        try:
            choices = data.get("choices") or ()
            parts = [choice.get("delta", choice.get("message")) or {} for choice in choices]
            # whoever writes more choices than one was asked for charges for all of them
            found = [size for part in parts for size in sizes(part)]
            self.written += sum(-(-size // TOKEN_BYTES) for size in found)
            self._bytes += sum(found)
            if isinstance(told := data.get("usage"), dict):
                self.told = told
            elif found:
                self.told = {}  # what was counted before this is not all of it
            for choice, part in zip(choices, parts, strict=True):
                if choice.get("index") in (0, None):
                    self.finish = str(choice.get("finish_reason") or self.finish)
                    self.refusal += str(part.get("refusal") or "")
                    yield from self._texts(part)
        except (TypeError, AttributeError, LookupError):
            raise BadOutput("the answer is no chat completion") from None

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
        """What this call adds. A model that calls twice has said two values, each on lines of its own."""
        given = call["function"].get("arguments") or ""
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        number = call.get("index", call.get("id"))
        another = self.by_tool and number is not None and number != self._call
        self._call, self.by_tool = number if number is not None else self._call, self.by_tool or bool(text)
        return f"\n{text}" if another and text else text

    def _passed(self, text: str, *, last: bool = False) -> Iterator[str]:
        """`text` as Unicode that can be sent on: an escaped character may be cut in two by the end of an event."""
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
    """Errors inside a 200 exist in the wild."""
    if isinstance(data, dict) and (error := data.get("error")):
        raise ServerError(
            status_of(error), error if isinstance(error, (dict, str)) else data | {"error": None}, inside=True
        )
