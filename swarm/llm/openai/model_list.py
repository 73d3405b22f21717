"""Parse a server's list of models. Pure.

The list is in `data` (most servers), in `models`, or is the whole response (Together). The date of retirement and the
context length have a dozen names, if they are there at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from swarm.errors import BadOutput

MOST = 10_000
"""Models that are read."""
SHOWN = 20
"""Models that an error names."""
_ENDS = (
    "retires", "retires_at", "retirement_date", "shutdown_date", "sunset_date", "deprecation_date", "expiration_date",
    "deprecation",
)  # fmt: skip
_ROOM = ("context_length", "max_model_len", "context_window", "max_context_length", "n_ctx", "n_ctx_train")


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model as its server lists it."""

    id: str
    owner: str = ""
    created: int = 0
    """Seconds since the epoch; 0: unknown."""
    retires: date | None = None
    context: int | None = None
    """Tokens that it reads and writes together."""


def listed(body: bytes) -> tuple[ListedModel, ...]:
    """The models in a server's response, each once. Raises BadOutput if it is no list of models."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise BadOutput("the list of models is not JSON") from None
    if isinstance(document, dict):
        document = next((document[key] for key in ("data", "models") if isinstance(document.get(key), list)), None)
    if not isinstance(document, list):
        raise BadOutput("the response is not a list of models")
    found = {model.id: model for model in _each(document)}
    return tuple(found.values())


def named(models: tuple[ListedModel, ...]) -> str:
    """The ids of `models`, as an error lists them."""
    more = f" and {len(models) - SHOWN} more" if len(models) > SHOWN else ""
    return ", ".join(model.id for model in models[:SHOWN]) + more


def _each(items: list[Any]) -> Iterator[ListedModel]:
    for item in items[:MOST]:
        if not isinstance(item, dict):
            continue
        name = next((item[key] for key in ("id", "name") if isinstance(item.get(key), str)), "")
        if not name or len(name) > 200 or not name.isprintable():
            continue
        # llama-server has more under `meta`, LiteLLM under `model_info`
        inside = [part for key in ("meta", "model_info") if isinstance(part := item.get(key), dict)]
        owner, created = item.get("owned_by"), item.get("created")
        yield ListedModel(
            name,
            owner[:200] if isinstance(owner, str) else "",
            int(created) if isinstance(created, (int, float)) and 0 < created < 1e11 else 0,
            next((day for part in (item, *inside) if (day := _ends(part))), None),
            next((size for part in (item, *inside) if (size := _room(part))), None),
        )


def _ends(item: Mapping[str, Any]) -> date | None:
    for value in (item.get(key) for key in _ENDS):
        if isinstance(value, dict):  # Azure: {"inference": ..., "fine_tune": ...}
            value = value.get("inference")
        if found := _day(value):
            return found
    return None


def _day(value: object) -> date | None:
    """Parse a date, a timestamp, or seconds since the epoch."""
    try:
        if isinstance(value, str):
            return date.fromisoformat(value.strip()[:10])
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e11:
            return datetime.fromtimestamp(value, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _room(item: Mapping[str, Any]) -> int | None:
    for value in (item.get(key) for key in _ROOM):
        if isinstance(value, int) and 0 < value < 1_000_000_000:
            return value
    return None
