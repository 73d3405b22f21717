"""Detect references that a plan may have copied from foreign text: the request, and results of an earlier round.

The model is the author of its plan, but not of the words it copied into it, changed or not. A reference whose name
stands in foreign text behind a brace or another sign of references is doubtful and never resolved. The prompt asks the
model to name its steps differently.
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_lowercase
from urllib.parse import unquote

from swarm.planner.compile.references import Mention, mentions
from swarm.text.expert_ranking import squeezed

REQUEST = "request"
"""The placeholder for the whole request in an instruction: `{{request}}`."""
IDS = "t"
"""The prefix of step ids."""
_BEGINNINGS = (IDS, "s", *(IDS + letter for letter in ascii_lowercase))
_UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]+")
_BETWEEN = re.compile(r"[\s\\'\"`]+")
"""Characters that may stand between a sign and a name."""
_SIGNED = re.compile(r"[{<#$]([\w.\-\[\]]{1,256})")
_TO_NUMBER = re.compile(r"\A[^\W\d]*[-_]?\d{1,4}")
_SAID = re.compile(r"(?:of|from)((?:step|task|subtask|node)[_#-]?\d{1,4})")
_NUMBERED = re.compile(r"(?<![^\W_])([a-z]{1,2})(?=\d)")


@dataclass(frozen=True, slots=True)
class Foreign:
    """Names in foreign text that look like references."""

    names: frozenset[str] = frozenset()
    text: str = ""
    """The foreign text in one case and width, with single spaces."""
    ids: str = IDS
    """A prefix of step ids that the foreign text does not use."""
    placeholder: str = REQUEST
    """A placeholder for the request that the foreign text does not contain."""

    @classmethod
    def of(cls, *texts: str) -> Foreign:
        written = "\n".join(texts)
        plain = html.unescape(unquote(written)) if "%" in written or "&" in written else written
        plain = _normalized(plain)
        names = {squeezed(name) for name in _names(written, plain)} - {""}
        used = set(_NUMBERED.findall(plain))
        ids = next((one for one in _BEGINNINGS if one not in used), IDS)
        words = itertools.chain((REQUEST,), (f"{REQUEST}_{number}" for number in itertools.count(2)))
        placeholder = next(word for word in words if squeezed(word) not in names)
        return cls(frozenset(names), " ".join(plain.split()), ids, placeholder)

    def named(self, words: str) -> str:
        """Replace the ids and the placeholder in a prompt text by those that the foreign text does not have."""
        words = re.sub(rf"\b{IDS}(?=\d)", self.ids, words)
        return words.replace(f"{{{{{REQUEST}}}}}", f"{{{{{self.placeholder}}}}}")

    def has(self, mention: Mention) -> bool:
        """Whether a reference may be a copy. In our form its whole path must match, in others the beginning of it."""
        if not self.names:
            return False
        parts = (mention.name, *mention.path)
        shortest = len(parts) if mention.form in ("ours", "loose") else 1
        return any(squeezed("".join(parts[:end])) in self.names for end in range(shortest, len(parts) + 1))

    def says(self, value: str) -> bool:
        """Whether the foreign text contains a value that is only a name."""
        if not self.text:
            return False
        return " ".join(_normalized(value).split()) in self.text


NOTHING = Foreign()
"""No foreign text."""


def _normalized(text: str) -> str:
    """`text` in one case and width, without invisible characters."""
    return _UNSEEN.sub("", unicodedata.normalize("NFKC", text)).casefold()


def _names(written: str, plain: str) -> Iterator[str]:
    dense = _BETWEEN.sub("", plain)
    for found in itertools.chain(mentions(written), mentions(plain)):
        yield found.name
        yield "".join((found.name, *found.path))
    for name in _SIGNED.findall(dense):
        yield name
        yield from _TO_NUMBER.findall(name)
    yield from _SAID.findall(dense)
