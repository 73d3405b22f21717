"""One client per endpoint: sends a request, reads the answer with a cap, translates what goes wrong.

The official package is imported in a thread, by `OpenAIPackage.load` or at the first call: that takes a second or two,
in which a process has other things to do. Its retries are off: the scheduler, which sees all attempts, decides whether
to try again. It reads no variable of the environment: those are for one server, and there are several here.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from swarm.errors import BadOutput, Billed, CallFacts, ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.endpoints import Endpoint, unusable
from swarm.llm.openai.error_table import classify, reason
from swarm.llm.openai.model_list import ListedModel, listed, named
from swarm.llm.openai.response_parser import LOOK, ServerError
from swarm.llm.openai.retry_after import retry_after
from swarm.llm.openai.sse_parser import MAX_RESPONSE
from swarm.llm.openai.timeouts import CallTimeouts
from swarm.llm.openai.transport import MODEL_DOWN, UNSENT, http_client, moved, timed_out, trusted, unreached
from swarm.runtime.thread_pool import in_thread

if TYPE_CHECKING:
    from httpx2 import Timeout
    from openai import AsyncOpenAI

LIST_SECONDS = 5.0
"""For the list of models that an error names."""
BEGUN = frozenset({408, 499})
"""Client errors of a call that the server had taken on: of time-outs, and of a client that has left."""

Api = Literal["chat", "responses", "embeddings", "models"]
_MODULES = {
    "chat": "openai.resources.chat.completions.completions",
    "responses": "openai.resources.responses.responses",
}


class OpenAIPackage:
    """The official package, imported once however many calls wait for it, without blocking the event loop."""

    def __init__(self, apis: Collection[str]) -> None:
        self._apis = apis
        self._loading: asyncio.Future[None] | None = None

    async def load(self) -> None:
        if self._loading is None:
            self._loading = asyncio.ensure_future(in_thread(_load, self._apis))
        await asyncio.shield(self._loading)


class OpenAIConnection:
    """The connection to one endpoint. Its client is made at the first request, and closed by `aclose`."""

    def __init__(self, endpoint: Endpoint, package: OpenAIPackage) -> None:
        self.endpoint = endpoint
        self._package = package
        self._client: AsyncOpenAI | None = None

    async def ready(self, name: str, timeouts: CallTimeouts) -> None:
        """Load the package within the time of a call of the model `name`. Raises ModelUnavailable."""
        try:
            async with asyncio.timeout_at(timeouts.until):
                await self._package.load()
        except TimeoutError:
            unready = f"{name}: the client was not loaded within {timeouts.seconds:g} s"
            raise ModelUnavailable(unready, call=UNSENT) from None

    async def read(
        self, api: Api, body: Mapping[str, Any], timeouts: CallTimeouts, name: str, *, most: int = MAX_RESPONSE
    ) -> bytes:
        """Send a request and read its whole answer, `most` bytes. Raises ServerError, and ExpertErrors for all else."""
        await self.ready(name, timeouts)
        read = bytearray()
        with self.translated(name, timeouts):
            async with asyncio.timeout_at(timeouts.until), AsyncExitStack() as opened:
                response = await self.send(api, body, timeouts, opened)
                async for chunk in response.iter_bytes():
                    read += chunk
                    if len(read) > most:
                        raise BadOutput(f"{name}: the answer exceeds {most:,} bytes", retryable=False)
        return bytes(read)

    async def send(self, api: Api, body: Mapping[str, Any], timeouts: CallTimeouts, opened: AsyncExitStack) -> Any:
        """Send a request; the response, once its status is known and good, stays open until `opened` closes it.

        Raises ServerError, and what `translated` translates.
        """
        import httpx2
        import openai

        client = self._opened()
        now = asyncio.get_running_loop().time()
        timeout = httpx2.Timeout(timeouts.left(now), connect=timeouts.connect(now), pool=timeouts.free(now))
        try:
            return await opened.enter_async_context(_call(client, self.endpoint, api, body, timeout))
        except openai.APIStatusError as error:
            came, said = error.response, error.body or error.message
            raise ServerError(error.status_code, said, came.headers, raw=came.content) from None

    @contextmanager
    def translated(self, name: str, timeouts: CallTimeouts) -> Iterator[None]:
        """Raise the errors of the package and of its HTTP client as ExpertErrors that say what to do."""
        import httpx2
        import openai

        where = self.endpoint
        try:
            yield
        except openai.APITimeoutError as error:
            raise timed_out(name, where, timeouts, error.__cause__) from None
        except TimeoutError:
            raise timed_out(name, where, timeouts, None) from None
        except openai.APIConnectionError as error:
            raise unreached(name, where, error) from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            cause = where.clean(str(error) or type(error).__name__)
            lost = f"{name}: the answer broke off"
            raise ModelUnavailable(f"{lost} ({cause}); {LOOK}", call=MODEL_DOWN, log_message=lost) from None
        except UnicodeEncodeError:
            unsendable = f"{name}: the request is not valid Unicode; send UTF-8 text"
            raise ModelRefused(unsendable, call=CallFacts("nothing")) from None
        except httpx2.InvalidURL:
            raise unusable(f"{name}: the URL of the endpoint {where.name!r} names no server") from None
        except openai.OpenAIError as error:
            raise ModelUnavailable(f"{name}: {where.clean(str(error))}") from None

    async def list_models(self, timeout: float = LIST_SECONDS) -> tuple[ListedModel, ...]:
        """The models that the server lists; none if it has no list. Raises ExpertErrors as a call does."""
        name = self.endpoint.name
        timeouts = CallTimeouts.of(self.endpoint.timeouts, timeout, asyncio.get_running_loop().time())
        try:
            return listed(await self.read("models", {}, timeouts, name))
        except ServerError as error:
            if error.status in (404, 405, 501):
                return ()
            raise refused(name, self.endpoint, error) from None
        except BadOutput as error:
            raise error.prefixed(name) from None

    async def no_default_model(self, timeout: float = LIST_SECONDS) -> ModelRefused:
        """The error that no model was named, with the models that there are."""
        name = self.endpoint.name
        try:
            offers = await self.list_models(min(timeout, LIST_SECONDS))
            said = logged = f"it offers {named(offers)}" if offers else "its server lists none"
        except ExpertError as error:
            unlisted = "its server does not say which it offers"
            said, logged = f"{unlisted} ({error})", f"{unlisted} ({error.log_message})"
        set_it = f"name one: {name}/MODEL, or set `model` in [endpoints.{name}] of swarm.toml"
        unnamed = f"the endpoint {name!r} has no default model; {set_it}"
        return unusable(f"{unnamed}; {said}", f"{unnamed}; {logged}")

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _opened(self) -> AsyncOpenAI:
        """The one client of this endpoint."""
        if self._client is None:
            from openai import AsyncOpenAI

            where = self.endpoint
            client = AsyncOpenAI(
                api_key=where.key or "none",
                base_url=where.url,
                max_retries=0,
                default_query=dict(where.query),
                http_client=http_client(where),
            )
            own = {header.lower(): value for header, value in where.headers.items()}
            client.organization, client.project = own.pop("openai-organization", None), own.pop("openai-project", None)
            client._custom_headers = own  # and not OPENAI_CUSTOM_HEADERS, which may hold keys
            self._client = client
        return self._client


def refused(name: str, endpoint: Endpoint, error: ServerError) -> ExpertError:
    """The ExpertError for a server's error: whether to try again, what to do, and what the server may charge."""
    fault = classify(error.status, error.body)
    said = endpoint.clean(reason(error.body) or str(error))
    where = "an error instead of an answer" if error.inside else f"HTTP {error.status}"
    model = name.partition("/")[2] or name
    remedy = fault.remedy.format(where=f"the endpoint {endpoint.name!r}", model=model)
    if 300 <= error.status < 400:
        remedy = moved(endpoint, error.headers.get("location", "")) or remedy
    logged = f"{name}: {where}"
    return fault.raised(
        f"{logged}: {said}" + (f"; {remedy}" if remedy else ""),
        retry_after(error.headers, error.body, time.time()),
        billed=_billed(error),
        limited=fault.retryable and (error.status == 429 or fault.kind == "rate"),
        log_message=logged,
    )


def _billed(error: ServerError) -> Billed:
    """A request that a server refuses costs nothing. Whether one in which it fails is billed is not known."""
    refused = 300 <= error.status < 500 and error.status not in BEGUN
    return "nothing" if refused and not error.inside else "unknown"


def _call(client: AsyncOpenAI, where: Endpoint, api: Api, body: Mapping[str, Any], timeout: Timeout) -> Any:
    """The request with `body` as it is, and nothing that the package would add: servers take more than it knows."""
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


def _load(apis: Collection[str]) -> None:
    """Import what is slow about the first call: the package, what it and its client import late, certificates."""
    for api in apis:
        importlib.import_module(_MODULES[api])
    importlib.import_module("anyio._backends._asyncio")
    with suppress(OSError):  # raised again by the first call that needs them
        trusted(None)
