"""A Redis of one test that can be killed, stopped, hung and started again on the same data."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integration.processes import until


class OwnRedis:
    """A Redis on a TCP port that stays the same over restarts, with an append-only file in `folder`."""

    def __init__(self, binary: Path, folder: Path, **config: str) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._binary, self._folder = binary, folder
        self._config = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "loglevel": "warning"} | config
        self.environ: dict[str, str] = {}
        """What its environment has besides ours, from the next start on."""
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    async def start(self, within: float = 120.0) -> None:
        """Start it on what is there; return when it answers."""
        options = self._config | {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self._folder)}
        with (self._folder / "redis.log").open("ab") as out:
            # Redis 6 takes what has two words as two arguments only
            words = [part for name, value in options.items() for part in (f"--{name}", *(value.split() or [""]))]
            self._process = subprocess.Popen(
                [str(self._binary), *words], env=os.environ | self.environ,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        await until(self._answers, "an answer of Redis", within)

    def kill(self) -> None:
        """As `kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """As a planned restart does: SIGTERM, and the append-only file is written to its end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """It answers nothing for the block, and hangs up on nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as wire:
                wire.sendall(b"PING\r\n")
                return wire.recv(64).startswith(b"+PONG")
        except OSError:
            return False
