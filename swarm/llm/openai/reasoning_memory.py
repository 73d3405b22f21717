"""Remember how each model marks its reasoning, which decides whether its stream must be held back. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from swarm.llm.endpoints import OFFICIAL, Endpoint
from swarm.llm.openai.reasoning_splitter import ReasoningSplitter
from swarm.llm.openai.structured_output import CapabilityCache

_MAY_THINK = re.compile(
    r"think|reason|r1|qwq|qwen-?3|magistral|deepseek|glm|minimax|nemotron|exaone|ernie|hunyuan|seed|kimi", re.IGNORECASE
)
"""Names of models whose chat templates may open a thought before the answer."""
SECONDS = 86_400.0
"""How long an observation of a model counts."""


class ReasoningMemory:
    """Remembers which models end their thoughts with a closing tag that has no opening one.

    The text of such a model, and of one that may be such by its name, is held back until the tag or the end arrives.
    The text of any other is passed on as it comes; a closing tag then voids what was passed on, and is remembered. One
    free answer without such a tag clears a model that was suspected by name; an answer in a JSON format proves nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._notes = CapabilityCache(clock, SECONDS)

    def splitter(self, model: str, endpoint: Endpoint) -> ReasoningSplitter:
        late = ("late", model) in self._notes
        plain = ("plain", model) in self._notes or endpoint.url.startswith(OFFICIAL)
        return ReasoningSplitter(holds=not plain and bool(_MAY_THINK.search(model)), late=late)

    def ended(self, model: str, splitter: ReasoningSplitter, *, free: bool) -> None:
        """Record a whole answer. `free`: no format constrained it, and it was not cut."""
        if splitter.bare:
            self._notes.drop("plain", model)
            self._renew("late", model)
        elif free and not splitter.late:
            self._renew("plain", model)

    def _renew(self, fact: str, model: str) -> None:
        self._notes.drop(fact, model)
        self._notes.add(fact, model)
