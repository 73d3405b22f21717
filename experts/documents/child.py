"""Child process that parses files: `python -m experts.documents.child`. `experts.documents.parser_pool` starts it.

It reads a name and a content at a time from stdin, and writes the parsed document or the problem to stdout. Memory is
limited for the whole process, CPU time for each file: the kernel ends a process that needs more.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from typing import BinaryIO

from experts.documents.base import UnreadableFile
from experts.documents.formats import parser_of
from experts.documents.storage import encoded
from experts.isolation.frames import HEAD, framed, length, own_streams

MEMORY = 1_500_000_000
"""Bytes of address space."""
CPU_SECONDS = 40
"""CPU seconds for one file; parsers stop by themselves at half of it where they can."""

DOCUMENT, PROBLEM = b"d", b"p"
"""First byte of an answer."""


def limit_process(memory: int) -> None:
    """Limit the memory, and forbid files to be written and core dumps."""
    for kind, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a stricter limit is in force, or the system has none
            resource.setrlimit(kind, (value, value))


def limit_cpu(seconds: int) -> None:
    """Limit the CPU time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, hard))


def answer(name: str, content: bytes) -> bytes:
    """Parse a file into an answer."""
    try:
        return DOCUMENT + encoded(parser_of(name)(name, content))
    except UnreadableFile as error:
        return _problem(error.problem, error.remedy)
    except MemoryError:
        return _problem("needs too much memory to be read", "split it")
    except RecursionError:
        return _problem("is nested too deeply", "save or export it again")
    except Exception as error:  # one broken file costs only itself
        return _problem(f"cannot be parsed ({type(error).__name__})", "save or export it again")


def _problem(problem: str, remedy: str) -> bytes:
    return PROBLEM + json.dumps([problem, remedy]).encode()


def serve(requests: BinaryIO, answers: BinaryIO, cpu_seconds: int) -> None:
    """Answer requests until stdin closes. A request is two frames: the name, and the content."""
    while (name := _frame(requests)) is not None and (content := _frame(requests)) is not None:
        limit_cpu(cpu_seconds)
        found = answer(name.decode(), content)
        del content
        answers.write(framed(found))
        answers.flush()


def _frame(stream: BinaryIO) -> bytes | None:
    head = stream.read(HEAD)
    return stream.read(length(head)) if len(head) == HEAD else None


def main() -> None:
    cpu_seconds, memory = map(int, sys.argv[1:3])
    requests, answers = own_streams()
    limit_process(memory)
    serve(requests, answers, cpu_seconds)


if __name__ == "__main__":
    main()
