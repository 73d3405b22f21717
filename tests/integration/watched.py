"""A Redis that sentinels watch over: a master, replicas and three sentinels, each a process that can be killed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from swarm.broker.connection import Connection
from swarm.errors import BrokerUnavailable
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import until

SERVICE = "swarm"
DOWN_AFTER = 1000
"""Milliseconds until a sentinel takes a silent master for dead."""


class Watched:
    """One master, so many replicas, three sentinels. `url` is for clients, as it is documented."""

    def __init__(self, binary: Path, folder: Path, *, replicas: int = 2, **config: str) -> None:
        self._binary, self._folder = binary, folder
        config = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"} | config
        master = OwnRedis(binary, folder / "redis0", **config)
        more = {"replicaof": f"127.0.0.1 {master.port}"}
        self.servers = [
            master, *(OwnRedis(binary, folder / f"redis{n + 1}", **config, **more) for n in range(replicas))
        ]  # fmt: skip
        self.ports = [free_port() for _ in range(3)]
        self._sentinels: list[subprocess.Popen[bytes]] = []
        self._started = contextlib.AsyncExitStack()

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/{SERVICE}"

    async def __aenter__(self) -> Self:
        for server in self.servers:
            await self._started.enter_async_context(server)
        for port in self.ports:
            self._sentinels.append(sentinel(self._binary, self._folder, port, self.servers[0].port))
        await until(self._ready, "sentinels that know each other and all replicas")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sentinel in self._sentinels:
            sentinel.kill()
            sentinel.wait()
        await self._started.aclose()

    def master(self) -> OwnRedis:
        """Who the sentinels say it is."""
        with redis.Redis(port=self.ports[0], decode_responses=True) as asked:
            _, port = asked.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    async def moved(self, former: OwnRedis, within: float = 120.0) -> float:
        """Wait until another is master and takes writes; when that was (monotonic)."""
        await until(lambda: self._takes_writes(former), "another master", within)
        return time.monotonic()

    def _takes_writes(self, former: OwnRedis) -> bool:
        master = self.master()
        if master is former:
            return False
        with redis.Redis(port=master.port) as client:
            return bool(client.info("replication")["role"] == "master")

    def _ready(self) -> bool:
        for port in self.ports:
            with contextlib.suppress(redis.RedisError), redis.Redis(port=port, decode_responses=True) as asked:
                known = asked.sentinel_masters().get(SERVICE, {})
                if (known.get("num-other-sentinels"), known.get("num-slaves")) == (2, len(self.servers) - 1):
                    continue
            return False
        with redis.Redis(port=self.servers[0].port) as client:
            return bool(client.wait(len(self.servers) - 1, 50) == len(self.servers) - 1)


def sentinel(binary: Path, folder: Path, port: int, master: int, *more: str) -> subprocess.Popen[bytes]:
    """A sentinel that watches the Redis at port `master`; `more` are lines of its configuration."""
    own = folder / f"sentinel{port}"
    own.mkdir()
    lines = (
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {own}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {master} 2",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}",
        f"sentinel failover-timeout {SERVICE} 4000",
        f"sentinel parallel-syncs {SERVICE} 2",
        *more,
    )
    (own / "sentinel.conf").write_text("\n".join(lines) + "\n")
    with (own / "log").open("wb") as out:
        return subprocess.Popen(
            [str(binary), str(own / "sentinel.conf"), "--sentinel"], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def answered(connection: Connection) -> bool:
    """Whether the master answers."""
    with contextlib.suppress(BrokerUnavailable):
        return bool(await connection.call("PING") == b"PONG")
    return False
