"""Log each model call in one line, however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Self

from swarm import logging as events
from swarm.errors import ExpertError, NoRoom
from swarm.llm.base import ChatRequest, Completion, Model, Models, sampling_of
from swarm.llm.metered import MeteredModel, Tally
from swarm.llm.openai.usage import failed
from swarm.types.result import Usage
from swarm.types.sampling import Sampling

_log = events.get_logger("models")


class LoggedModels:
    """Wrap `models` to log each call, with its prompt and answer if `contents`. Their creator closes them."""

    def __init__(self, models: Models, *, contents: bool = False) -> None:
        self._models, self._contents = models, contents

    def get(self, name: str) -> Model:
        return LoggedModel(self._models.get(name), contents=self._contents)

    async def aclose(self) -> None:
        return None


class LoggedModel:
    """Wrap `model` to log each call."""

    def __init__(self, model: Model, *, contents: bool = False) -> None:
        self._model, self._contents = model, contents

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def sampling(self) -> Sampling:
        return sampling_of(self._model)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
        with _Call(self._model, request, self._contents) as call:
            async with aclosing(call.model.stream(request)) as items:
                async for item in items:
                    call.came(item)
                    yield item


class _Call:
    """One call, from its start to its log line."""

    def __init__(self, model: Model, request: ChatRequest, contents: bool) -> None:
        self._messages, self._contents = request.messages, contents
        cap = {"max_tokens": request.max_tokens} if request.max_tokens else {}
        self._sampling = sampling_of(model, request.sampling).logged | cap
        self._tally = Tally()
        self.model = model.tallied(self._tally) if isinstance(model, MeteredModel) else model
        self._begun = time.monotonic()
        self._first = 0.0
        self._whole: Completion | None = None

    def came(self, item: str | Completion) -> None:
        if isinstance(item, Completion):
            self._whole = item
            self._first = item.first or self._first
        elif not self._first:
            self._first = time.monotonic() - self._begun - self._tally.waited

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        whole = self._whole
        failed = error if whole is None else None  # a stream closed after its last item was complete
        name = self.model.name
        line = {
            "endpoint": name.partition("/")[0],
            "model": name,
            "ms": _ms(time.monotonic() - self._begun),
            "rate_wait_ms": _ms(self._tally.waited),
            "first_ms": _ms(self._first),
            "sampling": self._sampling,
            "way": whole.asked_by if whole else "",
            "dropped": whole.dropped if whole else (),
            **events.used(whole.usage if whole else self._used(failed)),
        }
        if isinstance(failed, ExpertError):
            line["error"] = events.excerpt(str(failed)) if self._contents else failed.log_message
        if self._contents:
            line["prompt"] = events.excerpt("\n\n".join(f"{each.role}: {each.content}" for each in self._messages))
            line["answer"] = events.excerpt(whole.text if whole else "")
            line["thoughts"] = events.excerpt(whole.thoughts if whole else "")
        _log.info(
            events.CALLED,
            **{field: value for field, value in line.items() if value},
            outcome=_outcome(failed) if whole is None else "cut" if whole.cut else "ok",
        )

    def _used(self, error: BaseException | None) -> Usage:
        """Usage of a call without a completion."""
        used = self._tally.used
        return failed(error, self._messages) if used == Usage() and isinstance(error, ExpertError) else used


def _outcome(error: BaseException | None) -> str:
    if isinstance(error, ExpertError):
        return error.reason
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    if isinstance(error, NoRoom):
        return "parked"
    return "failed" if isinstance(error, Exception) else "closed"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
