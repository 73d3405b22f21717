"""The pool in which this project runs its own blocking work: templates, schema checks, retrieval, heads, long texts.

It is apart from asyncio's default pool, which experts in plain Python fill with `asyncio.to_thread`: a library that
hangs there must not stop the work of others. What runs here is bounded in time by itself.
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
"""How the threads are called."""
LEFT_HARD = 75
"""Exit code of a worker whose experts' tasks or threads did not end with it."""

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a thread of the project's own pool, as `asyncio.to_thread` does in that of the loop."""
    call = partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_pool(os.getpid()), call)


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The pool of this process: a fork does not bring the threads of its parent."""
    return ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4), thread_name_prefix=NAME)
