"""The HTTP client of an endpoint, and the errors of its transport.

httpx is imported late, like the package that uses it. Redirects are not followed: they could send keys to another host.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

from swarm.errors import CallFacts, ExpertError, ModelUnavailable
from swarm.llm.endpoint_config import usable
from swarm.llm.endpoints import Endpoint, unusable
from swarm.llm.openai.timeouts import CallTimeouts

if TYPE_CHECKING:
    from httpx2 import AsyncByteStream, AsyncClient, Proxy, Response

MAX_ERROR = 100_000
"""Bytes of an error's body, decompressed."""
KEPT, KEPT_SECONDS = 100, 4.0
"""Idle connections kept per endpoint, and for how many seconds: many servers close them after 5 s, and a request sent
at that moment is lost."""
UNSENT = CallFacts("nothing", elsewhere=True)
UNREACHED = CallFacts("nothing", health="endpoint", elsewhere=True)
MODEL_DOWN = CallFacts(health="model", elsewhere=True)
"""Facts of a call that was not sent, could not be sent, or had no answer."""
_PROXIES = ("http", "https", "socks5", "socks5h")


def http_client(where: Endpoint) -> AsyncClient:
    """An HTTP client for this endpoint alone. Raises ModelRefused for unusable certificates and proxies."""
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
            # no cookies are kept: servers could send ever more of them
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            event_hooks={"response": [_shorten_error]},
        )
    except ImportError:
        remedy = "install it, or name an http:// proxy"
        raise unusable(f"the endpoint {where.name!r}: a SOCKS proxy needs the package socksio; {remedy}") from None


@cache
def trusted(ca_certs: str | None) -> ssl.SSLContext:
    """The TLS context, shared by endpoints with the same certificates: reading them blocks for tens of milliseconds."""
    from httpx2 import create_ssl_context

    return create_ssl_context() if ca_certs is None else ssl.create_default_context(cafile=ca_certs)


def _proxy(where: Endpoint, tls: ssl.SSLContext) -> Proxy | None:
    """The proxy of the endpoint, if it has one. Else httpx uses those of the environment; their URLs are checked."""
    from httpx2 import Proxy

    if where.proxy is None:
        for variable, url in _ambient().items():
            if not usable(url if "://" in url else f"http://{url}", _PROXIES):
                problem = f"{variable} is no URL of a proxy; correct it, such as http://proxy:3128"
                raise unusable(f"the endpoint {where.name!r}: {problem}")
        return None
    return Proxy(where.proxy, ssl_context=tls if urlsplit(where.proxy).scheme == "https" else None)


def _ambient() -> dict[str, str]:
    """The proxies in the environment by variable, in upper case."""
    found = getproxies()
    return {f"{scheme.upper()}_PROXY": found[scheme] for scheme in ("http", "https", "all") if found.get(scheme)}


async def _shorten_error(response: Response) -> None:
    """Cut the body of an error to MAX_ERROR: the package reads all of it at once."""
    if response.status_code >= 300:
        response.stream = _start_of(response)
        response.headers.pop("content-encoding", None)


def _start_of(response: Response) -> AsyncByteStream:
    """The first MAX_ERROR bytes of a body, decoded: a hundred bytes of gzip may be a hundred thousand."""
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
    """The error for a timeout; `cause` tells connecting and waiting for a connection apart."""
    import httpx2

    if isinstance(cause, httpx2.ConnectTimeout):
        late = f"{name}: no connection to {where.host} {timeouts.unconnected(where.name)}"
        return ModelUnavailable(f"{late}; {_remedy(where)}", call=UNREACHED)
    if isinstance(cause, httpx2.PoolTimeout):
        full = f"all {where.connections:,} connections of the endpoint {where.name!r} were in use all the time"
        remedy = f"raise `connections` in [endpoints.{where.name}] of swarm.toml"
        return ModelUnavailable(f"{name}: {full}; {remedy}", call=UNSENT)
    return ModelUnavailable(f"{name}: {timeouts.late(where.name)}", call=MODEL_DOWN)


def unreached(name: str, where: Endpoint, error: BaseException) -> ExpertError:
    """The error for a connection that failed, or was lost before an answer began."""
    import httpx2

    causes = list(_causes(error))
    first = causes[0] if causes else error
    kind = type(first).__name__
    cause = where.clean(str(first) or kind)
    logged = kind if isinstance(first, httpx2.RemoteProtocolError) else cause  # it repeats what the server sent
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
        lost, call = f"{name}: {where.host} closed the connection before an answer", MODEL_DOWN
        remedy = "check its log, and that of any proxy before it: one of them may have crashed or timed out"
    else:
        lost, call = f"{name}: cannot reach {where.host}", UNREACHED if unsent else MODEL_DOWN
        remedy = _remedy(where)
    return ModelUnavailable(f"{lost} ({cause}); {remedy}", call=call, log_message=f"{lost} ({logged}); {remedy}")


def _hung_up(cause: BaseException) -> bool:
    """Whether the server accepted the connection and then closed it."""
    import httpx2

    return isinstance(cause, httpx2.NetworkError) or "disconnected" in str(cause)


def moved(where: Endpoint, location: str) -> str:
    """The remedy for a redirect. Only the target's host is shown: the rest may hold keys."""
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


def _passes(error: ssl.SSLError) -> bool:
    """Whether a TLS error may pass, such as a connection that ends in the middle of a handshake."""
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
