"""Tell the names of known experts, however a text writes them."""

from __future__ import annotations

import re
from collections.abc import Collection

_SEPARATORS = re.compile(r"[\W_]+")


def normalized(name: str) -> str:
    """Return a name without case, separators and escapes, for comparison."""
    return _SEPARATORS.sub("", name).casefold()


class KnownExperts:
    """Tells whether a name is that of a known expert. Names are normalised first."""

    def __init__(self, experts: Collection[str]) -> None:
        self._normal = frozenset(map(normalized, experts)) - {""}
        self.spaced = any(" " in name for name in experts)
        self._asked: dict[str, bool] = {}

    def __call__(self, name: str) -> bool:
        if not self._normal:
            return False
        if (known := self._asked.get(name)) is None:
            if len(self._asked) > 1_000:
                self._asked.clear()
            known = self._asked[name] = self._is_known(name)
        return known

    def _is_known(self, name: str) -> bool:
        return (plain := normalized(name)) in self._normal or plain.removeprefix("functions").removesuffix(
            "call"
        ) in self._normal

    def exactly(self, name: str) -> bool:
        return normalized(name) in self._normal

    def __bool__(self) -> bool:
        return bool(self._normal)
