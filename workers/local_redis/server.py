"""The private Redis of embedded mode: one per data folder, there for as long as somebody uses it.

Two locks and a pipe keep that promise, whoever is killed and however. The server itself holds the lock on its folder,
so no second one ever writes the same files. Every user holds the write end of a named pipe that a watcher beside the
server reads: when the last user is gone, also by kill -9, the watcher sees the end of the pipe and ends the server.
The gate is held while somebody comes or goes, so nobody joins a server that is being ended.

A server that dies under its users is started again on the same socket, by whichever of them sees it first or by
whoever comes next; its append-only file has kept the data.
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
from workers.local_redis.binary import answers, ask, can_read, find_redis, last_words, launch

START_TIMEOUT = 30.0
"""Seconds, reading the append-only file included."""
STOP_TIMEOUT = 10.0
PAUSE = 0.005
WATCH = 0.5
"""Seconds between looks whether the server is still there."""
LONGEST_PATH = 100
"""Of a unix socket: the kernel takes 107 bytes, macOS 103."""


def running(data: Path) -> str | None:
    """The URL of the server that runs on this data folder now, if one does and answers."""
    path = _socket_of(data.expanduser())
    return f"unix://{path}" if path is not None and answers(path) else None


@asynccontextmanager
async def private(data: Path, *, always: bool = False) -> AsyncIterator[str]:
    """The URL of the folder's Redis, which is started again whenever it is lost, as long as the block runs.

    `always`: each write is on the disk before it is answered.

    When that cannot be, the block is cancelled and EmbeddedUnavailable raised.
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
    """The Redis of a data folder: joined if it runs, else started; the last to leave ends it.

    `config` goes over what CONFIG says; the server's log is `redis.log` in the folder.

        async with PrivateRedis(settings.data) as redis:
            connection = Connection.open(redis.url)
    """

    def __init__(self, data: Path, config: Mapping[str, str] | None = None, *, binary: Path | None = None) -> None:
        self.data = data.expanduser().absolute()
        self._config, self._binary = dict(config or {}), binary
        self._socket: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._hold = self._pulse = -1

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """unix:///... of the server's socket. Only after `start`."""
        return f"unix://{self._there}"

    @property
    def pid(self) -> int:
        """The server's process. Only after `start`."""
        return int((self._there.parent / "redis.pid").read_text())

    @property
    def alive(self) -> bool:
        """Whether the server is there; False after it crashed or was killed."""
        if self._process is not None:
            return self._process.poll() is None
        return self._socket is not None and answers(self._socket)

    async def start(self) -> None:
        """Join or start the server; return when it answers. Raises EmbeddedUnavailable."""
        self.make_folder()
        try:
            await self._until_itanswers()
        except BaseException:
            await self.stop()
            raise

    async def keep(self) -> None:
        """Start the server again, on the same socket, whenever it is lost. Only ends by raising EmbeddedUnavailable."""
        while True:
            await asyncio.sleep(WATCH)
            if not await in_thread(lambda: self.alive):
                await self._until_itanswers()

    async def stop(self) -> None:
        """Leave. The last user ends the server, and returns when its data is on disk. Safe to repeat."""
        if self._hold < 0:
            return
        try:
            async with asyncio.timeout(STOP_TIMEOUT), _locked(self.data / "redis.gate"):
                if self._let_go():
                    await self._end()
        except TimeoutError:
            if self._hold < 0:
                self._kill()
        finally:
            self._close()
            if self._process is not None and self._process.poll() is None:
                # others use it: no zombie is left when they end it
                threading.Thread(target=self._process.wait, daemon=True).start()
            self._socket = self._process = None

    # -- coming

    @property
    def _there(self) -> Path:
        if self._socket is None:
            raise RuntimeError("the private Redis is not started")
        return self._socket

    def make_folder(self) -> None:
        """Make the data folder, closed to others. Raises EmbeddedUnavailable where that cannot be."""
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._refuse_folder_of_others()
            self.data.chmod(0o700)
            (self.data / "redis.lock").touch(mode=0o600)
        except OSError as error:
            raise EmbeddedUnavailable(
                f"the data folder {self.data} cannot be used ({error.strerror}); choose another with SWARM_DATA"
            ) from None

    def _refuse_folder_of_others(self) -> None:
        """A folder that others use is not closed to them: it must be private, or have nothing but ours in it."""
        found = self.data.stat()
        if found.st_uid != os.geteuid():
            why = f"it belongs to user {found.st_uid}"
        elif found.st_mode & 0o077 and not (self.data / "redis.lock").exists() and _others(self.data):
            why = "it has other files in it, and others may read it"
        else:
            return
        raise EmbeddedUnavailable(f"the data folder {self.data} cannot be used ({why}); name a new one in SWARM_DATA")

    async def _until_itanswers(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await self._join_or_launch():  # noqa: ASYNC110 - nobody tells us of another process
                    await asyncio.sleep(4 * PAUSE)
                while not await in_thread(answers, self._there):
                    if not self.alive:
                        raise EmbeddedUnavailable(f"the private Redis ended at once: {last_words(self.data)}")
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise EmbeddedUnavailable(
                f"the private Redis did not answer within {START_TIMEOUT:g} s: {last_words(self.data)}"
            ) from None

    async def _join_or_launch(self) -> bool:
        async with _locked(self.data / "redis.gate"):
            return self._join() or self._launch()

    def _join(self) -> bool:
        path = _socket_of(self.data)
        if path is None or not answers(path):
            return False
        if self._hold < 0:
            return self._enter(path)
        self._still_ours(path)
        if self._process is not None and self._process.poll() is not None:
            self._process = None  # another user has started the server again
        return True

    def _enter(self, path: Path) -> bool:
        """Be one more user of the socket, if it has any."""
        users = path.parent / "users"
        with suppress(OSError):
            self._pulse = os.open(users, os.O_RDONLY | os.O_NONBLOCK)
            if not _deserted(self._pulse):
                self._hold = os.open(users, os.O_WRONLY | os.O_NONBLOCK)
                self._socket = path
                return True
        self._close()
        return False

    def _still_ours(self, path: Path | None) -> None:
        """Raises EmbeddedUnavailable if those who come now would not find us where we are."""
        with suppress(OSError):
            if path == self._socket and os.path.samestat(os.fstat(self._hold), (self._there.parent / "users").stat()):
                return
        raise EmbeddedUnavailable(
            f"the private Redis was lost, and {self._there} was removed or replaced meanwhile; "
            "start again: the jobs are kept"
        )

    def _launch(self) -> bool:
        """Start the server, unless one runs: one that does not answer yet, or is about to end."""
        with (self.data / "redis.lock").open("r+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            binary = self._binary or find_redis()
            can_read(binary, self.data)
            there = self._take_folder()
            with (there / "users").open("rb", buffering=0) as pipe:
                self._process = launch(binary, self.data, there, self._config, pipe=pipe, lock=lock)
        note = self.data / "redis.json.new"
        note.write_text(json.dumps({"socket": str(self._socket), "supervisor": self._process.pid}))
        note.replace(self.data / "redis.json")
        return True

    def _take_folder(self) -> Path:
        """The socket's folder: that of a server that died under its users, who wait there; else a new one."""
        former = _socket_of(self.data)
        if self._hold >= 0:
            self._still_ours(former)
        elif former is None or not self._enter(former):
            self._forget_folder()
            self._socket = _short_folder() / "redis.sock"
            users = self._socket.parent / "users"
            os.mkfifo(users, 0o600)
            self._pulse = os.open(users, os.O_RDONLY | os.O_NONBLOCK)
            self._hold = os.open(users, os.O_WRONLY | os.O_NONBLOCK)
        return self._there.parent

    # -- going

    def _let_go(self) -> bool:
        """Whether nobody else uses the server."""
        os.close(self._hold)
        self._hold = -1
        return _deserted(self._pulse)

    def _close(self) -> None:
        for end in (self._hold, self._pulse):
            if end >= 0:
                os.close(end)
        self._hold = self._pulse = -1

    async def _end(self) -> None:
        # quicker than the watcher's SIGTERM, which Redis looks for ten times a second
        with suppress(OSError):
            ask(self._there, b"SHUTDOWN")
        async with _locked(self.data / "redis.lock"):
            self._forget_folder()
        while self._process is not None and self._process.poll() is None:  # noqa: ASYNC110 - as above
            await asyncio.sleep(PAUSE)

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._forget_folder()

    def _forget_folder(self) -> None:
        """Remove the socket's folder, of ours or of a server that was killed."""
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
    """What the folder's note says of its server, which may be gone."""
    try:
        return Path(json.loads((data / "redis.json").read_text())["socket"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _deserted(pulse: int) -> bool:
    """Whether the pipe whose reading end this is has no user any more."""
    try:
        return os.read(pulse, 1) == b""
    except BlockingIOError:
        return False


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a file's lock; waits for it. Whoever dies lets go of it."""
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(PAUSE)
        yield


def _others(folder: Path) -> bool:
    """Whether a folder has anything in it but the lock of a `swarm up` that comes."""
    return any(entry.name != "up.lock" for entry in folder.iterdir())
