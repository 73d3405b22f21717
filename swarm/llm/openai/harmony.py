"""Harmony, the response format of gpt-oss: messages in channels, of which `final` is the answer. Pure.

>>> text = "<|channel|>analysis<|message|>They greet me.<|end|><|start|>assistant<|channel|>final<|message|>Hello"
>>> channels, at, pieces = HarmonyChannels(), 0, []
>>> while at < len(text):
...     piece = channels.next(text, at, last=True)
...     at = piece.end
...     pieces += [(piece.text, piece.is_answer)] if piece.text else []
>>> pieces
[('They greet me.', False), ('Hello', True)]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

HARMONY_STARTS = ("<|start|>", "<|channel|>")
"""Special tokens with which a text in Harmony begins."""
BARE_ANALYSIS, BARE_FINAL = "analysis", "assistantfinal"
"""Harmony without its special tokens, as some servers send it: `analysisThe user asks ...assistantfinalHello`."""
MAX_HEADER = 1_000
"""Characters of a message's header that are kept."""

_TOKEN = re.compile(r"<\|(start|end|message|channel|constrain|return|call)\|>")
_PART_OF_TOKEN = re.compile(r"<(\|[a-z]{0,9}\|?)?")
_LONGEST_PART = 14


class HarmonyPiece(NamedTuple):
    """Text up to the next special token, or up to where one may begin that is not complete yet."""

    text: str
    is_answer: bool
    end: int
    """Where to read on: behind the token, if there is one."""
    before_token: bool


@dataclass(slots=True)
class HarmonyChannels:
    """Tracks which channel the text of a streamed Harmony response belongs to."""

    _channel: str = ""
    _header: str = ""
    _in_message: bool = False

    def next(self, text: str, start: int, *, last: bool) -> HarmonyPiece:
        """The piece of `text` that begins at `start`. Headers of messages give pieces without text.

        `last`: no more text follows, so that a token which is not complete is plain text.
        """
        found = _TOKEN.search(text, start)
        end = found.start() if found else len(text) if last else _token_start(text, start)
        said, is_answer = text[start:end], self._in_message and self._channel in ("", "final")
        if not self._in_message:
            self._header += said[: max(0, MAX_HEADER - len(self._header))]
            said = ""
        if found is not None:
            self._read_token(found[1])
        return HarmonyPiece(said, is_answer, found.end() if found else end, found is not None)

    def _read_token(self, name: str) -> None:
        if name == "message":
            self._channel = (self._header.split() or [""])[0] if self._channel else ""
            self._in_message = True
        elif name == "constrain":
            self._header += " "
        else:
            self._channel, self._header, self._in_message = "?" if name == "channel" else "", "", False


def _token_start(text: str, start: int) -> int:
    """Where an incomplete token at the end of `text` begins; the end if there is none."""
    at = text.rfind("<", max(start, len(text) - _LONGEST_PART))
    return at if at >= 0 and _PART_OF_TOKEN.fullmatch(text, at) else len(text)
