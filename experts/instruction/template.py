"""Sandboxed Jinja with limits on time, steps and output: the engine of `local/template`.

Templates come from cards and so from the catalog's owner; values are untrusted and are never parsed as templates. The
limits stop accidental loops and growth. They do not stop an author who means to exhaust memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import FrameType
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateRuntimeError, TemplateSyntaxError
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from swarm.errors import ExpertError

MAX_OUTPUT = 500_000
"""Maximum characters of a rendered template."""
MAX_STEPS = 1_000_000
"""Maximum lines of compiled template, plus calls, in one rendering."""
MAX_PRODUCT = 100_000
"""Maximum length of the result of `*` or `%`."""

_FAULTS = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError)


class Sample(dict[str, Any]):
    """A sample result or citation: a mapping with exactly the fields that every one has."""


class UnknownName(UndefinedError):
    """A name or field that no input can provide."""


class Undefined(StrictUndefined):
    """Raises an error when used: UnknownName where no input can provide it; other mappings may get the key as data."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: Any = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        certain = obj is missing or isinstance(obj, str | int | float | list | tuple | Sample)
        super().__init__(hint, obj, name, UnknownName if certain and isinstance(name, str) else exc)


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox. It limits operators with large results, also in constants folded at compile time."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and max(abs(left), abs(right)) > 1_000:
            raise SecurityError("** of such numbers is not allowed")
        if operator == "*" and _length(left) * _count(right) + _length(right) * _count(left) > MAX_PRODUCT:
            raise SecurityError("* would make a text or list that is too long")
        if operator == "%" and isinstance(left, str | bytes):
            raise SecurityError("% on texts is not allowed; join them with ~")
        return super().call_binop(context, operator, left, right)


def template_problem(source: str) -> str | None:
    """Describe the syntax error of a template; None if it compiles."""
    try:
        compiled(source)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    except (*_FAULTS, SyntaxError, MemoryError, OverflowError) as error:
        return str(error)[:200] or type(error).__name__
    return None


@lru_cache(maxsize=256)
def compiled(source: str) -> Template:
    """Compile a template. Unknown names are errors when they are used."""
    environment = Environment(undefined=Undefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    for greedy in ("format", "lipsum", "center", "pprint"):
        environment.filters.pop(greedy, None)
        environment.globals.pop(greedy, None)
    return environment.from_string(source)


def render(template: Template, values: Mapping[str, Any], seconds: float) -> str:
    """Render a template. Raises ExpertError if it fails or exceeds a limit. Blocks: run it in a thread."""
    written: list[str] = []
    size = 0
    try:
        with _bounded(template.filename or "<template>", time.monotonic() + seconds):
            for piece in template.generate(dict(values)):
                size += len(piece)
                if size > MAX_OUTPUT:
                    raise ExpertError(f"the template's output has more than {MAX_OUTPUT:,} characters")
                written.append(piece)
    except _FAULTS as error:
        words = " ".join(str(error).split())[:300]
        raise ExpertError(f"the template failed: {words or type(error).__name__}") from error
    return "".join(written).strip()


@contextmanager
def _bounded(filename: str, until: float) -> Iterator[None]:
    """Within the block, stop this thread at the step or time limit. A trace function stops even an empty loop."""
    steps = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal steps
        steps += 1
        if steps > MAX_STEPS or (steps % 1_000 == 0 and time.monotonic() > until):
            raise ExpertError(f"the template ran too long ({steps:,} steps); is there an endless loop?")
        return trace if frame.f_code.co_filename == filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
