"""Child process of an isolated expert: `python -m experts.isolation.child module:Class`.

It is started by `experts.isolation.parent`. It reads one request at a time from stdin and writes each answer to stdout;
output of the expert goes to stderr. When stdin closes, the process ends with its whole process group: at once during
a request, else after `aclose`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import inspect
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable
from typing import Any, BinaryIO

from experts.isolation.frames import HEAD, MAX_ANSWER, framed, length, own_streams
from experts.outcome import describe_error, error_message, known_failure
from experts.python_experts import instance
from experts.result_repair import repaired
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Reason, Solution

CLOSING = 2.0
"""Timeout in seconds for closing the expert."""
MAX_TRACEBACK = 20_000
"""Maximum characters of a traceback sent to the worker."""


class _Requests:
    """Reads requests from stdin in a thread, and ends the process when stdin closes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: queue.Queue[bytes | None] = queue.Queue()
        self.busy = False
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def next(self) -> bytes | None:
        return self._waiting.get()

    def _read(self) -> None:
        over = threading.Event()
        while len(head := self._stream.read(HEAD)) == HEAD:
            self.busy = True
            self._waiting.put(self._stream.read(length(head)))
        self._waiting.put(None)
        if not self.busy:
            over.wait(CLOSING)
        _end()


def _end() -> None:
    """Kill this process and its process group."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _die_with_parent() -> None:
    """On Linux, have the kernel kill this process when the worker dies, even if its code never yields the GIL."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class _Served:
    """Answers requests with an expert that is made at the first of them."""

    def __init__(self, spec: str, runner: asyncio.Runner) -> None:
        self._spec, self._runner = spec, runner
        self._expert: Any = None

    def answer(self, request: bytes) -> bytes:
        try:
            solution = self._solved(json.loads(request))
        except BaseException as error:  # SystemExit too costs only one attempt
            return json.dumps(_problem(error)).encode()
        try:
            answer = json.dumps({"solution": solution.model_dump(mode="json")}).encode()
        except (ValueError, RecursionError) as error:
            return json.dumps(_failed("bad_output", f"the solution is not JSON: {describe_error(error)}")).encode()
        if len(answer) <= MAX_ANSWER:
            return answer
        return json.dumps(_failed("too_large", f"the solution has {len(answer):,} bytes; ask for less")).encode()

    def close(self) -> None:
        if (close := getattr(self._expert, "aclose", None)) is not None:
            self._runner.run(_awaited(close()))

    def _solved(self, request: dict[str, Any]) -> Solution:
        if self._expert is None:
            sys.path[:] = request["path"]
            self._expert = instance(self._spec)
        subtask = Subtask.model_validate(request["subtask"])
        inputs = {name: Solution.model_validate(value) for name, value in request["inputs"].items()}
        solution = self._expert.solve(subtask, inputs)
        if inspect.isawaitable(solution):
            solution = self._runner.run(_awaited(solution))
        if not isinstance(solution, Solution):
            raise TypeError(f"it returned {type(solution).__name__}, not a Solution")
        return repaired(solution)


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given


def _failed(reason: Reason, message: str) -> dict[str, Any]:
    return {"failure": Failure(reason=reason, message=message).model_dump(mode="json")}


def _problem(error: BaseException) -> dict[str, Any]:
    if (failure := known_failure(error)) is not None:
        return {"failure": failure.model_dump(mode="json")}
    kind = type(error)
    bug = {
        "module": kind.__module__,
        "name": kind.__name__,
        "message": error_message(error),
        "frames": "".join(traceback.extract_tb(error.__traceback__).format())[-MAX_TRACEBACK:],
        "traceback": "".join(traceback.format_exception(error))[-MAX_TRACEBACK:],
    }
    return {"bug": bug}


def main(spec: str) -> None:
    _die_with_parent()
    stdin, stdout = own_streams()
    requests = _Requests(stdin)
    with asyncio.Runner() as runner:
        served = _Served(spec, runner)
        while (request := requests.next()) is not None:
            answer = served.answer(request)
            sys.stdout.flush()
            requests.busy = False
            stdout.write(framed(answer))
            stdout.flush()
        served.close()
    _end()


if __name__ == "__main__":
    main(sys.argv[1])
