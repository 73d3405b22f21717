"""The endpoints (model servers) that the environment and `swarm.toml` configure.

The environment overrides the file: `OPENAI_API_KEY` and `OPENAI_BASE_URL` for the endpoint `openai`,
`SWARM_ENDPOINT_<NAME>_URL` and `SWARM_ENDPOINT_<NAME>_KEY` for any other (a `-` in its name is a `_` there). Either of
them alone is enough for a start; `endpoint_config.py` describes the file.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from swarm.errors import BadInput, CallFacts, ModelRefused
from swarm.llm.endpoint_config import ENDPOINT, SENDABLE, Entry, Timeouts, located, read, usable
from swarm.types.card import Limits
from swarm.types.sampling import UNSET, Sampling

OFFICIAL = "https://api.openai.com/v1"

_KEY_LIKE = re.compile(r"\b(?:sk|pk|key)-[A-Za-z0-9_*-]{6,}")
_BY_URL = re.compile(r"SWARM_ENDPOINT_([A-Z0-9][A-Z0-9_]*)_URL")
NAMED = "a model is named endpoint/model, such as openai/gpt-6-luna, or by its endpoint alone"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model server and its settings. Its secrets never show, neither in its repr nor in an error."""

    name: str
    url: str = field(repr=False)
    key: str = field(default="", repr=False)
    model: str = ""
    """The default one; empty: none."""
    api: Literal["chat", "responses"] = "chat"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = None
    ca_certs: str | None = None
    """A file of certificates to trust, in place of the system's."""
    connections: int = 1_000
    """Most connections that are open at once."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    sampling: Sampling = UNSET
    """For calls without their own settings."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Beside the key."""

    @property
    def limit_name(self) -> str:
        """The name of the token limit to try first: OpenAI's newer models refuse `max_tokens`, many servers ignore
        `max_completion_tokens`."""
        return "max_completion_tokens" if self.url.startswith(OFFICIAL) else "max_tokens"

    @property
    def host(self) -> str:
        """Host and port, without the user and password that a URL may hold."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def clean(self, text: str) -> str:
        """`text` on one line, short, and without anything that looks like a key."""
        for secret in (self.key, *self.secrets):
            if secret:
                text = text.replace(secret, "***")
        return " ".join(_KEY_LIKE.sub("***", text).split())[:300]


class Endpoints:
    """Every configured endpoint. A missing variable raises an error only when its endpoint is used."""

    def __init__(self, environ: Mapping[str, str], entries: Mapping[str, Entry] | None = None, file: str = "") -> None:
        self._environ, self._entries, self._file = dict(environ), dict(entries or {}), file
        self._made: dict[str, Endpoint] = {}

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Endpoints:
        """The endpoints of `environ` and of the file. Raises BadInput if anything in the file is wrong."""
        path = located(environ)
        if path is None:
            return cls(environ)
        found = cls(environ, read(path), str(path))
        for name, entry in found._entries.items():
            if name != "openai" and not (entry.url or environ.get(_variables(name)[0], "").strip()):
                where, variable = f"{path} [endpoints.{name}] url", _variables(name)[0]
                raise BadInput(where, "missing", f"add it, or set {variable} in the environment")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all endpoints, sorted."""
        by_url = {match[1].lower().replace("_", "-") for name in self._environ if (match := _BY_URL.fullmatch(name))}
        given = {name for name in by_url if self._environ.get(_variables(name)[0], "").strip()}
        given -= {name.replace("_", "-") for name in self._entries}
        official = {"openai"} if any(self._environ.get(name, "").strip() for name in _variables("openai")) else set()
        return tuple(sorted(given | official | set(self._entries)))

    @property
    def apis(self) -> frozenset[str]:
        """The APIs that they are called with."""
        return frozenset({"chat", *(entry.api for entry in self._entries.values())})

    @property
    def variables(self) -> frozenset[str]:
        """The environment variables that the file names."""
        named = (name for entry in self._entries.values() for name in (entry.key_env, *entry.headers_env.values()))
        return frozenset(name for name in named if name)

    def get(self, name: str) -> Endpoint:
        """The endpoint `name`. Raises ModelRefused with what to set."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def of_model(self, name: str) -> Endpoint:
        """The endpoint of a model, named `endpoint/model` or by its endpoint alone. Raises ModelRefused."""
        where, slash, model = name.partition("/")
        if (slash and not model) or not (slash or where in self.names):
            known = f"; endpoints that are set up: {', '.join(self.names)}" if self.names else ""
            raise unusable(f"{name[:100]!r} is neither a model nor an endpoint that is set up; {NAMED}{known}")
        return self.get(where)

    @property
    def limits(self) -> dict[str, Limits]:
        """The limits that the file sets, by endpoint."""
        return {name: entry.limits for name, entry in sorted(self._entries.items()) if entry.limits}

    @property
    def prices(self) -> dict[str, dict[str, Any]]:
        """The prices in the file, by model: fields of a `Price`, the date only if the file has one."""
        priced = ((f"{name}/{entry.model}", entry.prices) for name, entry in sorted(self._entries.items()))
        return {model: prices.given(self._file) for model, prices in priced if prices}

    def full(self, model: str) -> str:
        """`endpoint/model` for a name that may be an endpoint's alone; unchanged if that has no default model."""
        entry = self._entries.get(model)
        return f"{model}/{entry.model}" if entry and entry.model else model

    def _make(self, name: str) -> Endpoint:
        if not ENDPOINT.fullmatch(name):
            raise unusable(f"{name[:100]!r} is not an endpoint; {NAMED}")
        entry = self._entries.get(name) or Entry()
        url, key = self._url(name, entry), self._key(name, entry)
        given = {header: self._secret(variable) for header, variable in entry.headers_env.items()}
        secrets = (*given.values(), *_of_url(url))
        return Endpoint(
            name,
            url.rstrip("/"),
            key,
            model=entry.model,
            api=entry.api,
            headers={**entry.headers, **given},
            query=entry.query,
            proxy=entry.proxy,
            ca_certs=entry.ca_certs,
            connections=entry.connections,
            timeouts=entry.timeouts,
            sampling=entry.sampling,
            secrets=tuple(value for value in secrets if len(value) > 3),
        )

    def _url(self, name: str, entry: Entry) -> str:
        variable, key_name = _variables(name)
        official = name == "openai" and (self._environ.get(key_name) or entry.key_env)
        url = self._environ.get(variable, "").strip() or entry.url or (OFFICIAL if official else "")
        if not url:
            wanted = f"{key_name} (or {variable})" if name == "openai" else f"{variable} (and {key_name})"
            others = f"; endpoints that are set up: {', '.join(self.names[:20])}" if self.names else ""
            raise unusable(
                f"the endpoint {name!r} is not set up; set {wanted} in this worker's environment, or add "
                f"[endpoints.{name}] to swarm.toml{others}"
            )
        if not usable(url):
            raise unusable(
                f"{variable} is not an http or https URL; give the base URL of the server, such as {OFFICIAL}"
            )
        if urlsplit(url).query:
            raise unusable(f"{variable} has a query; put that into `query` of [endpoints.{name}] in swarm.toml")
        return url

    def _key(self, name: str, entry: Entry) -> str:
        """The key in the endpoint's own variable, else in the one that the file names."""
        own = _variables(name)[1]
        if self._environ.get(own, "").strip() or not entry.key_env:
            return self._sendable(own)
        return self._secret(entry.key_env)

    def _secret(self, variable: str) -> str:
        """The value of a variable that the file names. Raises ModelRefused if it is not set."""
        if not (value := self._sendable(variable)):
            raise unusable(f"{variable}, which {self._file} names, is not set; set it in this worker's environment")
        return value

    def _sendable(self, variable: str) -> str:
        value = self._environ.get(variable, "").strip()
        if not SENDABLE.fullmatch(value):
            raise unusable(f"{variable} has a character that no key has, such as a line break; copy the key again")
        return value


def unusable(message: str, log_message: str | None = None) -> ModelRefused:
    """The error for a wrong configuration, for an operator to correct. Nothing was sent; other endpoints may work."""
    return ModelRefused(message, call=CallFacts("nothing", elsewhere=True), log_message=log_message)


def _of_url(url: str) -> tuple[str, ...]:
    """The secrets in a URL, in each form in which a server may repeat them."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    sent = b64encode(f"{user}:{password}".encode()).decode() if user or password else ""
    return (parts.username or "", parts.password or "", user, password, sent)


def _variables(name: str) -> tuple[str, str]:
    """The environment variables of an endpoint's URL and key."""
    if name == "openai":
        return "OPENAI_BASE_URL", "OPENAI_API_KEY"
    prefix = f"SWARM_ENDPOINT_{name.upper().replace('-', '_')}_"
    return f"{prefix}URL", f"{prefix}KEY"
