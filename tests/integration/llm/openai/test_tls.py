"""Servers behind TLS, also through a proxy: trusted by the file of endpoints, or refused with the remedy."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from swarm.errors import ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, complete
from swarm.llm.openai.transport import trusted
from swarm.testing.model_server import ModelServer
from tests.integration.llm.openai.calls import HELLO, KEY, failure, models_of, raw

OPENSSL = shutil.which("openssl")


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
            assert (await complete(models.get("box"), ChatRequest(HELLO, timeout=40))).text == "hello there"


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
            assert (await complete(models.get("box"), ChatRequest(HELLO, timeout=40))).text == "hello there"
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
