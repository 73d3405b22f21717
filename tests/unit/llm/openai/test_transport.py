"""Servers that are not there, not who they should be, or not in a hurry: each a typed error, in its time.

Against real sockets on loopback.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from swarm.errors import ExpertError, ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, Completion, Message, Model, complete
from swarm.llm.endpoint_config import Timeouts
from swarm.llm.endpoints import Endpoint
from swarm.llm.openai.connection import refused
from swarm.llm.openai.models import OpenAIModels
from swarm.llm.openai.response_parser import ServerError
from swarm.llm.openai.timeouts import CallTimeouts
from swarm.llm.openai.transport import trusted
from swarm.testing.model_server import ModelServer, Received, Reply, Stream, chunk, completion, hang

KEY = "sk-secret-1234567890"
HELLO = [Message("user", "hello")]
OPENSSL = shutil.which("openssl")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that is none of ours, and its port."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()


def models_of(folder: Path, url: str, more: str = "", **environ: str) -> OpenAIModels:
    path = folder / "swarm.toml"
    path.write_text(f'[endpoints.box]\nurl = "{url}"\nmodel = "small"\n{more}\n')
    return OpenAIModels({"SWARM_CONFIG": str(path), "SWARM_ENDPOINT_BOX_KEY": KEY, **environ})


async def answer(model: Model, *, streamed: bool, timeout: float = 5.0) -> Completion:
    if not streamed:
        return await complete(model, ChatRequest(HELLO, timeout=timeout))
    *_, whole = [item async for item in model.stream(ChatRequest(HELLO, timeout=timeout))]
    assert isinstance(whole, Completion)
    return whole


async def becomes(truth: Callable[[], object]) -> None:
    async with asyncio.timeout(40):
        while not truth():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def failure(models: OpenAIModels, *, streamed: bool = True, timeout: float = 5.0) -> ExpertError:
    """The error of one call, which is there within the time of the call and shows no key."""
    async with models:
        await models.warm()
        with pytest.raises(ExpertError) as caught:
            await answer(models.get("box"), streamed=streamed, timeout=timeout)
    assert KEY not in str(caught.value)
    return caught.value


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# -- not there -----------------------------------------------------------------------------------------------------


async def test_a_port_on_which_nobody_listens_costs_nothing_and_says_so_of_the_endpoint(tmp_path: Path) -> None:
    error = await failure(models_of(tmp_path, f"http://127.0.0.1:{free_port()}/v1"))

    assert isinstance(error, ModelUnavailable)
    assert (error.call.billed, error.call.health, error.call.elsewhere) == ("nothing", "endpoint", True)
    assert "cannot reach 127.0.0.1:" in str(error)
    assert "check the URL of the endpoint 'box'" in str(error)


async def test_a_host_without_an_address_is_not_reached(tmp_path: Path) -> None:
    error = await failure(models_of(tmp_path, "http://no-such-host.invalid/v1"))

    assert isinstance(error, ModelUnavailable)
    assert "cannot reach no-such-host.invalid" in str(error)
    assert (error.call.billed, error.call.health) == ("nothing", "endpoint")


@asynccontextmanager
async def unanswered() -> AsyncIterator[str]:
    """The URL of a host that accepts no connection any more."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with ExitStack() as waiting:
            for _ in range(4):
                each = waiting.enter_context(socket.socket())
                each.setblocking(False)
                each.connect_ex(full.getsockname())
            yield f"http://127.0.0.1:{full.getsockname()[1]}/v1"


async def test_a_host_that_does_not_answer_is_given_up_after_the_time_for_a_connection(tmp_path: Path) -> None:
    async with unanswered() as url:
        error = await failure(models_of(tmp_path, url, "timeouts = { connect = 0.3 }"))

    assert isinstance(error, ModelUnavailable)
    assert "no connection to 127.0.0.1" in str(error)
    assert "within 0.3 s (timeouts.connect of the endpoint 'box')" in str(error)
    assert (error.call.billed, error.call.health) == ("nothing", "endpoint")


async def test_a_call_with_less_time_than_a_connection_may_take_costs_nothing_if_there_was_none(tmp_path: Path) -> None:
    async with unanswered() as url:
        assert (await failure(models_of(tmp_path, url), timeout=1)).call.billed == "nothing"


async def test_a_connection_that_takes_longer_than_a_first_token_may_costs_nothing(tmp_path: Path) -> None:
    async with unanswered() as url:
        error = await failure(models_of(tmp_path, url, "timeouts = { first_token = 1 }"))

    assert "no connection to 127.0.0.1" in str(error)
    assert "within 1 s (timeouts.first_token of the endpoint 'box')" in str(error)
    assert (error.call.billed, error.call.health) == ("nothing", "endpoint")


# -- somebody else -------------------------------------------------------------------------------------------------


async def says(content: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(content)
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    "content",
    [
        b"220 mail.example.org ESMTP\r\n",
        b"\x00\x01\x02\x03" * 100,
        b"HTTP/1.1 200 OK\r\ncontent-length: nine\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello",
        b"HTTP/1.1 200 OK\r\n" + b"x-filler: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"",
    ],
    ids=["mail", "bytes", "no length", "no chunk", "endless head", "no status", "nothing"],
)
async def test_a_server_that_speaks_something_else_is_unavailable(tmp_path: Path, content: bytes) -> None:
    async with raw(lambda reader, writer: says(content, reader, writer)) as port:
        error = await failure(models_of(tmp_path, f"http://127.0.0.1:{port}/v1"))

    assert isinstance(error, ModelUnavailable)
    assert error.call.health == "model"


async def test_a_server_that_sends_one_elsewhere_is_refused_and_no_key_goes_there(tmp_path: Path) -> None:
    async with ModelServer(lambda request: "hello") as there:
        moved = Reply("", 307, {"location": f"{there.url}/chat/completions"})
        async with ModelServer(lambda request: moved) as here:
            error = await failure(models_of(tmp_path, here.url))

    assert isinstance(error, ModelRefused)
    assert f"it redirects to {there.url.removesuffix('/v1')}: if that is the server, give" in str(error)
    assert there.requests == []


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (f"https://me:{KEY}@new.example:8443/v1/{KEY}?key={KEY}", "it redirects to https://new.example:8443: if"),
        (f"//{KEY}.new.example/", "it redirects to http://***.new.example: if"),
        ("/api/v1/chat/completions", "it redirects within 127.0.0.1:"),
        ("", "check the URL of the endpoint 'box'"),
        ("http://[::1", "check the URL of the endpoint 'box'"),
        ("mailto:me@example.org", "check the URL of the endpoint 'box'"),
        ("\x01" * 9_000, "it redirects within 127.0.0.1:"),
    ],
)  # fmt: skip
def test_of_where_a_redirect_leads_the_host_is_told(location: str, said: str) -> None:
    where = Endpoint("box", "http://127.0.0.1:9/v1", KEY)
    found = refused("box/small", where, ServerError(308, "", {"location": location}))

    assert isinstance(found, ModelRefused)
    assert said in str(found)
    assert KEY not in str(found)
    assert len(str(found)) < 300


# -- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem for localhost signed by it, and old.pem, which has run out."""
    if OPENSSL is None:
        pytest.skip("there is no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("tls")
    _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca",
             "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name, days in (("server", "2"), ("old", "-1")):
        _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                 "-out", f"{name}.csr")  # fmt: skip
        made = subprocess.run(
            [str(OPENSSL), "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", days,
             "-CAcreateserial", "-extfile", "names", "-out", f"{name}.pem"],
            cwd=folder, check=False, capture_output=True, timeout=20,
        )  # fmt: skip
        assert made.returncode == 0 or name == "old", made.stderr  # some do not make certificates of the past
    return folder


def _openssl(folder: Path, *args: str) -> None:
    subprocess.run([str(OPENSSL), *args], cwd=folder, check=True, capture_output=True, timeout=20)


@asynccontextmanager
async def secure(folder: Path, name: str = "server") -> AsyncIterator[int]:
    """A model server behind TLS, and its port."""
    async with ModelServer(lambda request: "hello there") as server:
        port = int(server.url.rpartition(":")[2].removesuffix("/v1"))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")

        async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_copied(reader, inner_writer), _copied(inner_reader, writer))

        async with raw(passed, context) as outer:
            yield outer


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def test_a_server_whose_authority_the_file_names_is_spoken_to(tmp_path: Path, certificates: Path) -> None:
    async with secure(certificates) as port:
        trusted = f'ca_certs = "{certificates}/ca.pem"'
        async with models_of(tmp_path, f"https://localhost:{port}/v1", trusted) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO, timeout=5))).text == "hello there"


@pytest.mark.parametrize(
    ("host", "trusts", "why"),
    [
        ("localhost", False, "self-signed certificate|unable to get"),
        ("127.0.0.1", True, "certificate is not valid for '127.0.0.1'"),
    ],
)
async def test_a_certificate_that_does_not_fit_is_refused_with_the_remedy(
    tmp_path: Path, certificates: Path, host: str, trusts: bool, why: str
) -> None:
    async with secure(certificates) as port:
        trusted = f'ca_certs = "{certificates}/ca.pem"' if trusts else ""
        error = await failure(models_of(tmp_path, f"https://{host}:{port}/v1", trusted))

    assert isinstance(error, ModelRefused)
    assert f"no TLS with {host}:{port}: its certificate is not trusted (" in str(error)
    assert any(part in str(error) for part in why.split("|"))
    assert "ca_certs in swarm.toml" in str(error)
    assert (error.call.billed, error.call.elsewhere, error.call.health) == ("nothing", True, "")


async def test_a_certificate_that_has_run_out_is_refused(tmp_path: Path, certificates: Path) -> None:
    if not (certificates / "old.pem").exists():
        pytest.skip("this openssl makes no certificates of the past")
    async with secure(certificates, "old") as port:
        trusted = f'ca_certs = "{certificates}/ca.pem"'
        error = await failure(models_of(tmp_path, f"https://localhost:{port}/v1", trusted))

    assert isinstance(error, ModelRefused)
    assert "certificate has expired" in str(error)


async def test_a_server_without_tls_behind_an_https_url_is_told_as_such(tmp_path: Path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with raw(plain) as port:
        error = await failure(models_of(tmp_path, f"https://127.0.0.1:{port}/v1"))

    assert isinstance(error, ModelRefused)
    assert "no TLS with 127.0.0.1" in str(error)
    assert "http:// for a server without TLS" in str(error)


async def test_a_server_with_tls_behind_an_http_url_is_unavailable(tmp_path: Path, certificates: Path) -> None:
    async with secure(certificates) as port:
        assert isinstance(await failure(models_of(tmp_path, f"http://localhost:{port}/v1")), ModelUnavailable)


# -- in its time ---------------------------------------------------------------------------------------------------


async def dribbles(request: Received) -> Stream:
    async def parts() -> AsyncIterator[object]:
        yield chunk("begun")
        for byte in b"data: " + b"x" * 10_000:
            await asyncio.sleep(0.02)
            yield bytes([byte])

    return Stream(parts())


@pytest.mark.parametrize(
    ("limits", "timeout", "said"),
    [
        ("", 0.4, "no answer within 0.4 s"),
        ("total = 0.4", 5, "no answer within 0.4 s (timeouts.total of the endpoint 'box')"),
        ("total = 5", 0.4, "no answer within 0.4 s"),
        ("between_tokens = 0.3", 5, "no further token within 0.3 s (timeouts.between_tokens"),
        ("between_tokens = 3", 0.4, "no answer within 0.4 s"),
    ],
)
async def test_a_stream_that_dribbles_is_ended_by_the_smallest_limit(
    tmp_path: Path, limits: str, timeout: float, said: str
) -> None:
    async with ModelServer(dribbles) as server:
        models = models_of(tmp_path, server.url, f"timeouts = {{ {limits} }}")
        await models.warm()
        error = await failure(models, timeout=timeout)

    assert isinstance(error, ModelUnavailable)
    assert said in str(error)
    assert ("timeouts." in str(error)) is ("timeouts." in said)
    assert (error.call.health, error.call.billed) == ("model", "unknown")


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_first_token_is_waited_for_so_long_also_of_a_whole_answer(tmp_path: Path, streamed: bool) -> None:
    async with ModelServer(hang) as server:
        models = models_of(tmp_path, server.url, "timeouts = { first_token = 0.2, total = 0.6 }")
        error = await failure(models, streamed=streamed)

    assert "no first token within 0.2 s (timeouts.first_token" in str(error)


async def test_comments_are_no_tokens(tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[str]:
        while True:
            yield ": keep-alive\n\n"
            await asyncio.sleep(0.02)

    async with ModelServer(lambda request: Stream(parts())) as server:
        error = await failure(models_of(tmp_path, server.url, "timeouts = { first_token = 0.2 }"))

    assert "no first token within 0.2 s" in str(error)


async def test_thoughts_are_tokens(tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[object]:
        for _ in range(8):
            yield chunk(delta={"reasoning_content": "hm"})
            await asyncio.sleep(0.05)
        yield chunk("yes", finish_reason="stop")

    async with ModelServer(lambda request: Stream(parts())) as server:
        limits = "timeouts = { first_token = 0.25, between_tokens = 0.25 }"
        async with models_of(tmp_path, server.url, limits) as models:
            whole = await answer(models.get("box"), streamed=True)

    assert whole.text == "yes"
    assert 0.3 < whole.first < 2


def test_the_limit_that_runs_out_first_is_the_one_that_is_named() -> None:
    patience = CallTimeouts.of(Timeouts(first_token=2, between_tokens=1, total=10), 60, 100.0)
    assert (patience.until, patience.connect(100.0), patience.connect(109.0)) == (110, 5, 0.95)

    patience.sends(100.0, streamed=True)
    assert (patience.until, patience.late("box")[:29]) == (102, "no first token within 2 s (ti")
    assert (patience.connect(100.0), patience.free(100.0)) == (1.9, 1.9)
    assert patience.unconnected("box") == "within 2 s (timeouts.first_token of the endpoint 'box')"
    patience.came(101.5)
    assert (patience.until, patience.late("box")[:31]) == (102.5, "no further token within 1 s (ti")
    patience.came(109.5)
    assert (patience.until, patience.late("box")[:26]) == (110, "no answer within 10 s (tim")


# -- connections ---------------------------------------------------------------------------------------------------


async def test_calls_one_after_the_other_share_a_connection_which_is_closed_at_the_end(tmp_path: Path) -> None:
    async with ModelServer(lambda request: "hello") as server:
        async with models_of(tmp_path, server.url) as models:
            for number in range(6):
                model = models.get("box" if number % 2 else "box/other")
                await answer(model, streamed=number > 2)
            assert (server.accepted, len(server.requests)) == (1, 6)
        await becomes(lambda: not server.connections)


async def test_no_more_connections_are_open_than_the_endpoint_may_have(tmp_path: Path) -> None:
    async def slowly(request: Received) -> str:
        await asyncio.sleep(0.1)
        return "hello"

    async with ModelServer(slowly) as server, models_of(tmp_path, server.url, "connections = 2") as models:
        await asyncio.gather(*(complete(models.get("box"), ChatRequest(HELLO, timeout=5)) for _ in range(6)))

    assert len(server.requests) == 6
    assert server.accepted <= 2


async def test_a_call_for_which_no_connection_gets_free_costs_nothing_and_names_the_limit(tmp_path: Path) -> None:
    async with ModelServer(hang) as server, models_of(tmp_path, server.url, "connections = 1") as models:
        holding = asyncio.create_task(complete(models.get("box"), ChatRequest(HELLO, timeout=5)))
        await becomes(lambda: server.open)
        with pytest.raises(ModelUnavailable, match="all 1 connections of the endpoint 'box' were in use") as caught:
            await complete(models.get("box"), ChatRequest(HELLO, timeout=1))
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)

    assert (caught.value.call.billed, caught.value.call.health) == ("nothing", "")


async def test_headers_query_and_the_key_go_with_every_call(tmp_path: Path) -> None:
    more = (
        'headers = { OpenAI-Organization = "org-1" }\nheaders_env = { api-key = "TOKEN" }\n'
        'query = { api-version = "2026-01-01" }'
    )
    async with (
        ModelServer(lambda request: "hello") as server,
        models_of(tmp_path, server.url, more, TOKEN="tok-1") as models,
    ):
        await complete(models.get("box"), ChatRequest(HELLO))
        await models.get("box").connection.list_models()
        await models.embedder("box").embed(["hello"])

    assert [request.method for request in server.requests] == ["POST", "GET", "POST"]
    for request in server.requests:
        assert request.headers["openai-organization"] == "org-1"
        assert request.headers["api-key"] == "tok-1"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.path.endswith("?api-version=2026-01-01")


async def test_without_a_key_none_is_sent() -> None:
    server = ModelServer(lambda request: "hello")
    async with server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        await complete(models.get("box/small"), ChatRequest(HELLO))

    assert "authorization" not in server.requests[0].headers


async def test_a_proxy_is_asked_for_the_server_and_named_if_it_is_not_there(tmp_path: Path) -> None:
    async with ModelServer(lambda request: "by proxy") as proxy:
        through = f'proxy = "{proxy.url.removesuffix("/v1")}"'
        async with models_of(tmp_path, "http://far.invalid/v1", through) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO))).text == "by proxy"

    assert proxy.requests[0].path == "http://far.invalid/v1/chat/completions"
    error = await failure(models_of(tmp_path, "http://far.invalid/v1", f'proxy = "http://127.0.0.1:{free_port()}"'))
    assert isinstance(error, ModelUnavailable)
    assert "and the proxy 127.0.0.1:" in str(error)


async def test_the_proxy_of_the_environment_is_asked_but_for_hosts_that_need_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ModelServer(lambda request: "by proxy") as proxy, ModelServer(lambda request: "direct") as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        async with models_of(tmp_path, server.url) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO))).text == "by proxy"
        monkeypatch.setenv("NO_PROXY", "example.org, 127.0.0.1")
        async with models_of(tmp_path, server.url) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO))).text == "direct"
        own = f'proxy = "{proxy.url.removesuffix("/v1")}"'
        async with models_of(tmp_path, server.url, own) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO))).text == "by proxy", (
                "what the file says holds for all"
            )


@pytest.mark.parametrize(
    ("variable", "url", "said"),
    [
        ("HTTP_PROXY", "foo://me:hunter2@proxy", "HTTP_PROXY is no URL of a proxy"),
        ("HTTPS_PROXY", "http://[::1", "HTTPS_PROXY is no URL of a proxy"),
        ("ALL_PROXY", "me:hunter2@proxy:99999", "ALL_PROXY is no URL of a proxy"),
        ("ALL_PROXY", "socks5://me:hunter2@proxy", "a SOCKS proxy needs the package socksio"),
    ],
)
async def test_a_proxy_of_the_environment_that_cannot_be_used_is_refused_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, url: str, said: str
) -> None:
    monkeypatch.setenv(variable, url)
    error = await failure(models_of(tmp_path, "http://127.0.0.1:9/v1"))

    assert isinstance(error, ModelRefused)
    assert said in str(error)
    assert "hunter2" not in str(error)
    assert (error.call.billed, error.call.elsewhere) == ("nothing", True)


@asynccontextmanager
async def tunnels(seen: list[bytes], answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A proxy that opens tunnels, or refuses them."""

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 " + answer + b"\r\n\r\n")
        if not answer.startswith(b"200"):
            writer.close()
            return
        host, _, port = seen[-1].split()[1].decode().partition(":")
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_copied(reader, inner_writer), _copied(inner_reader, writer))

    async with raw(passed, tls) as port:
        yield port


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_tunnels_to_a_server_that_the_file_trusts_and_learns_no_key(
    tmp_path: Path, certificates: Path, scheme: str
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    seen: list[bytes] = []
    tls = context if scheme == "https" else None
    async with secure(certificates) as port, tunnels(seen, b"200 OK", tls) as proxy:
        more = f'ca_certs = "{certificates}/ca.pem"\nproxy = "{scheme}://localhost:{proxy}"'
        async with models_of(tmp_path, f"https://localhost:{port}/v1", more) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO, timeout=5))).text == "hello there"
        error = await failure(models_of(tmp_path, f"https://127.0.0.1:{port}/v1", more))

    assert seen[0].startswith(f"CONNECT localhost:{port} ".encode())
    assert KEY.encode() not in b"".join(seen)
    assert "no TLS with 127.0.0.1" in str(error)


async def test_a_proxy_that_opens_no_tunnel_is_named_and_the_call_costs_nothing(tmp_path: Path) -> None:
    async with tunnels([], b"407 Proxy Authentication Required") as proxy:
        more = f'proxy = "http://127.0.0.1:{proxy}"'
        error = await failure(models_of(tmp_path, "https://far.invalid/v1", more))

    assert isinstance(error, ModelUnavailable)
    assert "(407 Proxy Authentication Required)" in str(error)
    assert f"and the proxy 127.0.0.1:{proxy}" in str(error)
    assert (error.call.billed, error.call.health) == ("nothing", "endpoint")


async def test_certificates_that_are_gone_are_a_typed_error(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.pem").write_bytes((certificates / "ca.pem").read_bytes())
    models = models_of(tmp_path, "https://127.0.0.1:9/v1", 'ca_certs = "own.pem"')
    (tmp_path / "own.pem").unlink()
    assert "cannot be read (No such file or directory); check ca_certs in swarm.toml" in str(await failure(models))

    trusted.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    error = await failure(models_of(tmp_path, "https://127.0.0.1:9/v1"))
    trusted.cache_clear()
    assert isinstance(error, ModelRefused)
    assert "check SSL_CERT_FILE and SSL_CERT_DIR" in str(error)


async def test_nothing_is_sent_that_the_environment_holds_for_one_server_or_that_another_answer_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom = f"Authorization: Bearer {KEY}-other\nx-gateway-token: {KEY}-other"
    environ = {"OPENAI_CUSTOM_HEADERS": custom, "OPENAI_ORG_ID": "org-env", "OPENAI_PROJECT_ID": "project-env"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    answers = (Reply(completion("hello"), headers={"set-cookie": f"c{n}=v; Path=/"}) for n in range(9))
    own = 'headers = { openai-project = "mine" }'
    async with (
        ModelServer(lambda request: next(answers)) as server,
        models_of(tmp_path, server.url, own) as models,
    ):
        for _ in range(3):
            await complete(models.get("box"), ChatRequest(HELLO))

    sent = server.requests[-1].headers
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["openai-project"] == "mine"
    assert not {"cookie", "x-gateway-token", "openai-organization"} & set(sent)


async def test_a_hundred_streams_that_are_cancelled_at_once_close_their_connections_and_leave_no_task(
    tmp_path: Path,
) -> None:
    async def endless() -> AsyncIterator[object]:
        while True:
            yield chunk("word ")
            await asyncio.sleep(0.05)

    async with (
        ModelServer(lambda request: Stream(endless())) as server,
        models_of(tmp_path, server.url, "connections = 100") as models,
    ):
        await models.warm()
        before = asyncio.all_tasks()
        reading = [asyncio.create_task(answer(models.get("box"), streamed=True, timeout=30)) for _ in range(100)]
        await becomes(lambda: server.open == 100)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await becomes(lambda: not server.connections)
        assert (server.accepted, server.hung_up) == (100, 100)
        assert asyncio.all_tasks() <= before

        server.script = lambda request: "hello"
        assert (await complete(models.get("box"), ChatRequest(HELLO, timeout=5))).text == "hello", "all are free again"


async def test_words_that_are_no_unicode_are_a_typed_error(tmp_path: Path) -> None:
    async with ModelServer(lambda request: "hello") as server, models_of(tmp_path, server.url) as models:
        with pytest.raises(ModelRefused, match=r"^box/small: the request is not valid Unicode") as caught:
            await complete(models.get("box"), ChatRequest([Message("user", "half \ud83d")]))
        with pytest.raises(ModelRefused, match=r"^box/small: the request is not valid Unicode"):
            await models.embedder("box").embed(["half \ud83d"])

    assert caught.value.call.billed == "nothing"
