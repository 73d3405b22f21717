"""Redis URLs, and clients for them.

    redis://[USER:PASSWORD@]HOST:6379/0           one server
    rediss://HOST:6380/0?ssl_ca_certs=ca.pem      over TLS; a client certificate: ssl_certfile=, ssl_keyfile=
    unix:///PATH                                  a socket of this machine
    redis+sentinel://[USER:PASSWORD@]HOST:26379,HOST2,HOST3/SERVICE[/DB]
                                                  the master that these sentinels name, wherever it moves
    rediss+sentinel://...                         the same over TLS, sentinels included

User and password are those of the master; a sentinel's own are `?sentinel_username=` and `?sentinel_password=`. Other
options after the `?` are those of redis-py, such as socket_timeout.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis as blocking
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry as BlockingRetry
from redis.sentinel import Sentinel as BlockingSentinel

from swarm.errors import BadInput

CONNECT_TIMEOUT = 3.0
"""Seconds."""
ANSWER_TIMEOUT = 10.0
"""Seconds without a reply after which a connection counts as dead."""
MASTER_TIMEOUT = 3.0
"""The same with sentinels, shorter: they may have replaced a master that hangs."""
SENTINEL_TIMEOUT = 1.0
"""Seconds for one sentinel of several."""
SENTINEL_PORT = 26379
NAMELESS = {"lib_name": None, "lib_version": None}
"""Omits the name and version of the library; sending them needs one more right in Redis."""
SENTINEL = "+sentinel://"
REMEDY = "use redis://HOST:6379/0, rediss://, unix:///PATH or redis+sentinel://HOST:26379,HOST2/SERVICE"
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def shown(url: str) -> str:
    """Return a URL without user, password and query, fit for messages."""
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    return scheme + mark + rest.rpartition("@")[2].partition("?")[0]


def moves(url: str) -> bool:
    """Whether sentinels name the master."""
    return SENTINEL in url


@dataclass(frozen=True)
class Watched:
    """A master behind sentinels: their hosts, its service name, and the client options of both."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    options: dict[str, Any] = field(repr=False)
    asking: dict[str, Any] = field(repr=False)


def watched(url: str) -> Watched:
    """Parse a sentinel URL. Raises ValueError if it is none."""
    scheme, _, rest = url.partition(SENTINEL)
    if scheme not in ("redis", "rediss"):
        raise ValueError
    hosts, _, path = rest.partition("?")[0].rpartition("@")[2].partition("/")
    service, _, db = path.partition("/")
    if not service or not hosts:
        raise ValueError
    user, at, _ = rest.partition("?")[0].rpartition("@")
    query = rest.partition("?")[2]
    options: dict[str, Any] = dict(parse_url(f"redis://{user}{at}host/{int(db or 0)}?{query}"))
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    asking = {name: value for name, value in own.items() if value}
    asking |= {name: value for name, value in options.items() if name.startswith("ssl_")}
    asking |= NAMELESS | {"socket_timeout": SENTINEL_TIMEOUT, "socket_connect_timeout": SENTINEL_TIMEOUT}
    if scheme == "rediss":
        options["ssl"] = asking["ssl"] = True
        asking = {name: value for name, value in _defaults(url).items() if name.startswith("ssl_")} | asking
    del options["host"]
    return Watched(tuple(_host(part) for part in hosts.split(",")), unquote(service), options, asking)


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError
    return parts.hostname, parts.port or SENTINEL_PORT


def _defaults(url: str) -> dict[str, Any]:
    """Options of every client, blocking or not. Over TLS the host name is checked against the certificate."""
    unchecked = re.search(r"[?&]ssl_(cert_reqs=(none|optional)|check_hostname=)", url)
    return {**NAMELESS, **({"ssl_check_hostname": True} if url.startswith("rediss") and not unchecked else {})}


def open_client(url: str, kind: type[Redis] = Redis, **options: Any) -> Redis:
    """Open a client for `url` that never retries a command on its own. Raises BadInput for an invalid URL."""
    defaults: dict[str, Any] = (
        {
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": MASTER_TIMEOUT if moves(url) else ANSWER_TIMEOUT,
            "health_check_interval": 0,
        }
        | _defaults(url)
        | options
    )
    try:
        if moves(url):
            place = watched(url)
            asked = _Asked(place.sentinels, sentinel_kwargs=place.asking)
            client: Redis = asked.master_for(
                place.service, redis_class=kind, connection_pool_class=SentinelConnectionPool,
                **(defaults | place.options),
            )  # fmt: skip
        else:
            client = kind.from_url(url, **defaults)
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # refuses unknown options
    except (ValueError, TypeError, AttributeError, exceptions.RedisError):
        # the library's message may contain a part of the password
        raise BadInput("redis", f"{shown(url)!r} is not a Redis URL", REMEDY) from None
    _readable(client.connection_pool.connection_kwargs)
    return client


def open_blocking(url: str, **options: Any) -> blocking.Redis:
    """Open a blocking client for `url`, for use in a thread."""
    defaults: dict[str, Any] = {"retry": BlockingRetry(NoBackoff(), 0)} | _defaults(url) | options
    if not moves(url):
        return blocking.Redis.from_url(url, **defaults)
    place = watched(url)
    asked = BlockingSentinel(place.sentinels, sentinel_kwargs=place.asking)  # type: ignore[no-untyped-call]
    client: blocking.Redis = asked.master_for(place.service, **(defaults | place.options))  # type: ignore[no-untyped-call]
    return client


def _readable(options: Mapping[str, Any]) -> None:
    """Refuse missing certificate files at once; the library would report an unreachable Redis."""
    for name in FILES:
        path = options.get(name)
        if path is not None and not Path(path).is_file():
            raise BadInput("redis", f"{name}: file {path} does not exist", f"correct {name}= in the URL")


class _Asked(Sentinel):
    """Asks sentinels one after the other and closes each connection after the reply."""

    def __init__(self, sentinels: Any, **options: Any) -> None:
        super().__init__(sentinels, **options)  # type: ignore[no-untyped-call]
        self._turn = asyncio.Lock()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        async with self._turn:
            try:
                found: tuple[str, int] = await super().discover_master(service_name)
                return found
            except exceptions.ConnectionError as error:
                raise _no_master(service_name, str(error), len(self.sentinels)) from None
            except exceptions.ResponseError as error:
                if "unknown command" not in str(error):
                    raise
                raise exceptions.ResponseError("this server is no sentinel; give the sentinels' port, 26379") from None
            finally:
                for sentinel in self.sentinels:
                    await sentinel.aclose()


def _no_master(service: str, said: str, sentinels: int) -> Exception:
    if (why := re.findall(r"\[SSL: \w+\] ([^('\"]+)", said)) and len(why) == sentinels:
        return ssl.SSLError(f"with the sentinels: {why[0].strip()}")
    if "Authentication" in said or "NOAUTH" in said or "WRONGPASS" in said:
        return exceptions.AuthenticationError("the sentinels require a password: ?sentinel_password=... in the URL")
    unknown = "none knows it, or it is down and no new master is elected yet"
    cause = "none could be reached" if "Error(" in said else unknown
    return exceptions.ConnectionError(f"the sentinels name no master of {service!r}: {cause}")
