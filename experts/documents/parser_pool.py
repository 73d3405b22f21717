"""Parses files in a few child processes, each of which parses many. A file that breaks its child costs only itself."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from hashlib import sha256
from types import TracebackType
from typing import IO

from experts.documents.base import Document, UnreadableFile
from experts.documents.child import CPU_SECONDS, DOCUMENT, MEMORY
from experts.documents.formats import require_library, suffix_of
from experts.documents.storage import decode
from experts.isolation.frames import HEAD, framed, length

CHILDREN = 2
SECONDS = 300.0
"""Wall-clock seconds for one file; the limit on CPU time is reached first unless the machine is very busy."""
MAX_ANSWER = 200_000_000
REMEMBERED = 64_000_000
"""Bytes of stored documents that a process remembers."""


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A parsed document and its stored form."""

    document: Document
    stored: bytes


class ParsedFiles:
    """The files parsed last, by format and content, so that publishing a folder again parses only what changed."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit, self._size = limit, 0
        self._found: OrderedDict[tuple[str, str], ParsedFile] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, content: bytes) -> ParsedFile | None:
        key = _key(name, content)
        with self._lock:
            if (found := self._found.get(key)) is None:
                return None
            self._found.move_to_end(key)
        return ParsedFile(replace(found.document, name=name), found.stored)

    def add(self, name: str, content: bytes, parsed: ParsedFile) -> None:
        """Remember a file, and forget those used least recently beyond the limit of stored bytes."""
        with self._lock:
            if self._found.setdefault(_key(name, content), parsed) is parsed:
                self._size += len(parsed.stored)
            while self._size > self._limit:
                _, oldest = self._found.popitem(last=False)
                self._size -= len(oldest.stored)


def _key(name: str, content: bytes) -> tuple[str, str]:
    return suffix_of(name), sha256(content).hexdigest()


class ParserPool:
    """At most `children` processes that parse. They start when needed; any number of threads may call `parse`.

    It is a context manager. `cpu_seconds` and `memory` (bytes) limit each file; `parsed` has files that need not be
    parsed again.
    """

    def __init__(
        self,
        children: int = CHILDREN,
        *,
        cpu_seconds: int = CPU_SECONDS,
        memory: int = MEMORY,
        seconds: float = SECONDS,
        parsed: ParsedFiles | None = None,
    ) -> None:
        self._parsed = ParsedFiles() if parsed is None else parsed
        self._args = (sys.executable, "-P", "-m", "experts.documents.child", str(cpu_seconds), str(memory))
        self._seconds = seconds
        self._free: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        self._count = children
        for _ in range(children):
            self._free.put(None)

    def __enter__(self) -> ParserPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def parse(self, name: str, content: bytes) -> ParsedFile:
        """Parse a file that is no text file. Raises UnreadableFile, whatever the file does to its parser."""
        require_library(name)
        if (known := self._parsed.get(name, content)) is not None:
            return known
        found = self._asked(name, content)
        if found[:1] != DOCUMENT:
            problem, remedy = json.loads(found[1:])
            raise UnreadableFile(problem, remedy)
        parsed = ParsedFile(decode(name, found[1:]), found[1:])
        self._parsed.add(name, content, parsed)
        return parsed

    def close(self) -> None:
        """End the children; wait for those that parse."""
        for _ in range(self._count):
            if (child := self._free.get()) is not None:
                child.close()
        for _ in range(self._count):
            self._free.put(None)

    def _asked(self, name: str, content: bytes) -> bytes:
        child = self._free.get()
        try:
            if child is None:
                child = _Child(self._args)
            return child.ask(name, content, self._seconds)
        except BaseException as error:
            if child is not None:
                child.close()
                child = None
            if isinstance(error, _Ended):
                raise UnreadableFile(str(error), "split it, or save or export it again") from None
            raise
        finally:
            self._free.put(child)


class _Ended(Exception):
    """A child ended without an answer, with what the file did as the message."""


class _Child:
    """A process that parses one file at a time."""

    def __init__(self, args: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._late = False

    def ask(self, name: str, content: bytes, seconds: float) -> bytes:
        """Send a file and return the answer. Raises _Ended if the child ends or needs longer."""
        timer = threading.Timer(seconds, self._end_late)
        timer.start()
        try:
            requests, answers = self._pipes()
            requests.write(framed(name.encode("utf-8", "replace")))
            requests.write(framed(content))
            requests.flush()
            head = answers.read(HEAD)
            if len(head) == HEAD and (size := length(head)) <= MAX_ANSWER:
                found = answers.read(size)
                if len(found) == size:
                    return found
        except (BrokenPipeError, ConnectionError):
            pass
        finally:
            timer.cancel()
        raise _Ended(self._reason())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes():
            with contextlib.suppress(OSError):
                pipe.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        return self._process.stdin, self._process.stdout

    def _end_late(self) -> None:
        self._late = True
        self._process.kill()

    def _reason(self) -> str:
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "gives more text than is accepted"
        if self._late or code == -signal.SIGXCPU:
            return "takes too long to be read"
        if code in (-signal.SIGABRT, -signal.SIGKILL):
            return "needs too much memory to be read"
        return "breaks the program that reads it"
