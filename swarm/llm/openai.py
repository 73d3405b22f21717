"""The official package for OpenAI-compatible servers, and its one owner: one client per endpoint and process.

The package is loaded in a thread, by `OpenAIModels.warm` or at the first call: it takes a second or two, in which
a process has other things to do. Its retries are off: whether to try again is decided by the scheduler,
which sees all attempts. So are redirects, which would carry keys to where nobody sent them. Answers are read by hand,
and with a cap: what is asked and what comes back is in `chat.py`, `embeddings.py` and `listing.py`.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from swarm.errors import BadOutput, ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.chat import OpenAIModel as OpenAIModel
from swarm.llm.chat import refused
from swarm.llm.embeddings import OpenAIEmbedder
from swarm.llm.endpoints import NAMED, Endpoint, Endpoints, unusable
from swarm.llm.forms import Notes
from swarm.llm.listing import Offered, listed, named
from swarm.llm.patience import Patience
from swarm.llm.reading import MAX_RESPONSE, ServerError

if TYPE_CHECKING:
    from httpx2 import AsyncByteStream, Response, Timeout
    from openai import AsyncOpenAI

MAX_ERROR = 100_000
"""Bytes of an error's body."""
KEPT, KEPT_SECONDS = 100, 4.0
"""How many connections of one endpoint are kept for the next calls, and how long: many servers close them after 5 s,
and a request that is just on its way then is lost."""
LIST_SECONDS = 5.0
"""For the list of models that an error names."""

Api = Literal["chat", "responses", "embeddings", "models"]


class OpenAIModels:
    """Models of all endpoints that are set up. One client per endpoint, opened at its first call, closed by `aclose`.

    Raises BadInput where `swarm.toml` is wrong. What each model was found to honour is remembered here, for an hour of
    `clock`.
    """

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self.endpoints = Endpoints.load(environ)
        self._clients: dict[str, AsyncOpenAI] = {}
        self._loading: asyncio.Future[None] | None = None
        self.notes = Notes(clock)

    async def __aenter__(self) -> OpenAIModels:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def get(self, name: str) -> OpenAIModel:
        """The model `endpoint/model`, or the default one of an endpoint; without one, it says so when it is asked."""
        where, slash, model = name.partition("/")
        if (slash and not model) or not (slash or where in self.endpoints.names):
            known = f"; set up are: {', '.join(self.endpoints.names)}" if self.endpoints.names else ""
            raise unusable(f"{name[:100]!r} is no model and no endpoint that is set up; {NAMED}{known}")
        found = self.endpoints.get(where)
        return OpenAIModel(self.endpoints.full(name), model or found.model, found, self)

    def embedder(self, name: str) -> OpenAIEmbedder:
        """The embedding model `endpoint/model`, or the default one of an endpoint."""
        found = self.get(name)
        return OpenAIEmbedder(found.name, found.model, found.endpoint, self)

    async def offered(self, endpoint: str, timeout: float = LIST_SECONDS) -> tuple[Offered, ...]:
        """The models that an endpoint lists; none where it lists none. Raises ExpertErrors as a call does."""
        where = self.endpoints.get(endpoint)
        patience = Patience.of(where.timeouts, timeout, asyncio.get_running_loop().time())
        try:
            return listed(await self.whole(where, "models", {}, patience, where.name))
        except ServerError as error:
            if error.status in (404, 405, 501):
                return ()
            raise refused(where.name, where, error) from None
        except BadOutput as error:
            raise error.worded(f"{where.name}: {str(error).removeprefix(f'{where.name}: ')}") from None

    async def nameless(self, where: Endpoint, timeout: float = LIST_SECONDS) -> ModelRefused:
        """That no model was named, and which ones there are."""
        try:
            offers = await self.offered(where.name, min(timeout, LIST_SECONDS))
            said = f"it offers {named(offers)}" if offers else "its server lists none"
        except ExpertError as error:
            said = f"its server does not say which it offers ({error})"
        set_it = f"name one: {where.name}/MODEL, or set `model` in [endpoints.{where.name}] of swarm.toml"
        return unusable(f"the endpoint {where.name!r} has no default model; {set_it}; {said}")

    async def warm(self) -> None:
        """Load what a call needs, once however many ask. It holds nothing up: the loop goes on meanwhile."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(asyncio.to_thread(_load))
        await asyncio.shield(self._loading)

    async def ready(self, name: str, patience: Patience) -> None:
        """`warm`, within the time of a call."""
        try:
            async with asyncio.timeout_at(patience.until):
                await self.warm()
        except TimeoutError:
            unready = ModelUnavailable(f"{name}: the client was not loaded within {patience.seconds:g} s")
            unready.billed = "nothing"
            raise unready from None

    async def whole(
        self,
        where: Endpoint,
        api: Api,
        body: Mapping[str, Any],
        patience: Patience,
        name: str,
        *,
        most: int = MAX_RESPONSE,
    ) -> bytes:
        """The whole answer to one request, capped. Raises ServerError, and ExpertErrors for all else."""
        await self.ready(name, patience)
        read = bytearray()
        with self.translated(name, where, patience):
            async with asyncio.timeout_at(patience.until), AsyncExitStack() as opened:
                response = await self.sent(where, api, body, patience, opened)
                async for chunk in response.iter_bytes():
                    read += chunk
                    if len(read) > most:
                        raise BadOutput(f"{name}: the answer exceeds {most:,} bytes", retryable=False)
        return bytes(read)

    async def sent(
        self, where: Endpoint, api: Api, body: Mapping[str, Any], patience: Patience, opened: AsyncExitStack
    ) -> Any:
        """The answer to a request once its status is known and good, open until `opened` closes it.

        Raises ServerError, and what `translated` translates.
        """
        import httpx2
        import openai

        now = asyncio.get_running_loop().time()
        connect, left = patience.connect(now), patience.left(now)
        timeout = httpx2.Timeout(left, connect=connect, pool=0.95 * left)
        try:
            return await opened.enter_async_context(_call(self._client(where), where, api, body, timeout))
        except openai.APIStatusError as error:
            raise ServerError(error.status_code, error.body or error.message, error.response.headers) from None

    @contextmanager
    def translated(self, name: str, where: Endpoint, patience: Patience) -> Iterator[None]:
        """What goes wrong in the block on the way to a server and back, as ExpertErrors that say what to do."""
        import httpx2
        import openai

        try:
            yield
        except openai.APITimeoutError as error:
            raise _timed_out(name, where, patience, error.__cause__) from None
        except TimeoutError:
            raise _timed_out(name, where, patience, None) from None
        except openai.APIConnectionError as error:
            raise _unreached(name, where, error) from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            cause = where.clean(str(error) or type(error).__name__)
            raise _of_health(ModelUnavailable(f"{name}: the answer broke off ({cause})"), "model") from None
        except UnicodeEncodeError:
            unsendable = ModelRefused(f"{name}: what is asked is not valid Unicode; send UTF-8 text")
            unsendable.billed = "nothing"
            raise unsendable from None
        except httpx2.InvalidURL:
            raise unusable(f"{name}: the URL of the endpoint {where.name!r} names no server") from None
        except openai.OpenAIError as error:
            raise ModelUnavailable(f"{name}: {where.clean(str(error))}") from None

    def _client(self, where: Endpoint) -> AsyncOpenAI:
        """The one client of this endpoint."""
        if where.name not in self._clients:
            import httpx2
            from openai import AsyncOpenAI

            limits = httpx2.Limits(
                max_connections=where.connections,
                max_keepalive_connections=min(KEPT, where.connections),
                keepalive_expiry=KEPT_SECONDS,
            )
            self._clients[where.name] = AsyncOpenAI(
                api_key=where.key or "none",
                base_url=where.url,
                max_retries=0,
                organization="",
                project="",
                default_headers=where.headers,
                default_query=dict(where.query),
                http_client=httpx2.AsyncClient(
                    verify=_tls(where.ca_certs),
                    proxy=where.proxy,
                    limits=limits,
                    event_hooks={"response": [_shorten_error]},
                ),
            )
        return self._clients[where.name]

    async def aclose(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()


def _call(client: AsyncOpenAI, where: Endpoint, api: Api, body: Mapping[str, Any], timeout: Timeout) -> Any:
    """The request, without what the package would say in it: servers take more than it knows."""
    from openai import Omit

    unsigned = not where.key and "authorization" not in map(str.lower, where.headers)
    more: dict[str, Any] = {"timeout": timeout, "extra_headers": {"Authorization": Omit()} if unsigned else None}
    if api == "models":
        return client.models.with_streaming_response.list(**more)
    more |= {"model": str(body["model"]), "extra_body": body}
    match api:
        case "chat":
            return client.chat.completions.with_streaming_response.create(messages=[], **more)
        case "responses":
            return client.responses.with_streaming_response.create(input="", **more)
        case "embeddings":
            return client.embeddings.with_streaming_response.create(input="", encoding_format="float", **more)


def _timed_out(name: str, where: Endpoint, patience: Patience, cause: BaseException | None) -> ExpertError:
    import httpx2

    if isinstance(cause, httpx2.ConnectTimeout):
        late = f"{name}: no connection to {where.host} {patience.unconnected(where.name)}"
        error = _of_health(ModelUnavailable(f"{late}; {_remedy(where)}"), "endpoint")
        error.billed = "nothing"
    elif isinstance(cause, httpx2.PoolTimeout):
        full = f"all {where.connections:,} connections of the endpoint {where.name!r} were in use all the time"
        error = ModelUnavailable(f"{name}: {full}; raise `connections` in swarm.toml")
        error.billed = "nothing"
    else:
        error = _of_health(ModelUnavailable(f"{name}: {patience.late(where.name)}"), "model")
    return error


def _unreached(name: str, where: Endpoint, error: BaseException) -> ExpertError:
    import httpx2

    causes = list(_causes(error))
    cause = where.clean(str(causes[0]) if causes else str(error))
    unsent = any(isinstance(each, httpx2.ConnectError) for each in causes)
    for each in causes:
        if isinstance(each, ssl.SSLCertVerificationError):
            what = f"its certificate is not trusted ({each.verify_message})"
            remedy = "check the host in the URL, and name the file of its authority: ca_certs in swarm.toml"
            return unusable(f"{name}: no TLS with {where.host}: {what}; {remedy}")
        if isinstance(each, ssl.SSLError) and not _passes(each):
            remedy = "check that the URL has the right port, and http:// for a server without TLS"
            return unusable(f"{name}: no TLS with {where.host} ({each.reason}); {remedy}")
    unreached = ModelUnavailable(f"{name}: cannot reach {where.host} ({cause}); {_remedy(where)}")
    unreached.billed = "nothing" if unsent else "unknown"
    return _of_health(unreached, "endpoint" if unsent else "model")


def _passes(error: ssl.SSLError) -> bool:
    """Whether this may go better the next time, as when a connection ends in the middle of a handshake."""
    return isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _of_health(error: ExpertError, down: Literal["model", "endpoint"]) -> ExpertError:
    error.down = down
    return error


def _remedy(where: Endpoint) -> str:
    proxy = f", and the proxy {urlsplit(where.proxy).netloc}" if where.proxy else ""
    return f"check the URL of the endpoint {where.name!r}, and that its server runs{proxy}"


def _load() -> None:
    """All that is slow about the first call: the package, the part of it that it loads late, the certificates."""
    importlib.import_module("openai.resources.chat")
    _tls(None)


@cache
def _tls(ca_certs: str | None) -> ssl.SSLContext:
    """One for all endpoints that trust the same: reading the certificates blocks for tens of milliseconds."""
    from httpx2 import create_ssl_context

    return create_ssl_context() if ca_certs is None else ssl.create_default_context(cafile=ca_certs)


async def _shorten_error(response: Response) -> None:
    """Give up the rest of an error that goes on and on: the package reads all of it, and at once."""
    if response.status_code >= 300:
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
