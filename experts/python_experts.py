"""Loads experts in plain Python: classes with `card` and `solve`, named by import string or entry point.

An `async def solve` runs in the worker's event loop, a `def solve` in a thread, so that it may block. With
`isolate: process` in its card, `solve` runs in a child process that is killed at its timeout. `solve` gets the subtask
with every `${...}` of the instruction replaced, the results as `inputs`, and as an optional third argument `context`
a `swarm.Context`, which can send requests to the swarm. Only processes that load an expert serve it. Its author
declares the version, because a hash of the card would not cover the code; raise it with every change of behaviour.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NoReturn

from pydantic import ValidationError

from experts.base import Expert
from experts.catalog.duration import DURATION, duration
from experts.isolation.parent import IsolatedExpert
from swarm.errors import BadInput
from swarm.types.base import explain
from swarm.types.card import Card

GROUP = "swarm.experts"
MODEL = "local/python"
"""Model name of a plain Python expert whose card has none."""

_SPEC = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True, slots=True)
class Implementation:
    """An expert in plain Python: its card and its factory. `spec` is also the card's `implementation`."""

    spec: str
    card: Card
    make: Callable[[], Expert]


def load_implementations(specs: Iterable[str], *, installed: bool = False) -> dict[str, Implementation]:
    """Load the experts that `specs` name, by import string; with `installed`, also those of entry points.

    Raises BadInput for the first that is not an expert, or if two have the same name.
    """
    found = {spec: load(spec) for spec in dict.fromkeys(specs)}
    if installed:
        for point in entry_points(group=GROUP):
            found.setdefault(_spec(point), load(_spec(point)))
    names: dict[str, str] = {}
    for spec, implementation in found.items():
        if (other := names.setdefault(implementation.card.name, spec)) != spec:
            _wrong(spec, f"has the name {implementation.card.name!r}, as {other} has", "rename one of them")
    return found


def load(spec: str) -> Implementation:
    """Load the expert `module:attribute`. Raises BadInput, and passes on errors that the module raises on import."""
    if not _SPEC.fullmatch(spec):
        _wrong(spec, "is not an import string", "write module:attribute, such as acme.weather:WeatherExpert")
    found = _imported(spec)
    solve = getattr(found, "solve", None)
    if not callable(solve):
        _wrong(spec, "has no `solve`", "write `async def solve(self, subtask, inputs)`, see experts.base.Expert")
    if inspect.isasyncgenfunction(solve) or inspect.isgeneratorfunction(solve):
        _wrong(spec, "has a `solve` that is a generator", "return one Solution")
    card = _card(spec, getattr(found, "card", None))
    if card.isolate is None:
        return Implementation(spec, card, found if isinstance(found, type) else lambda: found)
    if "context" in inspect.signature(solve).parameters:
        _wrong(spec, "is isolated and has a `solve` that takes a context", "drop `isolate` from its card, or `context`")
    return Implementation(spec, card, lambda: IsolatedExpert(spec, card))


def instance(spec: str) -> Any:
    """Make the expert of an import string in this process, even if its card isolates it."""
    found = _imported(spec)
    return found() if isinstance(found, type) else found


def makers(implementations: Mapping[str, Implementation]) -> dict[str, Callable[[], Expert]]:
    """The factories by import string, as `Registry` takes them."""
    return {spec: implementation.make for spec, implementation in implementations.items()}


def cards(implementations: Mapping[str, Implementation]) -> dict[str, Card]:
    """The cards by name, as `with_implementations` takes them."""
    return {implementation.card.name: implementation.card for implementation in implementations.values()}


def _imported(spec: str) -> Any:
    module, _, attribute = spec.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, SyntaxError) as error:
        _wrong(spec, f"cannot be imported ({error})", "install it, or correct the path and PYTHONPATH")
    except AttributeError:
        _wrong(spec, f"is not there: {module} has no {attribute}", "correct the name after the colon")
    return found


def _card(spec: str, given: object) -> Card:
    """The card with `implementation` set to `spec`."""
    fields: dict[str, Any]
    if isinstance(given, Card):
        fields = given.model_dump()
    elif isinstance(given, Mapping):
        fields = {"model": MODEL, **given}
    else:
        _wrong(spec, "has no `card`", "give it a dict with name, kind, description and version")
    if not fields.get("version"):
        _wrong(spec, "declares no version", 'add "version" to its card, and raise it when its behaviour changes')
    if unknown := sorted(map(str, fields.keys() - Card.model_fields.keys())):
        _wrong(spec, f"has a card with the unknown field {unknown[0]!r}", f"known are {', '.join(Card.model_fields)}")
    if isinstance(timeout := fields.get("timeout"), str):
        fields["timeout"] = duration(timeout)
        if fields["timeout"] is None:
            _wrong(spec, f"has a card with the timeout {timeout[:80]!r}, which is not a duration", DURATION)
    if (isolate := fields.get("isolate")) not in (None, "process"):
        _wrong(spec, f"has a card with isolate {str(isolate)[:80]!r}", 'write "isolate": "process", or leave it out')
    try:
        return Card.model_validate(fields | {"implementation": spec})
    except ValidationError as error:
        _wrong(spec, f"has a wrong card: {explain(error)}", "correct its `card`")


def _spec(point: EntryPoint) -> str:
    return f"{point.module}:{point.attr}"


def _wrong(spec: str, problem: str, remedy: str) -> NoReturn:
    raise BadInput("implementation", f"{spec!r} {problem}", remedy)
