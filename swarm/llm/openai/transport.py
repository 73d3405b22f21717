"""How one endpoint is reached over HTTP, and what it means if it is not.

Loaded late like the package above it. Redirects are not followed: they would carry keys to where nobody sent them.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

from swarm.errors import ExpertError, ModelUnavailable
from swarm.llm.endpoint_config import usable
from swarm.llm.endpoints import Endpoint, unusable
from swarm.llm.openai.timeouts import CallTimeouts

if TYPE_CHECKING:
    from httpx2 import AsyncByteStream, AsyncClient, Proxy, Response

MAX_ERROR = 100_000
"""Bytes of an error's body, decompressed."""
KEPT, KEPT_SECONDS = 100, 4.0
"""How many connections of one endpoint are kept for the next calls, and how long: many servers close them after 5 s,
and a request that is just on its way then is lost."""
_PROXIES = ("http", "https", "socks5", "socks5h")


def http_client(where: Endpoint) -> AsyncClient:
    """A client for this endpoint alone. Raises ModelRefused for certificates and proxies that cannot be used."""
    import httpx2

    try:
        tls = trusted(where.ca_certs)
    except OSError as error:
        why = error.strerror or "no certificates in PEM"
        remedy = "check ca_certs in swarm.toml" if where.ca_certs else "check SSL_CERT_FILE and SSL_CERT_DIR"
        raise unusable(f"the endpoint {where.name!r}: certificates to trust cannot be read ({why}); {remedy}") from None
    limits = httpx2.Limits(
        max_connections=where.connections,
        max_keepalive_connections=min(KEPT, where.connections),
        keepalive_expiry=KEPT_SECONDS,
    )
    try:
        return httpx2.AsyncClient(
            verify=tls,
            proxy=_proxy(where, tls),
            limits=limits,
            # none is kept: servers could send ever more of them
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            event_hooks={"response": [_shorten_error]},
        )
    except ImportError:
        remedy = "install it, or name an http:// proxy"
        raise unusable(f"the endpoint {where.name!r}: a SOCKS proxy needs the package socksio; {remedy}") from None


@cache
def trusted(ca_certs: str | None) -> ssl.SSLContext:
    """One for all endpoints that trust the same: reading the certificates blocks for tens of milliseconds."""
    from httpx2 import create_ssl_context

    return create_ssl_context() if ca_certs is None else ssl.create_default_context(cafile=ca_certs)


def _proxy(where: Endpoint, tls: ssl.SSLContext) -> Proxy | None:
    """That of the endpoint; without one the client looks into the environment, where not all that stands is a URL."""
    from httpx2 import Proxy

    if where.proxy is None:
        for variable, url in _ambient().items():
            if not usable(url if "://" in url else f"http://{url}", _PROXIES):
                problem = f"{variable} is no URL of a proxy; correct it, such as http://proxy:3128"
                raise unusable(f"the endpoint {where.name!r}: {problem}")
        return None
    return Proxy(where.proxy, ssl_context=tls if urlsplit(where.proxy).scheme == "https" else None)


def _ambient() -> dict[str, str]:
    """The proxies of the environment by their variables, in upper case."""
    found = getproxies()
    return {f"{scheme.upper()}_PROXY": found[scheme] for scheme in ("http", "https", "all") if found.get(scheme)}


async def _shorten_error(response: Response) -> None:
    """Give up the rest of an error that goes on and on: the package reads all of it, and at once."""
    if response.status_code >= 300:
        response.stream = _start_of(response)
        response.headers.pop("content-encoding", None)


def _start_of(response: Response) -> AsyncByteStream:
    """What it says, decoded, as far as it is read: a hundred bytes of gzip may be a hundred thousand."""
    from httpx2 import AsyncByteStream, Response

    stream: Any = response.stream
    coded = Response(response.status_code, headers=response.headers, stream=stream)

    class Start(AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async with aclosing(coded.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    yield chunk[: MAX_ERROR - size]
                    size += len(chunk)
                    if size >= MAX_ERROR:
                        return

        async def aclose(self) -> None:
            await stream.aclose()

    return Start()


# -- what went wrong -----------------------------------------------------------------------------------------------


def timed_out(name: str, where: Endpoint, timeouts: CallTimeouts, cause: BaseException | None) -> ExpertError:
    """That something took too long, which `cause` may know better."""
    import httpx2

    if isinstance(cause, httpx2.ConnectTimeout):
        late = f"{name}: no connection to {where.host} {timeouts.unconnected(where.name)}"
        error = of_health(ModelUnavailable(f"{late}; {_remedy(where)}"), "endpoint")
        error.billed = "nothing"
    elif isinstance(cause, httpx2.PoolTimeout):
        full = f"all {where.connections:,} connections of the endpoint {where.name!r} were in use all the time"
        error = ModelUnavailable(f"{name}: {full}; raise `connections` in [endpoints.{where.name}] of swarm.toml")
        error.billed = "nothing"
    else:
        error = of_health(ModelUnavailable(f"{name}: {timeouts.late(where.name)}"), "model")
    return error


def unreached(name: str, where: Endpoint, error: BaseException) -> ExpertError:
    """That there was no connection, or that it was lost before an answer began."""
    import httpx2

    causes = list(_causes(error))
    first = causes[0] if causes else error
    cause = where.clean(str(first) or type(first).__name__)
    # a proxy's own error: it did not open the way to the server
    unsent = any(isinstance(each, (httpx2.ConnectError, httpx2.ProxyError)) for each in causes)
    for each in causes:
        if isinstance(each, ssl.SSLCertVerificationError):
            what = f"its certificate is not trusted ({each.verify_message})"
            remedy = "check the host in the URL, and name the file of its authority: ca_certs in swarm.toml"
            return unusable(f"{name}: no TLS with {where.host}: {what}; {remedy}")
        if isinstance(each, ssl.SSLError) and not _passes(each):
            remedy = "check that the URL has the right port, and http:// for a server without TLS"
            return unusable(f"{name}: no TLS with {where.host} ({each.reason}); {remedy}")
    if not unsent and any(map(_hung_up, causes)):
        lost = f"{where.host} closed the connection before an answer ({cause})"
        remedy = "look into its log, and at what stands between: it, or a proxy, may have crashed or run out of time"
        return of_health(ModelUnavailable(f"{name}: {lost}; {remedy}"), "model")
    found = ModelUnavailable(f"{name}: cannot reach {where.host} ({cause}); {_remedy(where)}")
    found.billed = "nothing" if unsent else "unknown"
    return of_health(found, "endpoint" if unsent else "model")


def _hung_up(cause: BaseException) -> bool:
    """Whether the server was there and went away. Whoever answers in another protocol than HTTP is none."""
    import httpx2

    return isinstance(cause, httpx2.NetworkError) or "disconnected" in str(cause)


def moved(where: Endpoint, location: str) -> str:
    """What to do about a redirect. Of where it leads only the host is told: the rest may hold keys."""
    try:
        old, new = urlsplit(where.url), urlsplit(urljoin(f"{where.url}/", location))
        host = new.netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    if not location or not host or not usable(new.geturl()):
        return ""
    if (old.scheme, where.host) == (new.scheme, host):
        return f"it redirects within {host}: check the path in the URL of the endpoint {where.name!r}"
    other = where.clean(f"{new.scheme}://{host}")
    return f"it redirects to {other}: if that is the server, give the endpoint {where.name!r} its URL"


def of_health(error: ExpertError, down: Literal["model", "endpoint"]) -> ExpertError:
    error.down = down
    return error


def _passes(error: ssl.SSLError) -> bool:
    """Whether this may go better the next time, as when a connection ends in the middle of a handshake."""
    return isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _remedy(where: Endpoint) -> str:
    proxies = urlsplit(where.proxy).netloc if where.proxy else " or ".join(_ambient())
    proxy = f", and the proxy {'' if where.proxy else 'of '}{proxies}" if proxies else ""
    return f"check the URL of the endpoint {where.name!r}, and that its server runs{proxy}"
