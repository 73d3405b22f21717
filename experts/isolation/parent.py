"""Experts in processes of their own: for plain Python that computes long, which nothing but a kill can stop.

A card with `isolate: process` has its `solve` run in a child process. Children are started on demand and used again;
one whose attempt is cancelled or out of time is killed with everything that it started. See `experts.isolation.child`
for the child.
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
from swarm.errors import ExpertError, Retryable, UnusableInput
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Solution

IDLE = max(2, os.cpu_count() or 1)
"""Children of one expert that are kept for the next subtask."""
PATIENCE = 3.0
"""Seconds that a child has to end once nothing more is asked of it; it closes its expert meanwhile."""


class IsolatedBug(RuntimeError):
    """What an isolated expert raised that nobody meant, under its own name; its traceback is in the notes."""

    remote_frames = ""
    """Where it was raised, without what it says: for the log."""


class IsolatedExpert(Expert):
    """Answers through child processes, each of which runs one subtask at a time."""

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
        """End the children; those that do not end by themselves are killed."""
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
    """A child that does not keep to the protocol."""


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
        raise _told(Failure.model_validate(answer["failure"]))
    raise _bug({name: str(value) for name, value in answer.get("bug", {}).items()})


def _bug(told: dict[str, str]) -> IsolatedBug:
    """What the child tells of an error, as one of a class of the same name, by which errors are told everywhere."""
    named = type(told["name"], (IsolatedBug,), {"__module__": told["module"], "remote_frames": told["frames"]})
    bug: IsolatedBug = named(told["message"])
    bug.add_note(told["traceback"])
    return bug


def _told(failure: Failure) -> ExpertError:
    """The error that comes to the same Failure here as the one of the child did there."""
    error = ExpertError(failure.message, retryable=failure.retryable, retry_after=failure.retry_after)
    error.reason, error.limited, error.broken = failure.reason, failure.limited, failure.broken
    return error


def _kill(child: asyncio.subprocess.Process) -> None:
    """Kill a child and what it started. The event loop takes its end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


async def _ended(child: asyncio.subprocess.Process) -> None:
    requests, _ = _pipes(child)
    requests.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(child.wait(), PATIENCE)
    _kill(child)
    await child.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
