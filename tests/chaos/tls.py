"""Redis over TLS for a chaos run: certificates of its own, and what Redis and its clients are told of them."""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60
"""That openssl may take."""


@dataclass(frozen=True)
class Certificates:
    """A CA and the certificate of `localhost` in a folder, and the port on which Redis speaks TLS."""

    folder: Path
    port: int

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make them. Raises FileNotFoundError where there is no openssl."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "names").write_text("subjectAltName=DNS:localhost\n")
        new = ("-newkey", "rsa:2048", "-nodes")
        _openssl(folder, "req", "-x509", *new, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
        _openssl(folder, "req", *new, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr")
        _openssl(
            folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "names", "-out", "server.pem",
        )  # fmt: skip
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            return cls(folder, int(found.getsockname()[1]))

    @property
    def config(self) -> dict[str, str]:
        """What Redis is started with."""
        files = {"cert": "server.pem", "key": "server.key", "ca-cert": "ca.pem"}
        named = {f"tls-{name}-file": str(self.folder / path) for name, path in files.items()}
        return {"tls-port": str(self.port), "tls-auth-clients": "no", **named}

    def url(self, port: int) -> str:
        """How clients reach it through whatever listens on `port`."""
        return f"rediss://localhost:{port}/0?ssl_ca_certs={self.folder / 'ca.pem'}"


def _openssl(folder: Path, *args: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise FileNotFoundError("there is no openssl to make certificates with")
    subprocess.run([program, *args], cwd=folder, check=True, capture_output=True, timeout=SECONDS)
