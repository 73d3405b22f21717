"""Fallback models: if a model does not answer, the next one is asked.

All share the time of one attempt. Every model but the last gets two thirds of the time left: of a minute, two models
get 40 and at least 20 seconds; three get 40, 13 and 6. A model whose breaker is open fails at once and takes no time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from swarm import logging as events
from swarm.errors import ExpertError
from swarm.llm.bad_output import cut_output
from swarm.llm.base import ChatRequest, Completion, Model, Models, no_completion
from swarm.llm.openai.usage import failed
from swarm.types.result import FailedModel, Usage, as_reason

SHARE = 2 / 3
"""Share of the time left, for every model but the last."""

_log = events.get_logger("models")


def with_fallbacks(models: Models, names: Sequence[str]) -> Model:
    """The first model of `names`, with the others as its fallbacks, in order.

    The next model is asked after an error that allows it (`CallFacts.elsewhere`), and after an answer cut at the
    token limit, since another model's limit may be higher; never once a piece of a stream was given. If all answers
    are cut, the last text counts, but not if a format was requested. The completion names the model that answered, and
    its usage counts all calls. If none answered, the error says what was tried; it is retryable if one of them is, and
    costs no attempt if none of the retryable ones does.
    """
    first, *others = names
    return FallbackModel(models, names) if others else models.get(first)


class FallbackModel:
    """See `with_fallbacks`. A model whose endpoint is not configured fails when its turn comes."""

    def __init__(self, models: Models, names: Sequence[str]) -> None:
        self._models, self._names = models, tuple(names)

    @property
    def name(self) -> str:
        return self._names[0]

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
        turns = _Turns(self._names, request.timeout)
        cut: Completion | None = None
        begun = False
        while True:
            completion: Completion | None = None
            try:
                stream = self._models.get(turns.name).stream(replace(request, timeout=turns.seconds()))
                async with aclosing(stream) as items:
                    async for item in items:
                        if isinstance(item, Completion):
                            completion = item
                        elif request.deltas:
                            begun = True
                            yield item
                if completion is None:
                    raise no_completion(turns.name)
            except ExpertError as error:
                if cut is not None and (turns.is_last or not error.call.elsewhere):
                    yield turns.paid(replace(cut, usage=failed(error, request.messages)))
                    return
                turns.failed(error, failed(error, request.messages), begun=begun)
                continue
            if request.deltas or not completion.cut or (request.format is None and turns.is_last):
                yield turns.paid(completion)
                return
            cut = completion if request.format is None else None
            turns.failed(cut_output(completion.model, completion.remedy), completion.usage)


class _Turns:
    """The models asked for one request: whose turn it is, the time left, and the errors so far."""

    def __init__(self, names: Sequence[str], timeout: float) -> None:
        self._names, self._until = names, time.monotonic() + timeout
        self._errors: list[ExpertError] = []
        self._used = Usage()

    @property
    def name(self) -> str:
        return self._names[len(self._errors)]

    @property
    def is_last(self) -> bool:
        return len(self._errors) == len(self._names) - 1

    def seconds(self) -> float:
        """The time limit of the current model."""
        left = max(0.001, self._until - time.monotonic())
        return left if self.is_last else SHARE * left

    def failed(self, error: ExpertError, used: Usage, *, begun: bool = False) -> None:
        """Go on to the next model, or raise one error for all. `begun`: pieces of its answer were given."""
        name, over = self.name, begun or self.is_last or not error.call.elsewhere
        self._errors.append(error)
        self._used += used
        if over:
            raise self._together() from None
        _log.warning(events.MODEL_FELL_BACK, model=name, reason=error.reason, next=self.name)

    def paid(self, completion: Completion) -> Completion:
        """The completion, with the usage of the calls before it. Their costs are in the budget account."""
        failed = tuple(
            FailedModel(model=name, reason=as_reason(error.reason))
            for name, error in zip(self._names, self._errors, strict=False)
            if name != completion.model
        )
        return replace(completion, usage=self._used + completion.usage, failed=failed) if self._errors else completion

    def _together(self) -> ExpertError:
        """One error for all models: the last retryable one, else the last."""
        last = self._errors[-1]
        if len(self._errors) == 1:
            return last
        passing = [error for error in self._errors if error.retryable] or [last]
        together = passing[-1].worded(
            self._joined(passing[-1], str), self._joined(passing[-1], lambda error: error.log_message)
        )
        pauses = [error.retry_after for error in passing if error.retry_after is not None]
        together.retry_after = min(pauses) if len(pauses) == len(passing) else None
        together.call = replace(
            together.call,
            tokens=(self._used.input_tokens, self._used.output_tokens),
            estimated=bool(self._used.estimated),
            limited=all(error.call.limited for error in passing),
            breaker_open=all(error.call.breaker_open for error in passing),
        )
        return together

    def _joined(self, chosen: ExpertError, text: Callable[[ExpertError], str]) -> str:
        """The text of the `chosen` error, then those of the others."""
        others = "; ".join(f"{text(error)} ({error.reason})" for error in self._errors if error is not chosen)
        return f"{text(chosen)}; also tried: {others}"
