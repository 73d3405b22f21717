"""Models behind OpenAI-compatible servers, spoken to with the official package; its one owner.

Where endpoints are set: `OPENAI_API_KEY` and `OPENAI_BASE_URL` for the endpoint `openai`, `SWARM_ENDPOINT_<NAME>_URL`
and `SWARM_ENDPOINT_<NAME>_KEY` for any other (a `-` in its name is a `_` there). The package is imported at the
first call. Its retries are off: whether to try again is decided by the scheduler, which sees all attempts.
Servers differ in what they send (`notes/llm-servers.md`), so answers are read by hand, and with a cap.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from swarm.errors import BadOutput, ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.base import Completion, Message
from swarm.models import Usage

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

MAX_RESPONSE = 4_000_000
"""Bytes of one answer, decompressed."""
OFFICIAL = "https://api.openai.com/v1"
CONNECT_SECONDS = 5.0
PASSING = frozenset({408, 409, 425, 429})
"""Client errors that another attempt may not meet. LiteLLM says 408 for its own time-out."""

_ENDPOINT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_KEY_LIKE = re.compile(r"\b(?:sk|pk|key)-[A-Za-z0-9_*-]{6,}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server. Its key never shows, neither here nor in an error."""

    name: str
    url: str
    key: str = field(default="", repr=False)

    @property
    def limit_name(self) -> str:
        """OpenAI's newer models refuse `max_tokens`; many other servers ignore `max_completion_tokens`."""
        return "max_completion_tokens" if self.url.startswith(OFFICIAL) else "max_tokens"

    def clean(self, text: str) -> str:
        """`text` on one line, short, and without anything that looks like a key."""
        if self.key:
            text = text.replace(self.key, "***")
        return " ".join(_KEY_LIKE.sub("***", text).split())[:300]


def endpoint(name: str, environ: Mapping[str, str]) -> Endpoint:
    """The endpoint `name` as the environment has it, or ModelRefused with the variables to set."""
    if not _ENDPOINT.fullmatch(name):
        raise ModelRefused(f"{name!r} is no endpoint; a model is named endpoint/model, such as openai/gpt-6-luna")
    prefix = f"SWARM_ENDPOINT_{name.upper().replace('-', '_')}_"
    url_name, key_name = prefix + "URL", prefix + "KEY"
    default = ""
    if name == "openai":
        url_name, key_name = "OPENAI_BASE_URL", "OPENAI_API_KEY"
        default = OFFICIAL if environ.get(key_name) else ""
    url = environ.get(url_name, "").strip() or default
    if not url:
        wanted = "OPENAI_API_KEY (or OPENAI_BASE_URL)" if name == "openai" else f"{url_name} (and {key_name})"
        raise ModelRefused(f"the endpoint {name!r} is not set up; set {wanted} in this worker's environment")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise ModelRefused(f"{url_name} is no http or https URL; give the base URL of the server, such as {OFFICIAL}")
    return Endpoint(name, url.rstrip("/"), environ.get(key_name, "").strip())


class OpenAIModels:
    """Models of all endpoints in `environ`. One client per endpoint, opened at its first call, closed by `aclose`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._clients: dict[str, AsyncOpenAI] = {}

    async def __aenter__(self) -> OpenAIModels:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def get(self, name: str) -> OpenAIModel:
        where, slash, model = name.partition("/")
        if not slash or not model:
            raise ModelRefused(f"{name!r} is no model; a model is named endpoint/model, such as openai/gpt-6-luna")
        return OpenAIModel(name, model, endpoint(where, self._environ), self)

    def client(self, where: Endpoint) -> AsyncOpenAI:
        """The one client of this endpoint."""
        if where.name not in self._clients:
            from openai import AsyncOpenAI

            self._clients[where.name] = AsyncOpenAI(
                api_key=where.key or "none", base_url=where.url, max_retries=0, organization="", project=""
            )
        return self._clients[where.name]

    async def aclose(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()


@dataclass(frozen=True, slots=True)
class OpenAIModel:
    """A chat model of one endpoint."""

    name: str
    model: str
    endpoint: Endpoint
    models: OpenAIModels = field(repr=False)

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, timeout: float = 60.0
    ) -> Completion:
        import openai

        try:
            async with asyncio.timeout(timeout):
                body = await self._post(messages, max_tokens, timeout)
        except (TimeoutError, openai.APITimeoutError):
            raise ModelUnavailable(f"{self.name}: no answer within {timeout:g} s") from None
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APIConnectionError as error:
            cause = self.endpoint.clean(str(error.__cause__ or error))
            raise ModelUnavailable(f"{self.name}: cannot reach {self._where} ({cause})") from None
        except openai.OpenAIError as error:
            raise ModelUnavailable(f"{self.name}: {self.endpoint.clean(str(error))}") from None
        return self._completion(body)

    async def _post(self, messages: Sequence[Message], max_tokens: int | None, timeout: float) -> bytes:
        import httpx2

        limit: dict[str, Any] = {self.endpoint.limit_name: max_tokens} if max_tokens else {}
        call = self.models.client(self.endpoint).chat.completions.with_streaming_response.create(
            model=self.model,
            messages=[{"role": m.role, "content": m.content} for m in messages],  # type: ignore[misc]
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            **limit,
        )
        try:
            async with call as response:
                return await self._read(response.iter_bytes())
        except httpx2.HTTPError as error:
            cause = self.endpoint.clean(str(error) or type(error).__name__)
            raise ModelUnavailable(f"{self.name}: the answer broke off ({cause})") from None

    async def _read(self, chunks: AsyncIterator[bytes]) -> bytes:
        """The whole body, given up as soon as it exceeds the cap."""
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_RESPONSE:
                raise BadOutput(f"{self.name}: the answer exceeds {MAX_RESPONSE:,} bytes", retryable=False)
        return bytes(body)

    def _completion(self, body: bytes) -> Completion:
        """Read a chat completion, trusting nothing but its shape. Errors inside a 200 exist in the wild."""
        try:
            data: Any = json.loads(body)
        except (ValueError, RecursionError):
            raise BadOutput(f"{self.name}: the answer is not JSON") from None
        if isinstance(data, dict) and data.get("error"):
            raise ModelUnavailable(f"{self.name}: {self.endpoint.clean(_reason(data))}")
        try:
            choice = data["choices"][0]
            message, finish = choice["message"], choice.get("finish_reason")
            text, refusal = message.get("content"), message.get("refusal")
        except (LookupError, TypeError, AttributeError):
            raise BadOutput(f"{self.name}: the answer is no chat completion") from None
        if refusal or finish == "content_filter":
            said = self.endpoint.clean(str(refusal or "content filter"))
            raise ModelRefused(f"{self.name} will not answer this: {said}")
        if not isinstance(text, str) or not text.strip():
            raise BadOutput(f"{self.name}: the answer is empty")
        return Completion(text=text, usage=_usage(data), model=self.name, cut=finish == "length")

    def _refusal(self, error: APIStatusError) -> ExpertError:
        """What a status other than 200 means for another attempt."""
        status, said = error.status_code, self.endpoint.clean(_reason(error.body) or error.message)
        message = f"{self.name}: HTTP {status}: {said}"
        if status in (401, 403):
            return ModelRefused(f"{message}; check the key of the endpoint {self.endpoint.name!r}")
        spent = "insufficient_quota" in str(error.body)
        if (status in PASSING or status >= 500) and not spent:
            return ModelUnavailable(message, retry_after=_retry_after(error.response.headers))
        return ModelRefused(message)

    @property
    def _where(self) -> str:
        return urlsplit(self.endpoint.url).netloc.rpartition("@")[2]


def _reason(body: object) -> str:
    """The words of an error body, in whichever of its usual places they stand."""
    found: Any = body
    for _ in range(3):
        if isinstance(found, dict):
            found = found.get("error") or found.get("message") or found.get("detail") or ""
    return found if isinstance(found, str) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks us to wait. LiteLLM hands its upstream's header on under another name."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0), ("llm_provider-retry-after", 1.0)):
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value := headers.get(name, "").strip()):
            return float(value) / unit
    return None


def _usage(data: Mapping[str, Any]) -> Usage:
    """Tokens as the server counted them; zero where it did not."""
    given = data.get("usage")
    counted = given if isinstance(given, dict) else {}
    tokens = [counted.get(name) for name in ("prompt_tokens", "completion_tokens")]
    sent, received = (value if isinstance(value, int) and value > 0 else 0 for value in tokens)
    return Usage(calls=1, input_tokens=sent, output_tokens=received)
