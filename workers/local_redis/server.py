"""The private Redis of embedded mode: one per data folder, running as long as a process uses it.

Two locks and a pipe ensure that, even if processes are killed. The server itself holds `redis.lock` of its folder, so
no second server ever writes the same files. Each user process holds the write end of a named pipe that a watcher beside
the server reads: when the last user has ended, also by kill -9, the watcher sees the end of the pipe and ends the
server. A process holds `redis.gate` while it joins or leaves, so none joins a server that is about to end.

A server that dies under its users is started again on the same socket, by the first user that notices or by the next
process that joins; its append-only file has kept the data.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from swarm.errors import EmbeddedUnavailable
from swarm.runtime.thread_pool import in_thread
from workers.local_redis.binary import answers, ask, check_version, find_redis, launch, log_tail

START_TIMEOUT = 30.0
"""Seconds for a start, including loading the append-only file."""
STOP_TIMEOUT = 10.0
PAUSE = 0.005
WATCH = 0.5
"""Seconds between checks that the server is alive."""
LONGEST_PATH = 100
"""Bytes in the path of a unix socket: Linux takes 107, macOS 103."""


def running(data: Path) -> str | None:
    """URL of the server of this data folder; None if none answers."""
    path = _socket_of(data.expanduser())
    return f"unix://{path}" if path is not None and answers(path) else None


@asynccontextmanager
async def private(data: Path, *, always: bool = False) -> AsyncIterator[str]:
    """Run the folder's Redis as long as the block, starting it again whenever it dies; yield its URL.

    `always`: each write is on disk before it is answered. If the server cannot be started again, the block is
    cancelled and EmbeddedUnavailable is raised.
    """
    async with PrivateRedis(data, {"appendfsync": "always"} if always else None) as redis:
        block = asyncio.current_task()
        keeping = asyncio.create_task(redis.keep())

        def lost(_: asyncio.Task[None]) -> None:
            if block is not None and not keeping.cancelled():
                block.cancel()

        keeping.add_done_callback(lost)
        try:
            yield redis.url
        except asyncio.CancelledError:
            if block is None or not keeping.done() or keeping.cancelled() or block.uncancel():
                raise
            keeping.result()
        finally:
            keeping.remove_done_callback(lost)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


class PrivateRedis:
    """The Redis of a data folder: joined if it runs, else started; the last process to leave ends it.

    `config` overrides CONFIG; the server's log is `redis.log` in the folder.

        async with PrivateRedis(settings.data) as redis:
            connection = Connection.open(redis.url)
    """

    def __init__(self, data: Path, config: Mapping[str, str] | None = None, *, binary: Path | None = None) -> None:
        self.data = data.expanduser().absolute()
        self._config, self._binary = dict(config or {}), binary
        self._socket: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._write_end = self._read_end = -1

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """URL of the server's unix socket. Only after `start`."""
        return f"unix://{self._socket_path}"

    @property
    def pid(self) -> int:
        """Process id of the server. Only after `start`."""
        return int((self._socket_path.parent / "redis.pid").read_text())

    @property
    def alive(self) -> bool:
        """Whether the server runs; False after it crashed or was killed."""
        if self._process is not None:
            return self._process.poll() is None
        return self._socket is not None and answers(self._socket)

    async def start(self) -> None:
        """Join or start the server and wait until it answers. Raises EmbeddedUnavailable."""
        self.make_folder()
        try:
            await self._join_and_wait()
        except BaseException:
            await self.stop()
            raise

    async def keep(self) -> None:
        """Start the server again, on the same socket, whenever it dies. Ends only by raising EmbeddedUnavailable."""
        while True:
            await asyncio.sleep(WATCH)
            if not await in_thread(lambda: self.alive):
                await self._join_and_wait()

    async def stop(self) -> None:
        """Leave the server. The last user ends it, and returns when its data is on disk. Safe to repeat."""
        if self._write_end < 0:
            return
        try:
            async with asyncio.timeout(STOP_TIMEOUT), _locked(self.data / "redis.gate"):
                if self._release():
                    await self._end()
        except TimeoutError:
            if self._write_end < 0:
                self._kill()
        finally:
            self._close()
            if self._process is not None and self._process.poll() is None:
                # others use the server: reap it when they end it
                threading.Thread(target=self._process.wait, daemon=True).start()
            self._socket = self._process = None

    # -- joining

    @property
    def _socket_path(self) -> Path:
        if self._socket is None:
            raise RuntimeError("the private Redis is not started")
        return self._socket

    def make_folder(self) -> None:
        """Make the data folder, readable by its owner only. Raises EmbeddedUnavailable if it cannot be used."""
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_folder()
            self.data.chmod(0o700)
            (self.data / "redis.lock").touch(mode=0o600)
        except OSError as error:
            raise EmbeddedUnavailable(
                f"the data folder {self.data} cannot be used ({error.strerror}); choose another with SWARM_DATA"
            ) from None

    def _check_folder(self) -> None:
        """Refuse a folder of another user, or one that is open to others and holds files that are not ours."""
        found = self.data.stat()
        if found.st_uid != os.geteuid():
            why = f"it belongs to user {found.st_uid}"
        elif found.st_mode & 0o077 and not (self.data / "redis.lock").exists() and _has_other_files(self.data):
            why = "it has other files in it, and others may read it"
        else:
            return
        raise EmbeddedUnavailable(f"the data folder {self.data} cannot be used ({why}); name a new one in SWARM_DATA")

    async def _join_and_wait(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await self._join_or_launch():  # noqa: ASYNC110 - another process sends no event
                    await asyncio.sleep(4 * PAUSE)
                while not await in_thread(answers, self._socket_path):
                    if not self.alive:
                        raise EmbeddedUnavailable(f"the private Redis ended at once: {log_tail(self.data)}")
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise EmbeddedUnavailable(
                f"the private Redis did not answer within {START_TIMEOUT:g} s: {log_tail(self.data)}"
            ) from None

    async def _join_or_launch(self) -> bool:
        async with _locked(self.data / "redis.gate"):
            return self._join() or self._launch()

    def _join(self) -> bool:
        path = _socket_of(self.data)
        if path is None or not answers(path):
            return False
        if self._write_end < 0:
            return self._enter(path)
        self._check_socket(path)
        if self._process is not None and self._process.poll() is not None:
            self._process = None  # another user has started the server again
        return True

    def _enter(self, path: Path) -> bool:
        """Become a user of the socket; False if it has no other user, as its server is then ending or gone."""
        users = path.parent / "users"
        with suppress(OSError):
            self._read_end = os.open(users, os.O_RDONLY | os.O_NONBLOCK)
            if not _deserted(self._read_end):
                self._write_end = os.open(users, os.O_WRONLY | os.O_NONBLOCK)
                self._socket = path
                return True
        self._close()
        return False

    def _check_socket(self, path: Path | None) -> None:
        """Raises EmbeddedUnavailable if processes that join now would not find the socket that this one uses."""
        with suppress(OSError):
            if path == self._socket and os.path.samestat(
                os.fstat(self._write_end), (self._socket_path.parent / "users").stat()
            ):
                return
        raise EmbeddedUnavailable(
            f"the private Redis died, and its socket {self._socket_path} was removed or replaced meanwhile; "
            "start again: the jobs are kept"
        )

    def _launch(self) -> bool:
        """Start the server; False if one runs that does not answer yet or is about to end."""
        with (self.data / "redis.lock").open("r+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            binary = self._binary or find_redis()
            check_version(binary, self.data)
            runtime = self._make_socket_folder()
            with (runtime / "users").open("rb", buffering=0) as pipe:
                self._process = launch(binary, self.data, runtime, self._config, pipe=pipe, lock=lock)
        note = self.data / "redis.json.new"
        note.write_text(json.dumps({"socket": str(self._socket), "supervisor": self._process.pid}))
        note.replace(self.data / "redis.json")
        return True

    def _make_socket_folder(self) -> Path:
        """Folder for the socket: that of a server that died under its users, who wait for it there; else a new one."""
        former = _socket_of(self.data)
        if self._write_end >= 0:
            self._check_socket(former)
        elif former is None or not self._enter(former):
            self._remove_socket_folder()
            self._socket = _short_folder() / "redis.sock"
            users = self._socket.parent / "users"
            os.mkfifo(users, 0o600)
            self._read_end = os.open(users, os.O_RDONLY | os.O_NONBLOCK)
            self._write_end = os.open(users, os.O_WRONLY | os.O_NONBLOCK)
        return self._socket_path.parent

    # -- leaving

    def _release(self) -> bool:
        """Stop being a user of the server; return whether no other is left."""
        os.close(self._write_end)
        self._write_end = -1
        return _deserted(self._read_end)

    def _close(self) -> None:
        for end in (self._write_end, self._read_end):
            if end >= 0:
                os.close(end)
        self._write_end = self._read_end = -1

    async def _end(self) -> None:
        # faster than the watcher's SIGTERM, which Redis checks for ten times a second
        with suppress(OSError):
            ask(self._socket_path, b"SHUTDOWN")
        async with _locked(self.data / "redis.lock"):
            self._remove_socket_folder()
        while self._process is not None and self._process.poll() is None:  # noqa: ASYNC110 - as above
            await asyncio.sleep(PAUSE)

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._remove_socket_folder()

    def _remove_socket_folder(self) -> None:
        """Remove the folder of the socket, whether this process or a killed server made it."""
        path = _socket_of(self.data)
        if path is not None and path.parent.name.startswith("swarm-"):
            shutil.rmtree(path.parent, ignore_errors=True)
        (self.data / "redis.json").unlink(missing_ok=True)


def _short_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="swarm-"))
    if len(os.fsencode(folder / "redis.sock")) > LONGEST_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="swarm-", dir="/tmp"))
    return folder


def _socket_of(data: Path) -> Path | None:
    """Path of the server's socket as noted in `redis.json`; the server may have ended. None without a note."""
    try:
        return Path(json.loads((data / "redis.json").read_text())["socket"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _deserted(read_end: int) -> bool:
    """Whether no process holds the write end of this pipe."""
    try:
        return os.read(read_end, 1) == b""
    except BlockingIOError:
        return False


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Wait for a file's lock and hold it for the block. The kernel releases the lock of a process that dies."""
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(PAUSE)
        yield


def _has_other_files(folder: Path) -> bool:
    """Whether a folder holds anything but the lock of a `swarm up` that is starting."""
    return any(entry.name != "up.lock" for entry in folder.iterdir())
