"""Models whose answers are a plain function: for tests, ours and yours.

>>> import asyncio
>>> model = ScriptedModel(lambda messages: messages[-1].content.upper())
>>> asyncio.run(model.complete([Message("user", "hello there")])).text
'HELLO THERE'
>>> len(model.calls)
1
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from swarm.llm.base import Completion, Message
from swarm.models import Usage

Script = Callable[[Sequence[Message]], str | Completion | Awaitable[str | Completion]]
"""Says what a model answers; raises what it would raise; may be a coroutine function, and then may wait."""


@dataclass
class ScriptedModel:
    """A model that answers what `script` says. Each call's messages are kept in `calls`, in order of arrival."""

    script: Script
    name: str = "scripted/model"
    calls: list[tuple[Message, ...]] = field(default_factory=list)

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, timeout: float = 60.0
    ) -> Completion:
        self.calls.append(tuple(messages))
        answer = self.script(messages)
        if inspect.isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, Completion) else self._completion(messages, answer)

    def _completion(self, messages: Sequence[Message], text: str) -> Completion:
        """A completion that counts a word as a token."""
        words = sum(len(message.content.split()) for message in messages)
        usage = Usage(calls=1, input_tokens=words, output_tokens=len(text.split()))
        return Completion(text=text, usage=usage, model=self.name)


class ScriptedModels:
    """Every model there is, all speaking by one script. `calls` holds (name, messages) of each call.

    >>> ScriptedModels(lambda messages: "yes").get("openai/gpt").name
    'openai/gpt'
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.models: dict[str, ScriptedModel] = {}

    def get(self, name: str) -> ScriptedModel:
        return self.models.setdefault(name, ScriptedModel(self.script, name))

    @property
    def calls(self) -> list[tuple[str, tuple[Message, ...]]]:
        return [(model.name, call) for model in self.models.values() for call in model.calls]

    async def aclose(self) -> None:
        return None
