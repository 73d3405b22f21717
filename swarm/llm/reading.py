"""What a server sends, read by hand: whole bodies and streams of events, trusted for nothing but their shape. Pure.

Servers differ (`notes/llm-servers.md`): some say `[DONE]` and some just stop, usage comes in an event with choices or
without, a failure may stand inside a 200, and what was asked for as a stream may come back whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm.errors import MORE_TOKENS, BadOutput, ModelRefused, ModelUnavailable
from swarm.llm.base import Completion
from swarm.models import Usage

MAX_RESPONSE = 4_000_000
"""Bytes of one answer, decompressed; of one event and of all text, where it is streamed."""
MAX_STREAM = 16 * MAX_RESPONSE
"""Bytes of a stream, in which each token is wrapped in a few hundred of them."""
MAX_TOKENS = 1_000_000_000
"""From this many on, a count is none: sums of them must stay numbers that Redis can add up."""
TOKEN_BYTES = 16
"""Of text, in one event, that are one token at least: hardly any is longer."""
AFTER_FINISH = 5.0
AFTER_DONE = 0.2
"""Seconds for which a finished answer waits: for its usage, and for an end that lets the connection be used again."""

_STATUS_OF = {
    "invalid_request_error": 400, "bad_request": 400, "context_length_exceeded": 400, "authentication_error": 401,
    "invalid_api_key": 401, "permission_error": 403, "not_found_error": 404, "model_not_found": 404,
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "insufficient_quota": 429,
}  # fmt: skip


class ServerError(Exception):
    """An error in the server's own words. `inside` says that it came in a 200. It does not leave this package."""

    def __init__(
        self, status: int, body: Any, headers: Mapping[str, str] | None = None, *, inside: bool = False
    ) -> None:
        self.status, self.body, self.headers, self.inside = status, body, headers or {}, inside
        super().__init__(f"HTTP {status}")


@dataclass(slots=True)
class Events:
    """Bytes of an event stream go in as they come, the (name, data) of its events come out."""

    _line: bytearray = field(default_factory=bytearray)
    _name: str = ""
    _data: list[str] = field(default_factory=list)
    _size: int = 0

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
        name, _, value = line.partition(":")
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
class Reader:
    """One answer, read as its bytes come. What `feed` gives is text to pass on; `end` gives what was held back.

    Where a tool was forced, its arguments are the answer, and other text only if there are none.
    """

    streamed: bool = False
    tool: bool = False
    by_tool: bool = False
    finish: str = ""
    refusal: str = ""
    done: bool = False
    """That the server said `[DONE]`, or sent the answer whole."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    pause: float = 0.0
    """Seconds for which the server takes no more, as its headers say."""
    written: int = 0
    """Tokens that have come at least: one for each event with text, thoughts included, more for a long one."""
    _events: Events | None = None
    _body: bytearray = field(default_factory=bytearray)
    _size: int = 0
    _said: list[str] = field(default_factory=list)
    _held: list[str] = field(default_factory=list)
    _half: str = ""
    _length: int = 0
    _call: object = None

    @property
    def finished(self) -> bool:
        return self.done or bool(self.finish)

    @property
    def text(self) -> str:
        return "".join(self._said)

    @property
    def withheld(self) -> bool:
        """That the answer was stopped, so that its text shows nothing of what the server honours."""
        return bool(self.refusal) or self.finish in ("length", "content_filter")

    @property
    def tokens(self) -> tuple[int, int]:
        """Sent and received, as far as the server has told."""
        counted = _usage(self.usage)
        return counted.input_tokens, counted.output_tokens

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
        elif not self.streamed or self._body.strip():
            yield from self._whole()
        if not self.finished:
            raise ModelUnavailable("the answer broke off")
        yield from self._passed("" if self.by_tool else "".join(self._held), last=True)

    def stop(self) -> None:
        """Take the answer for cut here. What the server counted so far is not what it charges."""
        self.finish, self.usage = "length", {}

    def completion(self, model: str, asked_by: str) -> Completion:
        """What was read, or the reason why it is no answer."""
        if self.refusal or self.finish == "content_filter":
            raise ModelRefused(f"the model will not answer this: {self.refusal or 'content filter'}")
        text, cut = self.text, self.finish == "length"
        if not text.strip():
            why = f": it was cut at the token limit before its first word; {MORE_TOKENS}" if cut else ""
            raise BadOutput(f"the answer is empty{why}")
        usage, cached = _usage(self.usage), _cached(self.usage)
        return Completion(
            text=text, usage=usage, model=model, cut=cut, asked_by=asked_by, cached=cached, pause=self.pause
        )

    def _begun(self) -> bytes:
        """Once it shows that the body is a stream of events: all of it so far. Some servers answer in one piece."""
        start = bytes(self._body[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if not self.streamed or not start or start in b"{[<":
            return b""
        self._events = Events()
        held, self._body = bytes(self._body), bytearray()
        return held.removeprefix(b"\xef\xbb\xbf")

    def _whole(self) -> Iterator[str]:
        try:
            data: Any = json.loads(bytes(self._body))
        except (ValueError, RecursionError):
            raise BadOutput("the answer is not JSON") from None
        _raise_error(data)
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
        _raise_error(value)
        if not isinstance(value, dict):
            raise BadOutput("an event of the answer is not JSON")
        yield from self._take(value)

    def _take(self, data: Mapping[str, Any]) -> Iterator[str]:
        """The text of one event, or of a whole answer: they differ in one name."""
        try:
            choices = data.get("choices") or ()
            parts = [choice.get("delta", choice.get("message")) or {} for choice in choices]
            # whoever writes more choices than one was asked for charges for all of them
            written = sum(map(_tokens, parts))
            self.written += written
            if isinstance(usage := data.get("usage"), dict):
                self.usage = usage
            elif written:
                self.usage = {}  # what was counted before this is not all of it
            for choice, part in zip(choices, parts, strict=True):
                if choice.get("index") in (0, None):
                    self.finish = str(choice.get("finish_reason") or self.finish)
                    self.refusal += str(part.get("refusal") or "")
                    yield from self._texts(part)
        except (TypeError, AttributeError, LookupError):
            raise BadOutput("the answer is no chat completion") from None

    def _texts(self, part: Mapping[str, Any]) -> Iterator[str]:
        content = part.get("content") or ""
        if not isinstance(content, str):
            raise TypeError
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
            self._said.append(text)
            yield text

    def _counted(self, text: str) -> None:
        self._length += len(text)
        if self._length > 2 * MAX_RESPONSE:
            raise BadOutput(f"the answer exceeds {2 * MAX_RESPONSE:,} characters", retryable=False)


def reason(body: object) -> str:
    """The words of an error body, in whichever of its usual places they stand."""
    found: Any = body
    for _ in range(4):
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict):
            found = found.get("error") or found.get("message") or found.get("detail") or found.get("msg") or ""
    return found if isinstance(found, str) else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks us to wait. LiteLLM hands its upstream's header on under another name."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0), ("llm_provider-retry-after", 1.0)):
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value := headers.get(name, "").strip()):
            return float(value) / unit
    return None


def exhausted(headers: Mapping[str, str], now: float) -> float:
    """Seconds until the server takes another request, where its headers say that the last one used up its limits.

    0: they do not. `now` is the time since the epoch, as some servers say when and not how long.
    """
    waits = [0.0]
    for prefix in ("", "llm_provider-"):
        for what in ("requests", "tokens"):
            if re.fullmatch(r"0+", headers.get(f"{prefix}x-ratelimit-remaining-{what}", "").strip()):
                waits.append(_seconds(headers.get(f"{prefix}x-ratelimit-reset-{what}", ""), now))
    return max(waits)


def _seconds(text: str, now: float) -> float:
    """A time to wait, written as `1.5`, `6m0s`, `20ms`, or as a moment in seconds or milliseconds since the epoch."""
    text = text.strip()
    if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text):
        value = float(text)
        moment = value / 1000 if value > 1e11 else value
        return max(0.0, moment - now) if moment > 1e9 else value
    parts = re.fullmatch(r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,7}(?:\.\d{1,9})?)(m?s))?", text)
    if parts is None:
        return 0.0
    days, hours, minutes, rest, unit = parts.groups()
    last = float(rest or 0) / (1000 if unit == "ms" else 1)
    return int(days or 0) * 86_400 + int(hours or 0) * 3_600 + int(minutes or 0) * 60 + last


def _raise_error(data: object) -> None:
    """Errors inside a 200 exist in the wild."""
    if isinstance(data, dict) and (error := data.get("error")):
        raise ServerError(
            _status(error), error if isinstance(error, (dict, str)) else data | {"error": None}, inside=True
        )


def _status(error: object) -> int:
    """The status that an error inside a 200 would have had; 500 if it does not say."""
    given = [error.get(name) for name in ("code", "status", "type")] if isinstance(error, dict) else []
    for value in map(str, given):
        if re.fullmatch(r"[45]\d\d", value):
            return int(value)
        if found := _STATUS_OF.get(value):
            return found
    return 500


def _tokens(part: Mapping[str, Any]) -> int:
    """How many tokens this piece of an answer is at least. Some servers say the same thoughts under two names."""
    said = [part.get(name) for name in ("content", "reasoning_content", "reasoning", "refusal")]
    calls = part.get("tool_calls")
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    said += [given.get("arguments") for given in (*functions, part.get("function_call")) if isinstance(given, dict)]
    texts = {text for text in said if isinstance(text, str)}
    return sum(-(-len(text.encode("utf-8", "replace")) // TOKEN_BYTES) for text in texts)


def _cached(counted: Mapping[str, Any]) -> int:
    """Tokens of the prompt that came out of the server's cache."""
    details = counted.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return cached if isinstance(cached, int) and 0 < cached < MAX_TOKENS else 0


def _usage(counted: Mapping[str, Any]) -> Usage:
    """Tokens as the server counted them; zero where it did not, or where that is no number of tokens.

    Some servers leave a model's thoughts out of the answer's tokens and count them in the total only.
    """
    tokens = [counted.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    sent, received, total = (value if isinstance(value, int) and 0 < value < MAX_TOKENS else 0 for value in tokens)
    return Usage(
        calls=1, input_tokens=sent, output_tokens=max(received, total - sent) if sent and received else received
    )
