"""The servers that models live on, as the environment names them.

Where endpoints are set: `OPENAI_API_KEY` and `OPENAI_BASE_URL` for the endpoint `openai`, `SWARM_ENDPOINT_<NAME>_URL`
and `SWARM_ENDPOINT_<NAME>_KEY` for any other (a `-` in its name is a `_` there).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from swarm.errors import ModelRefused

OFFICIAL = "https://api.openai.com/v1"

_ENDPOINT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SENDABLE = re.compile(r"[\x20-\x7e]*")
"""What a header may hold. Of anything else a client complains with the whole header, key included."""
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

    @property
    def host(self) -> str:
        """Where it is, without the user and password that a URL may hold."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

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
    if not _usable(url):
        raise ModelRefused(f"{url_name} is no http or https URL; give the base URL of the server, such as {OFFICIAL}")
    key = environ.get(key_name, "").strip()
    if not _SENDABLE.fullmatch(key):
        raise ModelRefused(f"{key_name} has a character that no key has, such as a line's end; copy the key again")
    return Endpoint(name, url.rstrip("/"), key)


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
