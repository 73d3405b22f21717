"""Models behind OpenAI-compatible servers, spoken to with the official package; its one owner.

The package is loaded in a thread, by `OpenAIModels.warm` or at the first call: it takes a second or two, in which
a process has other things to do. Its retries are off: whether to try again is decided by the scheduler,
which sees all attempts; a request is repeated here only to ask for JSON in another way. Servers differ in what they
send, so answers are read by hand (`reading.py`), and with a cap.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from swarm.errors import BadOutput, Billed, ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.base import Again, Completion, Form, Message
from swarm.llm.endpoints import Endpoint, endpoint
from swarm.llm.forms import Ladder, Notes, bare, parameters, worded
from swarm.llm.reading import AFTER_DONE, AFTER_FINISH, Reader, ServerError, exhausted, reason, retry_after

if TYPE_CHECKING:
    from ssl import SSLContext

    from httpx2 import AsyncByteStream, Response
    from openai import AsyncOpenAI

CONNECT_SECONDS = 5.0
MAX_ERROR = 100_000
"""Bytes of an error's body."""
PASSING = frozenset({408, 409, 425, 429})
"""Client errors that another attempt may not meet. LiteLLM says 408 for its own time-out."""
BEGUN = frozenset({408, 499})
"""Client errors of a call that the server had taken on: of time-outs, and of a client that has left."""


class OpenAIModels:
    """Models of all endpoints in `environ`. One client per endpoint, opened at its first call, closed by `aclose`.

    What each model was found to honour is remembered here, for an hour of `clock`.
    """

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._environ = environ
        self._clients: dict[str, AsyncOpenAI] = {}
        self._loading: asyncio.Future[None] | None = None
        self.notes = Notes(clock)

    async def __aenter__(self) -> OpenAIModels:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def get(self, name: str) -> OpenAIModel:
        where, slash, model = name.partition("/")
        if not slash or not model:
            raise ModelRefused(f"{name!r} is no model; a model is named endpoint/model, such as openai/gpt-6-luna")
        return OpenAIModel(name, model, endpoint(where, self._environ), self)

    async def warm(self) -> None:
        """Load what a call needs, once however many ask. It holds nothing up: the loop goes on meanwhile."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(asyncio.to_thread(_load))
        await asyncio.shield(self._loading)

    def client(self, where: Endpoint) -> AsyncOpenAI:
        """The one client of this endpoint."""
        if where.name not in self._clients:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient

            self._clients[where.name] = AsyncOpenAI(
                api_key=where.key or "none",
                base_url=where.url,
                max_retries=0,
                organization="",
                project="",
                http_client=DefaultAsyncHttpxClient(verify=_tls(), event_hooks={"response": [_shorten_error]}),
            )
        return self._clients[where.name]

    async def aclose(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()


@dataclass(frozen=True, slots=True)
class _Ask:
    """One question, and when patience with it ends."""

    messages: Sequence[Message]
    max_tokens: int | None
    streamed: bool
    timeout: float
    deadline: float
    readers: list[Reader] = field(default_factory=list)
    """Of the requests that were sent for it, the last one last."""

    @property
    def tokens(self) -> tuple[int, int]:
        return self.readers[-1].tokens if self.readers else (0, 0)


@dataclass(frozen=True, slots=True)
class OpenAIModel:
    """A chat model of one endpoint."""

    name: str
    model: str
    endpoint: Endpoint
    models: OpenAIModels = field(repr=False)
    again: Again | None = field(default=None, repr=False)

    def guarded(self, again: Again) -> OpenAIModel:
        return replace(self, again=again)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float = 60.0,
        form: Form | None = None,
    ) -> Completion:
        ask = _Ask(messages, max_tokens, False, timeout, asyncio.get_running_loop().time() + timeout)
        async with aclosing(self._counted(ask, form)) as items:
            return [item async for item in items if isinstance(item, Completion)][-1]

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float = 60.0,
        form: Form | None = None,
    ) -> AsyncGenerator[str | Completion]:
        ask = _Ask(messages, max_tokens, True, timeout, asyncio.get_running_loop().time() + timeout)
        async with aclosing(self._counted(ask, form)) as items:
            async for item in items:
                yield item

    async def _counted(self, ask: _Ask, form: Form | None) -> AsyncGenerator[str | Completion]:
        """The answer; an error says what the server counted before it."""
        try:
            async with aclosing(self._answered(ask, form)) as items:
                async for item in items:
                    yield item
        except ExpertError as error:
            error.tokens = ask.tokens
            raise

    async def _answered(self, ask: _Ask, form: Form | None) -> AsyncGenerator[str | Completion]:
        """The answer, every foreign error translated, and with what the server may charge for it."""
        try:
            async with asyncio.timeout_at(ask.deadline):
                await self.models.warm()
        except TimeoutError:
            unready = ModelUnavailable(f"{self.name}: the client was not loaded within {ask.timeout:g} s")
            unready.billed = "nothing"
            raise unready from None
        import httpx2
        import openai

        try:
            async with aclosing(self._laddered(ask, form)) as items:
                async for item in items:
                    yield item
        except ServerError as error:
            refusal = self._refusal(error)
            refusal.billed = _billed(error)
            # a quota that is spent is no rate: asking less changes nothing
            refusal.limited = error.status == 429 and isinstance(refusal, ModelUnavailable)
            raise refusal from None
        except (TimeoutError, openai.APITimeoutError) as error:
            late = ModelUnavailable(f"{self.name}: no answer within {ask.timeout:g} s")
            late.billed = _unsent(error)
            raise late from None
        except openai.APIConnectionError as error:
            cause = self.endpoint.clean(str(error.__cause__ or error))
            remedy = f"check the URL of the endpoint {self.endpoint.name!r}, and that its server runs"
            unreached = ModelUnavailable(f"{self.name}: cannot reach {self.endpoint.host} ({cause}); {remedy}")
            unreached.billed = _unsent(error)
            raise unreached from None
        except httpx2.HTTPError as error:
            cause = self.endpoint.clean(str(error) or type(error).__name__)
            raise ModelUnavailable(f"{self.name}: the answer broke off ({cause})") from None
        except httpx2.InvalidURL:
            nowhere = ModelRefused(f"{self.name}: the URL of the endpoint {self.endpoint.name!r} names no server")
            nowhere.billed = "nothing"
            raise nowhere from None
        except openai.OpenAIError as error:
            raise ModelUnavailable(f"{self.name}: {self.endpoint.clean(str(error))}") from None
        except (ModelRefused, ModelUnavailable, BadOutput) as error:
            said = f"{self.name}: {self.endpoint.clean(str(error))}"
            named = type(error)(said, retryable=error.retryable, retry_after=error.retry_after)
            named.billed = error.billed
            raise named from None

    async def _laddered(self, ask: _Ask, form: Form | None) -> AsyncGenerator[str | Completion]:
        """The answer to the first way of asking that the server takes. Nothing is repeated once a piece was given."""
        ladder = Ladder(self.models.notes, self.name, form, streamed=ask.streamed)
        begun = answered = False
        while not answered:
            try:
                async with aclosing(self._once(ask, ladder)) as items:
                    async for item in items:
                        begun = True
                        yield item
                answered = True
            except ServerError as error:
                if begun or not ladder.goes_on(error.status, bare(error.body)):
                    raise
                if self.again is not None:
                    await self.again(_billed(error))

    async def _once(self, ask: _Ask, ladder: Ladder) -> AsyncGenerator[str | Completion]:
        """One request, and its answer as it comes."""
        reader = Reader(streamed=ask.streamed, tool=ladder.way == "tool")
        ask.readers.append(reader)
        async with AsyncExitStack() as opened:
            async with asyncio.timeout_at(ask.deadline):
                chunks = await self._sent(ask, ladder, opened)
            until = ask.deadline
            while (chunk := await _next(chunks, until, reader)) is not None:
                for piece in reader.feed(chunk):
                    yield piece
                if (
                    self.again is not None
                    and ask.max_tokens
                    and not reader.finished
                    and reader.written > ask.max_tokens
                ):
                    reader.stop()
                    break
                until = _patience(reader, until)
        for piece in reader.end():
            yield piece
        ladder.took(reader.text, by_tool=reader.by_tool, withheld=reader.withheld)
        try:
            yield reader.completion(self.name, ladder.way or "")
        except ExpertError as error:
            error.billed = "told"
            raise

    async def _sent(self, ask: _Ask, ladder: Ladder, opened: AsyncExitStack) -> AsyncIterator[bytes]:
        """Send the request; the bytes of the answer, once its status is known and good."""
        import httpx2
        import openai

        left = max(0.001, ask.deadline - asyncio.get_running_loop().time())
        call = self.models.client(self.endpoint).chat.completions.with_streaming_response.create(
            model=self.model,
            messages=[],
            extra_body=self._body(ask, ladder),
            timeout=httpx2.Timeout(left, connect=min(CONNECT_SECONDS, left)),
        )
        try:
            response = await opened.enter_async_context(call)
        except openai.APIStatusError as error:
            raise ServerError(error.status_code, error.body or error.message, error.response.headers) from None
        ask.readers[-1].pause = exhausted(response.headers, time.time())
        return response.iter_bytes()

    def _body(self, ask: _Ask, ladder: Ladder) -> dict[str, Any]:
        """The request, without what the package would say about it: servers take more than it knows."""
        messages, body = ask.messages, dict[str, Any]()
        if ladder.form and ladder.way:
            messages = worded(ladder.way, ladder.form, messages)
            body |= parameters(ladder.way, ladder.form)
        body["messages"] = [{"role": message.role, "content": message.content} for message in messages]
        if ask.max_tokens:
            body[self.endpoint.limit_name] = ask.max_tokens
        if ask.streamed:
            body["stream"] = True
        if ladder.asks_usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def _refusal(self, error: ServerError) -> ExpertError:
        """What an error means for another attempt."""
        said = self.endpoint.clean(reason(error.body) or str(error))
        where = "an error instead of an answer" if error.inside else f"HTTP {error.status}"
        message = f"{self.name}: {where}: {said}"
        if error.status in (401, 403):
            return ModelRefused(f"{message}; check the key of the endpoint {self.endpoint.name!r}")
        if error.status == 404:
            here = f"the endpoint {self.endpoint.name!r}, and its URL"
            return ModelRefused(f"{message}; check that {self.model!r} is a model of {here}")
        spent = "insufficient_quota" in str(error.body)
        if error.status == 429:
            what = "raise the quota" if spent else "set what it can take (swarm limits set), or raise the limit"
            message = f"{message}; {what} of the endpoint {self.endpoint.name!r}"
        if (error.status in PASSING or error.status >= 500) and not spent:
            pause = retry_after(error.headers)
            if pause is None:
                pause = exhausted(error.headers, time.time()) or None
            return ModelUnavailable(message, retry_after=pause)
        return ModelRefused(message)


def _billed(error: ServerError) -> Billed:
    """A request that a server refuses costs nothing. What becomes of one in which it fails is not known."""
    refused = 400 <= error.status < 500 and error.status not in BEGUN
    return "nothing" if refused and not error.inside else "unknown"


def _unsent(error: BaseException) -> Billed:
    """Whether a request that came to nothing never left, as there was no connection to send it over."""
    import httpx2

    causes = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
    return "nothing" if isinstance(error.__cause__, causes) else "unknown"


def _load() -> None:
    """All that is slow about the first call: the package, the part of it that it loads late, the certificates."""
    importlib.import_module("openai.resources.chat")
    _tls()


@cache
def _tls() -> SSLContext:
    """One for all endpoints: reading the certificates blocks for tens of milliseconds."""
    from httpx2 import create_ssl_context

    return create_ssl_context()


async def _shorten_error(response: Response) -> None:
    """Give up the rest of an error that goes on and on: the package reads all of it, and at once."""
    if response.status_code >= 400:
        response.stream = _start_of(response.stream)


def _start_of(stream: Any) -> AsyncByteStream:
    from httpx2 import AsyncByteStream

    class Start(AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in stream:
                yield chunk
                size += len(chunk)
                if size > MAX_ERROR:
                    return

        async def aclose(self) -> None:
            await stream.aclose()

    return Start()


async def _next(chunks: AsyncIterator[bytes], until: float, reader: Reader) -> bytes | None:
    """The next bytes; None at the end, or when a finished answer has nothing more to say."""
    try:
        async with asyncio.timeout_at(until):
            return await anext(chunks, None)
    except TimeoutError:
        if reader.finished:
            return None
        raise


def _patience(reader: Reader, until: float) -> float:
    """Until when to go on reading: shorter once the answer stands."""
    if not reader.finished:
        return until
    return min(until, asyncio.get_running_loop().time() + (AFTER_DONE if reader.done else AFTER_FINISH))
