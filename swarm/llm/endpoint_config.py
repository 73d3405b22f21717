"""The schema and the reading of `swarm.toml`, the file that configures endpoints.

A process reads it once, when it starts: restart running processes after a change.

[endpoints.box]
url = "http://box:8080/v1"
key_env = "BOX_KEY"          # the variable that has the key; no secret stands in the file
model = "small"              # what `model: box` in a card means
timeouts = { connect = 2, first_token = 20, between_tokens = 10, total = 120 }
limits = { concurrency = 8, requests_per_minute = 600 }
prices = { input = 0.15, output = 0.6, cached = 0.075, max_output = 16000 }
sampling = { temperature = 0.2, max_tokens = 800 }   # where a card says nothing else; as `swarm.types.sampling` has
them

Errors in it raise BadInput, which names the file, the table and the field. No value is shown: it may be a key.
"""

from __future__ import annotations

import re
import ssl
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from swarm.errors import BadInput, TooLarge
from swarm.llm.openai import responses
from swarm.types.base import Input, explain
from swarm.types.card import Limits
from swarm.types.price import per_million
from swarm.types.sampling import UNSET, Sampling

MAX_FILE = 1_000_000
"""Bytes of the file."""
LONGEST = 86_400.0
"""Seconds that a timeout may have."""
ENDPOINT = re.compile(r"(?!local$)[a-z0-9][a-z0-9_-]{0,63}")
SENDABLE = re.compile(r"[\x20-\x7e]*")
"""Characters that a header may have. For others, clients raise errors that show the whole header, key included."""

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_MODEL = re.compile(r"[\x21-\x7e]{1,200}")
_SECRET = re.compile(
    r"authorization|cookie|secret|passw|credential|(^|[-_])auth$|(^|[-_]|api)(key|token)$", re.IGNORECASE
)
"""Names of headers and parameters whose values are secrets."""
_BY_ENVIRONMENT = 'name the variable that has it: key_env = "NAME"'


def usable(url: str, schemes: Sequence[str] = ("http", "https")) -> bool:
    """Whether `url` is the URL of a server."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _is_url(url: str) -> str:
    if not usable(url := url.strip()):
        raise ValueError("not an http or https URL; give the base URL of the server, such as https://api.openai.com/v1")
    if urlsplit(url).query:
        raise ValueError("it has a query; put that into `query`")
    return _open(url, "set the whole URL in the environment: SWARM_ENDPOINT_<NAME>_URL")


def _is_proxy(url: str) -> str:
    if not usable(url := url.strip()):
        raise ValueError("not an http or https URL; give that of the proxy, such as http://proxy:3128")
    return _open(url, "set HTTPS_PROXY in the environment instead")


def _open(url: str, remedy: str) -> str:
    if "@" in urlsplit(url).netloc:
        raise ValueError(f"it holds a user or a password; {remedy}")
    return url


def _is_variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("not the name of a variable; put the secret into the environment and give the variable's name")
    return name


def _is_model(name: str) -> str:
    if not _MODEL.fullmatch(name):
        raise ValueError("not the name of a model; give it as the server has it, without the endpoint before it")
    return name


def _are_sent(pairs: dict[str, str]) -> dict[str, str]:
    for name, value in pairs.items():
        if _SECRET.search(name):
            raise ValueError(f"{name[:100]!r} holds a secret; name the variable that has it: headers_env")
        if not SENDABLE.fullmatch(value):
            raise ValueError(f"{name[:100]!r} has a character that cannot be sent; remove it")
    return pairs


def _are_headers(names: dict[str, str]) -> dict[str, str]:
    for name in names:
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name[:100]!r} is not the name of a header; correct it")
    return names


Variable = Annotated[str, AfterValidator(_is_variable)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST, allow_inf_nan=False)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Timeouts(Input):
    """Time limits of a call in seconds. None: as long as its caller waits."""

    connect: Seconds = 5.0
    first_token: Seconds | None = None
    """From the request to the first piece of a streamed answer."""
    between_tokens: Seconds | None = None
    """Between two pieces of it."""
    total: Seconds | None = None
    """For the whole call, even if its caller would wait longer."""


class Prices(Input):
    """Prices of the default model in US dollars per million tokens."""

    input: Dollars
    output: Dollars
    cached: Dollars | None = None
    max_output: int | None = Field(default=None, ge=1)
    as_of: date | None = None

    def given(self, table: str) -> dict[str, Any]:
        """These prices as fields of a `Price`. Raises BadInput."""
        rates = {"input": self.input, "output": self.output, "cached": self.cached}
        found: dict[str, Any] = {
            name: per_million(f"{table} prices.{name}", rate) for name, rate in rates.items() if rate is not None
        }
        more = {"max_output": self.max_output, "as_of": self.as_of}
        return found | {name: value for name, value in more.items() if value is not None}


class Entry(Input):
    """One table of the file."""

    url: Annotated[str, AfterValidator(_is_url)] | None = None
    key_env: Variable | None = None
    model: Annotated[str, AfterValidator(_is_model)] = ""
    api: Literal["chat", "responses"] = "chat"
    headers: Annotated[dict[str, str], AfterValidator(_are_headers), AfterValidator(_are_sent)] = {}
    headers_env: Annotated[dict[str, Variable], AfterValidator(_are_headers)] = {}
    query: Annotated[dict[str, str], AfterValidator(_are_sent)] = {}
    proxy: Annotated[str, AfterValidator(_is_proxy)] | None = None
    ca_certs: str | None = None
    connections: int = Field(default=1_000, ge=1, le=100_000)
    timeouts: Timeouts = Timeouts()
    limits: Limits | None = None
    prices: Prices | None = None
    sampling: Sampling = UNSET


class _File(Input):
    endpoints: dict[str, Entry] = {}


def located(environ: Mapping[str, str]) -> Path | None:
    """The path of the file: SWARM_CONFIG, else `swarm.toml` in the current folder if there is one."""
    if given := environ.get("SWARM_CONFIG", "").strip():
        return Path(given).expanduser()
    here = Path("swarm.toml")
    return here if here.exists() else None


def read(path: Path) -> dict[str, Entry]:
    """The tables of the file by endpoint name. Relative paths in it start at its folder. Raises BadInput."""
    document = _parsed(path)
    try:
        found = _File.model_validate(document, strict=True).endpoints
    except ValidationError as error:
        raise _explained(path, error) from None
    return {name: _sound(path, name, entry) for name, entry in found.items()}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no path"
        raise BadInput(str(path), f"it cannot be read ({why})", "check the path in SWARM_CONFIG") from None
    if len(content) > MAX_FILE:
        raise TooLarge(str(path), len(content), MAX_FILE)
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise BadInput(str(path), "it is not UTF-8", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(str(path), f"it is not TOML: {str(error)[:200]}", "correct that line") from None
    except (RecursionError, ValueError):
        raise BadInput(str(path), "it cannot be parsed", "write one table for each endpoint") from None


def _sound(path: Path, name: str, entry: Entry) -> Entry:
    """Check what no field shows by itself. Raises BadInput."""
    table = f"{path} [endpoints.{name[:80]}]"
    if not ENDPOINT.fullmatch(name):
        raise BadInput(table, "not the name of an endpoint", "use lower-case letters, digits, - and _, and not `local`")
    if entry.limits == Limits():
        raise BadInput(f"{table} limits", "it has none", "give one, or leave it out")
    if entry.limits and entry.limits.burst and not (entry.limits.requests_per_minute or entry.limits.tokens_per_minute):
        raise BadInput(
            f"{table} limits.burst",
            "it needs a rate limit beside it, and there is none",
            "add requests_per_minute or tokens_per_minute",
        )
    if entry.prices and not entry.model:
        raise BadInput(f"{table} prices", "they are those of the default model", "add model, or use swarm prices set")
    if entry.prices:
        entry.prices.given(table)
    if entry.api == "responses" and (unknown := responses.unknown(entry.sampling)):
        raise BadInput(f"{table} sampling.{unknown[0]}", "the responses API does not have it", "leave it out")
    if entry.ca_certs is None:
        return entry
    certificates = path.parent / Path(entry.ca_certs).expanduser()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificates)
    except (OSError, ValueError) as error:  # an SSLError is an OSError, too
        why = "no certificates in PEM" if isinstance(error, ssl.SSLError) else getattr(error, "strerror", "no path")
        raise BadInput(f"{table} ca_certs", f"{certificates} cannot be used ({why})", "give a file of them") from None
    return entry.model_copy(update={"ca_certs": str(certificates)})


# -- words for what is wrong ---------------------------------------------------------------------------------------


def _explained(path: Path, error: ValidationError) -> BadInput:
    """The first problem, with its table and field; for an unknown name, with the nearest known one."""
    problems = error.errors(include_url=False, include_input=False)
    unknown = (each for each in problems if each["type"] == "extra_forbidden")
    found = next(unknown, problems[0])  # a misspelt name is also a missing one
    place = [str(part)[:80] for part in found["loc"]]
    table = f"{path} [{'.'.join(place[:2])}]" if len(place) > 1 else str(path)
    field = " ".join(filter(None, (table, ".".join(place[2:] if len(place) > 1 else place))))
    if found["type"] == "extra_forbidden":
        return BadInput(field, "unknown", _meant(place))
    message, _, remedy = explain(error).partition(": ")[2].partition("; ")
    return BadInput(field, _typed(message), remedy.partition("; ")[0] or "correct it")


def _meant(place: Sequence[str]) -> str:
    """The remedy for an unknown name."""
    if len(place) == 3 and re.fullmatch(r"(api_?)?(key|token)|secret|password", place[2], re.IGNORECASE):
        return f"no secret stands in this file; {_BY_ENVIRONMENT}"
    known = list(_known(place).model_fields)
    near = get_close_matches(place[-1].lower(), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def _known(place: Sequence[str]) -> type[BaseModel]:
    inner: dict[str, type[BaseModel]] = {
        "timeouts": Timeouts, "limits": Limits, "prices": Prices, "sampling": Sampling,
    }  # fmt: skip
    if len(place) < 3:
        return _File
    return inner.get(place[2], Entry) if len(place) > 3 else Entry


def _typed(message: str) -> str:
    """Pydantic's message as ours: it says what the value must be."""
    return re.sub(r"^Input should be ", "must be ", message)
