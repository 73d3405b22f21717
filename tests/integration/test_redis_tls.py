"""Redis over TLS: a whole job over it, and a typed error with the remedy for each way in which it is set up wrongly."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarm.broker.address import watched
from swarm.broker.connection import Connection
from swarm.client.client import SwarmClient
from swarm.errors import BadInput, BrokerError, BrokerUnavailable, BrokerUntrusted
from swarm.settings import Settings
from tests.chaos.proxy import Link, Proxy
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import echo, expert, publish, serving, until
from tests.integration.test_redis_resets import BREAKS, lives_through, reset, through
from tests.integration.watched import answered, free_port, sentinel

OPENSSL = shutil.which("openssl")


@pytest.fixture(scope="module")
def certificates(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, another.pem (a CA of somebody else), and server, client .pem and .key."""
    if OPENSSL is None:
        pytest.skip("there is no openssl to make certificates with")
    said = subprocess.run(
        [redis_binary, "--port", "0", "--tls-port", "1"], capture_output=True, text=True, timeout=40, check=False
    )
    if "Bad directive" in said.stdout + said.stderr:
        pytest.skip(f"{redis_binary} is built without TLS")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "another"):
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                 "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name in ("server", "client"):
        _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                 "-out", f"{name}.csr")  # fmt: skip
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
                 "-CAcreateserial", "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
    return folder


def _openssl(folder: Path, *args: str) -> None:
    subprocess.run([str(OPENSSL), *args], cwd=folder, check=True, capture_output=True, timeout=20)


class TlsRedis(OwnRedis):
    """A Redis with a plain port, and `tls` beside it; one that `asks` for a certificate speaks TLS 1.2.

    There the handshake itself fails. TLS 1.3 tells the reason after it, and a reset may overtake the reason.
    """

    def __init__(self, binary: Path, folder: Path, certificates: Path, *, asks: bool) -> None:
        self.tls, self.binary = free_port(), binary
        files = {f"tls-{name}-file": str(certificates / path) for name, path in
                 (("cert", "server.pem"), ("key", "server.key"), ("ca-cert", "ca.pem"))}  # fmt: skip
        more = {"tls-port": str(self.tls), "tls-auth-clients": "yes" if asks else "no"} | (
            {"tls-protocols": "TLSv1.2"} if asks else {}
        )
        super().__init__(binary, folder, **files, **more)


@pytest.fixture
async def secured(redis_binary: Path, tmp_path: Path, certificates: Path) -> AsyncIterator[TlsRedis]:
    async with TlsRedis(redis_binary, tmp_path / "redis", certificates, asks=False) as redis:
        yield redis


async def said(url: str, kind: type[BrokerError]) -> str:
    async with Connection.open(url) as connection:
        with pytest.raises(kind) as caught:
            await connection.call("PING")
    return str(caught.value)


async def test_a_job_over_tls(secured: TlsRedis, certificates: Path) -> None:
    url = f"rediss://localhost:{secured.tls}/0?ssl_ca_certs={certificates}/ca.pem"
    settings = Settings(redis_url=url, prefix="t", max_age=600, retention=600)
    await publish(settings, expert("echo", echo))
    async with SwarmClient(settings=settings) as client, serving(settings, expert("echo", echo)):
        answer = await client.ask("hello", expert="echo", timeout=40)

    assert answer.text == "hello"


async def test_a_certificate_that_is_not_trusted_names_the_option(secured: TlsRedis, certificates: Path) -> None:
    url = f"rediss://localhost:{secured.tls}/0"

    assert "ssl_ca_certs=CA.pem" in await said(url, BrokerUntrusted)
    assert "certificate" in await said(f"{url}?ssl_ca_certs={certificates}/another.pem", BrokerUntrusted)


async def test_a_certificate_for_another_host_is_not_trusted(secured: TlsRedis, certificates: Path) -> None:
    url = f"rediss://127.0.0.1:{secured.tls}/0?ssl_ca_certs={certificates}/ca.pem"

    assert "check the host's name" in await said(url, BrokerUntrusted)
    async with Connection.open(f"{url}&ssl_check_hostname=false") as connection:
        assert await connection.call("PING") == b"PONG"


async def test_a_server_that_asks_for_a_certificate_gets_ours(
    redis_binary: Path, tmp_path: Path, certificates: Path
) -> None:
    async with TlsRedis(redis_binary, tmp_path / "redis", certificates, asks=True) as redis:
        url = f"rediss://localhost:{redis.tls}/0?ssl_ca_certs={certificates}/ca.pem"

        assert "ssl_certfile=CERT.pem" in await said(url, BrokerUntrusted)
        own = f"&ssl_certfile={certificates}/client.pem&ssl_keyfile={certificates}/client.key"
        async with Connection.open(url + own) as connection:
            assert await connection.call("PING") == b"PONG"


async def test_tls_where_there_is_none_and_none_where_there_is(secured: TlsRedis) -> None:
    assert "begins with redis://" in await said(f"rediss://localhost:{secured.port}", BrokerUnavailable)
    await said(f"redis://localhost:{secured.tls}", BrokerUnavailable)


def test_a_file_that_is_not_there_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"ssl_ca_certs: file /nowhere/ca\.pem does not exist"):
        Connection.open("rediss://localhost:6380/0?ssl_ca_certs=/nowhere/ca.pem")


async def test_a_certificate_that_is_over_is_not_trusted(
    redis_binary: Path, tmp_path: Path, certificates: Path
) -> None:
    over = tmp_path / "over"
    shutil.copytree(certificates, over)
    made = [str(OPENSSL), "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "-1",
            "-CAcreateserial", "-extfile", "names", "-out", "server.pem"]  # fmt: skip
    if subprocess.run(made, cwd=over, capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("this openssl makes no certificate that is over")
    async with TlsRedis(redis_binary, tmp_path / "redis", over, asks=False) as redis:
        assert "expired" in await said(f"rediss://localhost:{redis.tls}/0?ssl_ca_certs={over}/ca.pem", BrokerUntrusted)


async def test_a_master_behind_sentinels_over_tls(secured: TlsRedis, certificates: Path, tmp_path: Path) -> None:
    """Real ones; with a certificate that is not trusted they are not taken for sentinels that are away."""
    port = free_port()
    files = (f"tls-{name}-file {certificates / path}" for name, path in
             (("cert", "server.pem"), ("key", "server.key"), ("ca-cert", "ca.pem")))  # fmt: skip
    more = f"tls-port {port}", "tls-replication yes", "tls-auth-clients no", *files
    watching = sentinel(secured.binary, tmp_path, free_port(), secured.tls, *more)
    url = f"rediss+sentinel://localhost:{port}/swarm"
    try:
        async with Connection.open(f"{url}?ssl_ca_certs={certificates}/ca.pem&ssl_check_hostname=false") as connection:
            await until(lambda: answered(connection), "an answer of the master")
        assert "with the sentinels: certificate" in await said(
            f"{url}?ssl_ca_certs={certificates}/another.pem", BrokerUntrusted
        )
    finally:
        watching.kill()
        watching.wait()


def test_sentinels_are_asked_over_tls_too() -> None:
    place = watched("rediss+sentinel://bot:word@one,[::1]:7/main/2?ssl_ca_certs=ca.pem&sentinel_password=other")

    assert (place.sentinels, place.service) == ((("one", 26379), ("::1", 7)), "main")
    assert place.options == {
        "username": "bot", "password": "word", "db": 2, "ssl": True, "ssl_ca_certs": "ca.pem"
    }  # fmt: skip
    assert place.asking["ssl"] is place.asking["ssl_check_hostname"] is True
    assert (place.asking["password"], place.asking["ssl_ca_certs"]) == ("other", "ca.pem")
    assert "username" not in place.asking


def corrupt(proxy: Proxy, links: list[Link]) -> None:
    proxy.corrupt(links)


def cut(proxy: Proxy, links: list[Link]) -> None:
    """A TLS connection that ends without saying so."""
    proxy.cut(links)


async def test_processes_live_through_dozens_of_breaks_of_tls(
    secured: TlsRedis, certificates: Path, tmp_path: Path
) -> None:
    async with Proxy(secured.tls) as proxy:
        settings = through(f"rediss://localhost:{proxy.port}/0?ssl_ca_certs={certificates}/ca.pem")
        await lives_through(proxy, settings, tmp_path, [corrupt, reset, cut, corrupt] * (BREAKS // 4), seed=3)


@pytest.mark.parametrize("pieces", range(8))
async def test_a_read_over_tls_is_repeated_wherever_its_connection_was_reset(
    secured: TlsRedis, certificates: Path, pieces: int
) -> None:
    async with Proxy(secured.tls) as proxy:
        proxy.fuses = [pieces, pieces]
        async with Connection.open(
            f"rediss://localhost:{proxy.port}/0?ssl_ca_certs={certificates}/ca.pem"
        ) as connection:
            for _ in range(3):
                assert await connection.call("GET", "nothing") is None
            proxy.corrupt(proxy.links)
            assert await connection.call("GET", "nothing") is None
