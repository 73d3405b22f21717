"""Chat models of OpenAI-compatible servers: one call, of one or more requests.

A request is repeated here only to ask in another way for what the server refuses in this one (`structured_output.py`).
Servers differ in what they send, so responses are parsed by hand (`response_parser.py`). An endpoint is called with the
chat completions API, or with the responses API if it is configured so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from swarm.errors import BadOutput, ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, Completion, Message, OnRepeat, ResponseFormat, cap_of, sampling_of
from swarm.llm.endpoints import Endpoint, unusable
from swarm.llm.openai import responses
from swarm.llm.openai.connection import OpenAIConnection, refused
from swarm.llm.openai.reasoning_memory import ReasoningMemory
from swarm.llm.openai.response_parser import AFTER_DONE, AFTER_FINISH, ResponseParser, ServerError
from swarm.llm.openai.responses import Responses
from swarm.llm.openai.retry_after import exhausted
from swarm.llm.openai.structured_output import CapabilityCache, FormatFallback, worded
from swarm.llm.openai.timeouts import CallTimeouts
from swarm.llm.openai.usage import counted, failed, prompt_tokens
from swarm.runtime.thread_pool import in_thread
from swarm.types.result import Usage
from swarm.types.sampling import Sampling, setting_of

LONG = 50_000
"""Characters from which on a formatted answer is parsed in a thread."""
NEARLY = 0.9
"""A cut answer with at least this share of the allowed tokens used them all: servers count differently."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request of a caller, with its time limits and the HTTP requests sent for it."""

    messages: Sequence[Message]
    max_tokens: int | None
    timeouts: CallTimeouts
    sampling: Sampling
    readers: list[ResponseParser] = field(default_factory=list)
    """One per HTTP request, the last one last."""
    failed: list[Usage] = field(default_factory=list)
    """Usage of the requests that were repeated, unless `on_repeat` counts them."""

    @property
    def prompt(self) -> int:
        """Estimated tokens of the prompt."""
        return prompt_tokens(self.messages)

    @property
    def used(self) -> Usage:
        return self.readers[-1].used if self.readers else Usage()


@dataclass(frozen=True, slots=True)
class OpenAIModel:
    """A model of one endpoint. Without a `model`, a call raises an error that lists the models there are."""

    name: str
    model: str
    connection: OpenAIConnection = field(repr=False)
    capabilities: CapabilityCache = field(repr=False)
    reasoning_memory: ReasoningMemory = field(repr=False)
    on_repeat: OnRepeat | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> Endpoint:
        return self.connection.endpoint

    def guarded(self, on_repeat: OnRepeat) -> OpenAIModel:
        return replace(self, on_repeat=on_repeat)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
        # streamed even if nobody reads the pieces: a server that is hung up on then stops writing
        async with aclosing(self._counted(self._ask(request), request.format)) as items:
            async for item in items:
                yield item

    @property
    def sampling(self) -> Sampling:
        return self.endpoint.sampling

    def _ask(self, request: ChatRequest) -> _Ask:
        timeouts = CallTimeouts.of(self.endpoint.timeouts, request.timeout, _now())
        sampling = sampling_of(self, request.sampling)
        return _Ask(request.messages, request.max_tokens or cap_of(self, request.sampling), timeouts, sampling)

    async def _counted(self, ask: _Ask, response_format: ResponseFormat | None) -> AsyncGenerator[str | Completion]:
        """The answer; an error carries the usage before it."""
        try:
            async with aclosing(self._answered(ask, response_format)) as items:
                async for item in items:
                    yield item
        except ExpertError as error:
            used = ask.used
            tokens = used.input_tokens, used.output_tokens
            error.call = replace(error.call, tokens=tokens, estimated=bool(used.estimated))
            raise

    async def _answered(self, ask: _Ask, response_format: ResponseFormat | None) -> AsyncGenerator[str | Completion]:
        """The answer; every error is an ExpertError, with what the server may charge."""
        if not self.model:
            raise await self.connection.no_default_model(ask.timeouts.left(_now()))
        if self.endpoint.api == "responses" and (unknown := responses.unknown(ask.sampling)):
            raise unusable(
                f"{self.name}: the responses API has no {' and no '.join(unknown)}; leave it out of the card"
            )
        await self.connection.ready(self.name, ask.timeouts)
        try:
            with self.connection.translated(self.name, ask.timeouts):
                async with aclosing(self._laddered(ask, response_format)) as items:
                    async for item in items:
                        yield item
        except ServerError as error:
            raise refused(self.name, self.endpoint, error) from None
        except (ModelRefused, ModelUnavailable, BadOutput) as error:
            clean = self.endpoint.clean
            raise error.worded(clean(str(error)), clean(error.log_message)).prefixed(self.name) from None

    async def _laddered(self, ask: _Ask, response_format: ResponseFormat | None) -> AsyncGenerator[str | Completion]:
        """The answer in the first format that the server accepts. Nothing is repeated once a piece was given."""
        limit = self.endpoint.limit_name
        ladder = FormatFallback(self.capabilities, self.name, response_format, streamed=True, limit=limit)
        begun = answered = False
        while not answered:
            try:
                async with aclosing(self._once(ask, ladder)) as items:
                    async for item in items:
                        begun = True
                        yield item
                answered = True
            except ServerError as error:
                if begun or not ladder.goes_on(error.status, error.body):
                    raise
                await self._repeats(ask, error)

    async def _repeats(self, ask: _Ask, error: ServerError) -> None:
        """Report a failed request to `on_repeat` before the next one; without it, the usage of the answer counts it."""
        sent = refused(self.name, self.endpoint, error)
        used = failed(sent, ask.messages)
        if self.on_repeat is not None:
            await self.on_repeat(sent.call.billed, used)
        else:
            ask.failed.append(used)

    async def _once(self, ask: _Ask, ladder: FormatFallback) -> AsyncGenerator[str | Completion]:
        """Send one request and stream its answer."""
        translate = Responses() if self.endpoint.api == "responses" else None
        splitter = self.reasoning_memory.splitter(self.name, self.endpoint)
        reader = ResponseParser(ladder.streamed, ladder.way == "tool", translate, asked=ask.prompt, splitter=splitter)
        ask.readers.append(reader)
        timeouts, begun, first = ask.timeouts, _now(), 0.0
        timeouts.sends(begun, streamed=ladder.streamed)
        async with AsyncExitStack() as opened:
            async with asyncio.timeout_at(timeouts.until):
                chunks = await self._sent(ask, ladder, opened)
            until = timeouts.until
            while (chunk := await _next(chunks, until, reader)) is not None:
                before = reader.written
                for piece in reader.feed(chunk):
                    yield piece
                if reader.speaks and not first:
                    first = _now() - begun
                if (
                    self.on_repeat is not None
                    and ask.max_tokens
                    and not reader.finished
                    and reader.written > ask.max_tokens
                ):
                    reader.stop()
                    break
                if ladder.streamed and reader.written > before:
                    timeouts.came(_now())
                until = _until(reader, timeouts, until)
        for piece in reader.end():
            yield piece
        self.reasoning_memory.ended(self.name, splitter, free=ladder.way in (None, "words") and not reader.withheld)
        ladder.took(reader.text, by_tool=reader.by_tool, withheld=reader.withheld)
        reader.remedy = _more_tokens(reader, ask.max_tokens, self.endpoint)
        try:
            completion = reader.completion(self.name, ladder.way or "")
        except ExpertError as error:
            error.call = replace(error.call, billed="reported")
            raise
        is_long = len(completion.text) > LONG
        completion = await in_thread(ladder.answered, completion) if is_long else ladder.answered(completion)
        usage = sum(ask.failed, completion.usage)
        yield replace(completion, usage=usage, first=first if ladder.streamed else 0.0)

    async def _sent(self, ask: _Ask, ladder: FormatFallback, opened: AsyncExitStack) -> AsyncIterator[bytes]:
        """Send the request; return the chunks of its response once its status is known and good."""
        body = self._body(ask, ladder)
        response = await self.connection.send(self.endpoint.api, body, ask.timeouts, opened)
        ask.readers[-1].pause = exhausted(response.headers, time.time())
        chunks: AsyncIterator[bytes] = response.iter_bytes()
        return chunks

    def _body(self, ask: _Ask, ladder: FormatFallback) -> dict[str, Any]:
        """The JSON body of the request."""
        messages, body = ask.messages, {**ask.sampling.request(), "model": self.model}
        if ladder.format and ladder.way:
            messages = worded(ladder.way, ladder.format, messages)
            body |= ladder.parameters()
        body["messages"] = [{"role": message.role, "content": message.content} for message in messages]
        if ask.max_tokens:
            body[ladder.limit] = ask.max_tokens
        if ladder.streamed:
            body["stream"] = True
        if ladder.asks_usage:
            body["stream_options"] = {"include_usage": True}
        return {**ask.sampling.extra, **responses.asked(body)} if self.endpoint.api == "responses" else body


def _more_tokens(reader: ResponseParser, cap: int | None, endpoint: Endpoint) -> str:
    """The remedy for a cut answer: names the limit that cut it, which may be the server's own."""
    if cap is None:
        asked = f"in its card or in [endpoints.{endpoint.name}.sampling] of swarm.toml"
        return f"its server has a limit of its own: set max_tokens {asked}, or raise it there"
    written = counted(reader.reported).output_tokens
    if reader.finish == "model_length" or (written and written < NEARLY * cap):
        stopped = f"its server stopped at a limit of its own, not at the {cap:,} tokens that were allowed"
        return f"{stopped}: raise it there (its context, or what it may write), or ask for less at once"
    return f"raise {setting_of(cap)}"


async def _next(chunks: AsyncIterator[bytes], until: float, reader: ResponseParser) -> bytes | None:
    """The next chunk; None at the end, or when nothing follows a finished answer in time."""
    try:
        async with asyncio.timeout_at(until):
            return await anext(chunks, None)
    except TimeoutError:
        if reader.finished:
            return None
        raise


def _until(reader: ResponseParser, timeouts: CallTimeouts, until: float) -> float:
    """When to stop reading: soon once the answer is finished."""
    if not reader.finished:
        return timeouts.until
    return min(until, _now() + (AFTER_DONE if reader.done else AFTER_FINISH))


def _now() -> float:
    return asyncio.get_running_loop().time()
