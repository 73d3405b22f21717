"""The official package for OpenAI-compatible servers, and its one owner: one client per endpoint and process.

The package is loaded in a thread, by `OpenAIModels.warm` or at the first call: it takes a second or two, in which
a process has other things to do. Its retries are off: whether to try again is decided by the scheduler, which sees all
attempts. Of the environment it is told nothing: its variables are those of one server, and here are several. Answers
are read by hand, and with a cap: what is asked and what comes back is in `chat.py`, `embeddings.py` and
`model_list.py`, how a server is reached in `transport.py`.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from swarm.errors import BadOutput, ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.endpoints import Endpoint, Endpoints, unusable
from swarm.llm.openai.chat import OpenAIModel as OpenAIModel
from swarm.llm.openai.chat import refused
from swarm.llm.openai.embeddings import OpenAIEmbedder
from swarm.llm.openai.model_list import ListedModel, listed, named
from swarm.llm.openai.reasoning_memory import Thinking
from swarm.llm.openai.response_parser import LOOK, MAX_RESPONSE, ServerError
from swarm.llm.openai.structured_output import CapabilityCache
from swarm.llm.openai.timeouts import CallTimeouts
from swarm.llm.openai.transport import http_client, of_health, timed_out, trusted, unreached
from swarm.runtime.thread_pool import in_thread

if TYPE_CHECKING:
    from httpx2 import Timeout
    from openai import AsyncOpenAI

LIST_SECONDS = 5.0
"""For the list of models that an error names."""

Api = Literal["chat", "responses", "embeddings", "models"]
_SPOKEN = {
    "chat": "openai.resources.chat.completions.completions",
    "responses": "openai.resources.responses.responses",
}


class OpenAIModels:
    """Models of all endpoints that are set up. One client per endpoint, opened at its first call, closed by `aclose`.

    Raises BadInput where `swarm.toml` is wrong. What each model was found to honour is remembered here, for an hour of
    `clock`.
    """

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self.endpoints = Endpoints.load(environ)
        self._clients: dict[str, AsyncOpenAI] = {}
        self._loading: asyncio.Future[None] | None = None
        self.notes = CapabilityCache(clock)
        self.thinking = Thinking(clock)

    async def __aenter__(self) -> OpenAIModels:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def get(self, name: str) -> OpenAIModel:
        """The model `endpoint/model`, or the default one of an endpoint; without one, it says so when it is asked."""
        found = self.endpoints.of_model(name)
        return OpenAIModel(self.endpoints.full(name), name.partition("/")[2] or found.model, found, self)

    def slots(self, endpoint: str) -> int | None:
        """How many calls an endpoint takes at once, where its limits say so."""
        limits = self.endpoints.limits.get(endpoint)
        return limits.concurrency if limits else None

    def embedder(self, name: str) -> OpenAIEmbedder:
        """The embedding model `endpoint/model`, or the default one of an endpoint."""
        found = self.get(name)
        return OpenAIEmbedder(found.name, found.model, found.endpoint, self)

    async def offered(self, endpoint: str, timeout: float = LIST_SECONDS) -> tuple[ListedModel, ...]:
        """The models that an endpoint lists; none where it lists none. Raises ExpertErrors as a call does."""
        where = self.endpoints.get(endpoint)
        patience = CallTimeouts.of(where.timeouts, timeout, asyncio.get_running_loop().time())
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
            self._loading = asyncio.ensure_future(in_thread(_load, self.endpoints.apis))
        await asyncio.shield(self._loading)

    async def ready(self, name: str, patience: CallTimeouts) -> None:
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
        patience: CallTimeouts,
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
        self, where: Endpoint, api: Api, body: Mapping[str, Any], patience: CallTimeouts, opened: AsyncExitStack
    ) -> Any:
        """The answer to a request once its status is known and good, open until `opened` closes it.

        Raises ServerError, and what `translated` translates.
        """
        import httpx2
        import openai

        client = self._client(where)
        now = asyncio.get_running_loop().time()
        timeout = httpx2.Timeout(patience.left(now), connect=patience.connect(now), pool=patience.free(now))
        try:
            return await opened.enter_async_context(_call(client, where, api, body, timeout))
        except openai.APIStatusError as error:
            came, said = error.response, error.body or error.message
            raise ServerError(error.status_code, said, came.headers, raw=came.content) from None

    @contextmanager
    def translated(self, name: str, where: Endpoint, patience: CallTimeouts) -> Iterator[None]:
        """What goes wrong in the block on the way to a server and back, as ExpertErrors that say what to do."""
        import httpx2
        import openai

        try:
            yield
        except openai.APITimeoutError as error:
            raise timed_out(name, where, patience, error.__cause__) from None
        except TimeoutError:
            raise timed_out(name, where, patience, None) from None
        except openai.APIConnectionError as error:
            raise unreached(name, where, error) from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            cause = where.clean(str(error) or type(error).__name__)
            raise of_health(ModelUnavailable(f"{name}: the answer broke off ({cause}); {LOOK}"), "model") from None
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
            from openai import AsyncOpenAI

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
            self._clients[where.name] = client
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


def _load(apis: Collection[str]) -> None:
    """All that is slow about the first call: the package, the parts that it and its client load late, certificates."""
    for api in apis:
        importlib.import_module(_SPOKEN[api])
    importlib.import_module("anyio._backends._asyncio")
    with suppress(OSError):  # told by the first call that needs them
        trusted(None)
