"""The thread pool for the product's own blocking work: templates, schema checks, retrieval, heads, long texts.

It is separate from asyncio's default pool, which experts in plain Python use with `asyncio.to_thread`: a call that
hangs there must not block other work. Everything that runs in this pool has its own time limit.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import ParamSpec, TypeVar

NAME = "swarm-work"
"""Prefix of the threads' names."""
LEFT_HARD = 75
"""Exit code of a worker that ended while tasks or threads of experts still ran."""

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a thread of the product's own pool, with the caller's context variables."""
    call = partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_pool(os.getpid()), call)


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The pool of this process. A forked process makes its own, since threads do not survive a fork."""
    return ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4), thread_name_prefix=NAME)
