"""Models whose answers are a plain function, for tests.

>>> import asyncio
>>> model = ScriptedModel(lambda messages: messages[-1].content.upper())
>>> from swarm.llm.base import complete
>>> asyncio.run(complete(model, ChatRequest([Message("user", "hello there")]))).text
'HELLO THERE'
>>> len(model.calls)
1

A stream comes word by word. A script that is an async generator decides the pieces itself, and how long each takes:

>>> async def slowly(messages):
...     for piece in ("good", "bye"):
...         await asyncio.sleep(0.001)
...         yield piece
>>> async def heard(model):
...     return [item async for item in model.stream(ChatRequest([Message("user", "hello")]))]
>>> *pieces, completion = asyncio.run(heard(ScriptedModel(slowly)))
>>> pieces, completion.text
(['good', 'bye'], 'goodbye')
>>> asyncio.run(heard(model))[:-1]
['HELLO']
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from swarm.llm.base import ChatRequest, Completion, Message
from swarm.types.result import Usage

Script = Callable[[Sequence[Message]], str | Completion | Awaitable[str | Completion] | AsyncIterator[str]]
"""Returns what a model answers, or raises what it would raise; may be a coroutine function or an async generator."""


@dataclass
class ScriptedModel:
    """A model that answers what `script` returns.

    Each call is kept in `requests`, in order of arrival. The model never times out by itself: the caller cancels a
    script that waits for too long.
    """

    script: Script
    name: str = "scripted/model"
    requests: list[ChatRequest] = field(default_factory=list)

    @property
    def calls(self) -> list[tuple[Message, ...]]:
        """The messages of each call."""
        return [tuple(request.messages) for request in self.requests]

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
        self.requests.append(request)
        answer = self.script(request.messages)
        if inspect.isawaitable(answer):
            answer = await answer
        said: list[str] = []
        pieces = answer if isinstance(answer, AsyncIterator) else _words(answer)
        try:
            async for piece in pieces:
                said.append(piece)
                yield piece
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
        yield answer if isinstance(answer, Completion) else self._completion(request, "".join(said))

    def _completion(self, request: ChatRequest, text: str) -> Completion:
        """A completion that counts a word as a token."""
        words = sum(len(message.content.split()) for message in request.messages)
        usage = Usage(calls=1, input_tokens=words, output_tokens=len(text.split()))
        return Completion(text=text, usage=usage, model=self.name, asked_by="json_schema" if request.format else "")


async def _words(answer: str | Completion) -> AsyncIterator[str]:
    """A text in words, each with the space after it."""
    for word in re.findall(r"\s*\S+\s*", answer.text if isinstance(answer, Completion) else answer):
        yield word


class ScriptedModels:
    """Models of every name, all answering by one script. `calls` holds (name, messages) of each call.

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
