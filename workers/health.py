"""Health probe that compose.yaml calls: asks the worker of its own container over a unix socket.

    python -m workers.health [SOCKET]      exit code 0: healthy, 1: unhealthy, 2: no answer

The path of the socket comes from the argument or from SWARM_HEALTH_SOCKET.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

ANSWER_WITHIN = 3.0
"""Seconds."""


@contextlib.asynccontextmanager
async def serve(path: Path | None, report: Callable[[], Mapping[str, Any]]) -> AsyncIterator[None]:
    """Answer each connection to `path` with one line of JSON, as long as the block runs. None: serve nothing.

    A socket that an ended process left there is replaced. Raises BadInput for one in use and for any other file.
    """
    import asyncio  # not at the top: the probe starts often and does not need it

    if path is None:
        yield
        return

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(json.dumps(report()).encode() + b"\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    bound = _bound(path)
    ours = path.stat()
    server = await asyncio.start_unix_server(answer, sock=bound)
    try:
        yield
    finally:
        # before closing: until then no other file can get the same inode number
        with contextlib.suppress(OSError):
            if os.path.samestat(ours, path.lstat()):
                path.unlink()
        server.close()


def _bound(path: Path) -> socket.socket:
    from swarm.errors import BadInput

    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        mask = os.umask(0o177)
        try:
            found.bind(str(path))
        finally:
            os.umask(mask)
    except OSError as error:
        found.close()
        why = error.strerror or error
        raise BadInput("health-socket", f"cannot listen on {path} ({why})", "give another path") from None
    except BadInput:
        found.close()
        raise
    return found


def _remove_stale(path: Path) -> None:
    """Remove the socket of a process that has ended. Raises BadInput for a socket in use and for any other file."""
    from swarm.errors import BadInput

    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise BadInput("health-socket", f"{path} exists and is not a socket", "give another path, or remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWER_WITHIN)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:
            pass
    raise BadInput("health-socket", f"another process listens on {path}", "give each process a path of its own")


def ask(path: str) -> dict[str, Any]:
    """Ask the process that listens on `path` for its report. Raises OSError if it does not answer in time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_WITHIN)
        connection.connect(path)
        with connection.makefile() as lines:
            answer: dict[str, Any] = json.loads(lines.readline(65_536) or "{}")
            return answer


def main(argv: list[str]) -> int:
    path = argv[1] if len(argv) > 1 else os.environ.get("SWARM_HEALTH_SOCKET", "").strip()
    if not path:
        print("no socket given: give its path, or set SWARM_HEALTH_SOCKET as for the worker", file=sys.stderr)
        return 2
    try:
        report = ask(path)
    except (OSError, ValueError) as error:
        print(f"no process answers on {path}: {error}; see that the worker runs with this socket", file=sys.stderr)
        return 2
    print(json.dumps(report))
    return 0 if report.get("healthy") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
