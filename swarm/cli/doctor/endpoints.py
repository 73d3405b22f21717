"""Check endpoints: whether they answer, accept our key, and list the models in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from typing import Literal

from swarm.cli.doctor.findings import Finding, bad, good, many, raised, warning
from swarm.errors import ExpertError
from swarm.llm.openai.model_list import ListedModel, named
from swarm.settings import Settings
from swarm.types.card import Card, is_local

SOON = 90
"""Days before a model is shut down from which doctor warns."""


KeyIs = Literal["", "accepted", "not asked for"]
"""Unknown; accepted (there is no list without the key); not asked for (there is a list without the key)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An endpoint with its list of models, or the error. With --offline it has neither."""

    name: str
    host: str = ""
    default: str = ""
    """Its default model."""
    offered: tuple[ListedModel, ...] | None = None
    seconds: float = 0.0
    key: KeyIs = ""
    """What the list proves about the key."""
    error: ExpertError | None = field(default=None, repr=False)


Users = Mapping[str, tuple[str, ...]]
"""Users of each model, by `endpoint/model`."""


def used(cards: Iterable[Card], settings: Settings, full: Callable[[str], str]) -> dict[str, tuple[str, ...]]:
    """Return the models of endpoints with their users. `full` adds the default model to an endpoint's name."""
    found: dict[str, tuple[str, ...]] = {}

    def add(model: str, user: str) -> None:
        if model and not is_local(model):
            found[full(model)] = (*found.get(full(model), ()), user)

    for card in cards:
        add(card.model, card.name)
        for model in card.fallback_models:
            add(model, f"a fallback of {card.name}")
    add(settings.planner, "SWARM_PLANNER")
    add(settings.synthesis, "SWARM_SYNTHESIS")
    return {model: tuple(dict.fromkeys(users)) for model, users in found.items()}


def answering(asked: Asked, users: Users) -> Finding:
    """Report whether an endpoint answers and accepts our key."""
    if asked.error is not None:
        return _silent(asked, asked.error, users)
    said = f"{asked.name} ({asked.host})"
    if asked.offered is None:
        return good("endpoints", f"{said} is set up")
    said += f" answers in {asked.seconds * 1000:.0f} ms"
    if asked.key:
        said += f", the key is {asked.key}" + (" here" if asked.key == "not asked for" else "")
    default = f", {asked.default} unless one is named" if asked.default else ""
    if not asked.offered:
        lost = [model for model in users if where(model) == asked.name]
        return warning(
            "endpoints",
            f"{said}, but lists no models: cannot tell whether it has {', '.join(lost) or 'any'}",
            "check its URL, which most servers want with /v1 at its end; some servers have no such list",
        )
    return good("endpoints", f"{said}, and has {many(len(asked.offered), 'model')}{default}")


def _silent(asked: Asked, error: ExpertError, users: Users) -> Finding:
    found = raised("endpoints", error, "check its URL and its key")
    asking = [user for model, each in users.items() if where(model) == asked.name for user in each]
    return bad("endpoints", f"{found.text}{_by(asking)}", found.remedy)


def listed(users: Users, asked: Mapping[str, Asked], today: date) -> Iterator[Finding]:
    """Yield one finding for each model in use whose endpoint lists its models."""
    for model, by in sorted(users.items()):
        there = asked.get(where(model))
        if there is None or there.error is not None:
            continue
        if "/" not in model:
            remedy = f"name {model}/MODEL, or set its model in swarm.toml"
            lists = f"; {_lists(model, there.offered)}" if there.offered else ""
            yield bad("models", f"{model} is named without a model, and has no default one{_by(by)}", remedy + lists)
        elif there.offered:
            yield _listed(model, there.offered, by, today)


def _listed(model: str, offered: Sequence[ListedModel], by: Sequence[str], today: date) -> Finding:
    server, _, name = model.partition("/")
    found = next((each for each in offered if each.id in _spellings(name)), None)
    if found is None:
        near = get_close_matches(name, [each.id for each in offered], n=1)
        meant = f"did you mean {server}/{near[0]}? " if near else ""
        return warning(
            "models",
            f"{model} is not in the server's list; some servers answer for unlisted names{_by(by)}",
            f"{meant}if it is refused, name one that {_lists(server, offered)}",
        )
    room = f", {found.context:,} tokens of context" if found.context else ""
    if found.retires is None:
        return good("models", f"{model} is listed{room}{_by(by)}")
    left = (found.retires - today).days
    if left <= 0:
        return bad(
            "models",
            f"{model} was shut down on {found.retires.isoformat()}, says {server}{_by(by)}",
            f"name another model; {_lists(server, _lasting(offered, today))}",
        )
    if left <= SOON:
        return warning(
            "models",
            f"{model} will be shut down on {found.retires.isoformat()}, in {many(left, 'day')}, says {server}{_by(by)}",
            f"name another model before that; {_lists(server, _lasting(offered, today))}",
        )
    return good("models", f"{model} is listed until {found.retires.isoformat()}{room}{_by(by)}")


def _spellings(name: str) -> tuple[str, ...]:
    """Return the spellings of a name in lists: the name, with the default tag, or with the prefix `models/`."""
    return (name, f"{name}:latest", f"models/{name}")


def _lasting(offered: Iterable[ListedModel], today: date) -> tuple[ListedModel, ...]:
    return tuple(each for each in offered if each.retires is None or (each.retires - today).days > SOON)


def where(model: str) -> str:
    """Return the endpoint of a model."""
    return model.partition("/")[0]


def _lists(server: str, offered: Iterable[ListedModel]) -> str:
    return f"{server} lists: {named(tuple(offered)) or 'no others'}"


def _by(users: Sequence[str]) -> str:
    """Write the first few users in brackets."""
    every = list(dict.fromkeys(users))
    more = f" and {len(every) - 4} more" if len(every) > 4 else ""
    return f" ({', '.join(every[:4])}{more})" if every else ""
