"""Runs experts in child processes, for CPU-bound Python code that only a kill can stop.

`solve` of a card with `isolate: process` runs in a child (`experts.isolation.child`). Children are started on demand
and reused. A child whose attempt is cancelled or times out is killed with its process group.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from experts.base import Expert
from experts.isolation.frames import HEAD, MAX_ANSWER, MAX_FRAME, framed, length
from swarm.errors import CallFacts, ExpertError, Retryable, UnusableInput
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Solution

IDLE = max(2, os.cpu_count() or 1)
"""Maximum idle children kept for one expert."""
CLOSE_TIMEOUT = 3.0
"""Seconds that a child has for closing its expert and ending, before it is killed."""


class IsolatedBug(RuntimeError):
    """An unexpected error of an isolated expert, under its original class name; its traceback is in the notes."""

    remote_frames = ""
    """Stack frames of the error without its message, for the log."""


class IsolatedExpert(Expert):
    """Answers through child processes. Each child runs one subtask at a time."""

    def __init__(self, spec: str, card: Card) -> None:
        self.card, self._spec = card, spec
        self._idle: list[asyncio.subprocess.Process] = []
        self._closed = False
        self._dying: set[asyncio.Task[int]] = set()

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        request = _request(subtask, inputs)
        child = await self._child()
        try:
            answer = await _asked(child, request)
        except BaseException as error:
            self._kill(child)
            if isinstance(error, asyncio.IncompleteReadError | ConnectionError | _Wrong):
                raise Retryable(await self._crash(child, error)) from None
            raise
        self._keep(child)
        return _solution(answer)

    async def aclose(self) -> None:
        """End the children; kill those that do not end in time."""
        self._closed = True
        children, self._idle = self._idle, []
        await asyncio.gather(*(_ended(child) for child in children), *self._dying)

    async def _child(self) -> asyncio.subprocess.Process:
        while self._idle:
            if (child := self._idle.pop()).returncode is None:
                return child
        pipe = asyncio.subprocess.PIPE
        args = (sys.executable, "-P", "-m", "experts.isolation.child", self._spec)
        return await asyncio.create_subprocess_exec(*args, stdin=pipe, stdout=pipe, start_new_session=True)

    def _keep(self, child: asyncio.subprocess.Process) -> None:
        if self._closed or len(self._idle) >= IDLE:
            self._kill(child)
        else:
            self._idle.append(child)

    def _kill(self, child: asyncio.subprocess.Process) -> None:
        _kill(child)
        task = asyncio.create_task(child.wait())
        self._dying.add(task)
        task.add_done_callback(self._dying.discard)

    async def _crash(self, child: asyncio.subprocess.Process, error: Exception) -> str:
        if isinstance(error, _Wrong):
            return f"the process of {self.card.name!r} {error}"
        return f"the process of {self.card.name!r} ended without an answer: {_ending(await child.wait())}"


class _Wrong(Exception):
    """A child violated the protocol."""


def _request(subtask: Subtask, inputs: Mapping[str, Solution]) -> bytes:
    values = {name: solution.model_dump(mode="json") for name, solution in inputs.items()}
    asked = {"path": sys.path, "subtask": subtask.model_dump(mode="json"), "inputs": values}
    request = framed(json.dumps(asked).encode())
    if len(request) > MAX_FRAME:
        raise UnusableInput(
            f"the inputs of {subtask.id} have {len(request):,} bytes, at most {MAX_FRAME:,} may be sent"
        )
    return request


async def _asked(child: asyncio.subprocess.Process, request: bytes) -> dict[str, Any]:
    requests, answers = _pipes(child)
    requests.write(request)
    await requests.drain()
    if (size := length(await answers.readexactly(HEAD))) > MAX_ANSWER:
        raise _Wrong(f"sent {size:,} bytes, at most {MAX_ANSWER:,} are read")
    answer = json.loads(await answers.readexactly(size))
    if not isinstance(answer, dict):
        raise _Wrong("sent no answer")
    return answer


def _pipes(child: asyncio.subprocess.Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("the process was started without pipes")
    return child.stdin, child.stdout


def _solution(answer: dict[str, Any]) -> Solution:
    if "solution" in answer:
        return Solution.model_validate(answer["solution"])
    if "failure" in answer:
        raise _expert_error(Failure.model_validate(answer["failure"]))
    raise _bug({name: str(value) for name, value in answer.get("bug", {}).items()})


def _bug(reported: dict[str, str]) -> IsolatedBug:
    """Rebuild an error of the child as an IsolatedBug subclass of the same name, so that messages show that name."""
    named = type(
        reported["name"], (IsolatedBug,), {"__module__": reported["module"], "remote_frames": reported["frames"]}
    )
    bug: IsolatedBug = named(reported["message"])
    bug.add_note(reported["traceback"])
    return bug


def _expert_error(failure: Failure) -> ExpertError:
    """An ExpertError that `known_failure` translates into the child's Failure."""
    call = CallFacts(limited=failure.limited, breaker_open=failure.broken)
    error = ExpertError(failure.message, retryable=failure.retryable, retry_after=failure.retry_after, call=call)
    error.reason = failure.reason
    return error


def _kill(child: asyncio.subprocess.Process) -> None:
    """Kill a child and its process group. The event loop reaps it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


async def _ended(child: asyncio.subprocess.Process) -> None:
    requests, _ = _pipes(child)
    requests.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(child.wait(), CLOSE_TIMEOUT)
    _kill(child)
    await child.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
