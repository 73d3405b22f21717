"""How each model tells its thoughts, as far as it was seen: whether a stream of it can be given as it comes. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from swarm.llm.endpoints import OFFICIAL, Endpoint
from swarm.llm.openai.reasoning_splitter import Splitter
from swarm.llm.openai.structured_output import CapabilityCache

_MAY_THINK = re.compile(
    r"think|reason|r1|qwq|qwen-?3|magistral|deepseek|glm|minimax|nemotron|exaone|ernie|hunyuan|seed|kimi", re.IGNORECASE
)
"""Names of models whose chat templates may open a thought before the answer."""
SECONDS = 86_400.0
"""How long what was seen of a model counts."""


class Thinking:
    """Remembers which models end their thoughts by a tag that nothing opened, and which do not.

    Of those that do, and of those that may by their name, a text is held until it shows, at its end at the latest. Of
    any other it is given as it comes; a closing tag then makes void what was given, and is remembered. One free answer
    without such a tag clears a name; one that a form holds to JSON shows nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._notes = CapabilityCache(clock, SECONDS)

    def splitter(self, model: str, endpoint: Endpoint) -> Splitter:
        late = ("late", model) in self._notes
        plain = ("plain", model) in self._notes or endpoint.url.startswith(OFFICIAL)
        return Splitter(holds=not plain and bool(_MAY_THINK.search(model)), late=late)

    def ended(self, model: str, splitter: Splitter, *, free: bool) -> None:
        """Take note of a whole answer. `free`: the model could write what it wanted, and was done."""
        if splitter.bare:
            self._notes.drop("plain", model)
            self._renew("late", model)
        elif free and not splitter.late:
            self._renew("plain", model)

    def _renew(self, fact: str, model: str) -> None:
        self._notes.drop(fact, model)
        self._notes.add(fact, model)
