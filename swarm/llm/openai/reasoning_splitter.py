"""Split a model's text into its answer and its thoughts. Pure.

Thoughts in a field of their own are separated by `message_fields.py`. For those inside a text these rules hold:

* A tag of `tags.py` at the beginning of the text opens a thought, as do the unmistakable ones at the beginning of a
  later line outside a block of code. The thought ends with its closing tag; one that is not closed goes on to the end.
* A closing tag that nothing opened ends thoughts that began with the text: chat templates such as that of DeepSeek-R1
  put the opening tag into the prompt. It does not count between quotes or backticks, in the middle of a sentence, or
  where the text begins as JSON or as a block of code: then it is what the text speaks about.
* A text in Harmony, the format of gpt-oss, has its answer in the channel `final`; all else is thoughts.

Because a closing tag may still come, the texts of some models are held back until that is known
(`reasoning_memory.py`).
"""

from __future__ import annotations

import re

from swarm.llm.openai.harmony import BARE_ANALYSIS, BARE_FINAL, HARMONY_STARTS, HarmonyChannels
from swarm.llm.openai.reasoning_tags import TAGS, WRAPPERS, Tag

MAX_THOUGHTS = 20_000
"""Characters of thoughts that are kept, for the log."""

_BY_OPEN = {tag.open: tag for tag in TAGS}
_BY_CLOSE = {tag.close: tag for tag in TAGS if not tag.close[0].isalpha()}
_FENCES = ("```", "~~~")
_MARKS = (*_FENCES, *(mark for mark in _BY_OPEN if not mark[0].isalpha()), *_BY_CLOSE)
_CLOSES = {tag: re.compile(re.escape(tag.close), re.IGNORECASE) for tag in TAGS}
_WORD = re.compile(r"\S")
_MARK = re.compile("|".join(map(re.escape, _MARKS)), re.IGNORECASE)
_BEGUN = frozenset(mark[:size] for mark in _MARKS for size in range(1, len(mark)))
_LONGEST = max(map(len, _MARKS))
_FIRST = frozenset(mark[0] for mark in _MARKS)
_STARTS = (*_BY_OPEN, *HARMONY_STARTS, *_FENCES, BARE_ANALYSIS + "?")
_AFTER = (*_BY_OPEN, *_BY_CLOSE, *WRAPPERS)
_QUOTES = frozenset("`\"'“”‘’«»")
_CONTEXT = 64
"""Characters before a tag that decide what it means."""


class ReasoningSplitter:
    """Removes the thoughts from one streamed text, however it is cut into pieces.

    With `holds`, no text is returned before it is certain that no closing tag without an opening one comes. Without
    it, such a tag makes all text returned so far `void`.
    """

    def __init__(self, *, holds: bool = False, late: bool = False) -> None:
        self.holds = holds or late
        self.late = late
        """Whether this model is known for closing tags without opening ones."""
        self.bare = False
        """Whether a closing tag without an opening one came."""
        self.opened = False
        """Whether thoughts had an opening tag or a field of their own."""
        self.void = False
        self._rest, self._at = "", 0
        self._before: list[str] = []
        """Text before the rest that may be thoughts or answer."""
        self._state = self._start
        self._tag = TAGS[0]
        self._wrapper = ""
        self._may_be_bare = True
        self._paired: set[Tag] = set()
        self._fenced = False
        self._tail, self._truncated = "", False
        self._channels = HarmonyChannels()
        self._out: list[str] = []
        self._held: list[str] = []
        self._pending: list[str] = []
        self._given = False
        self._thoughts: list[str] = []
        self._kept = 0

    @property
    def holding(self) -> bool:
        """Whether text is held back that may belong to the answer."""
        return bool(self._held)

    @property
    def thoughts(self) -> str:
        """The thoughts, up to MAX_THOUGHTS characters."""
        return "".join(self._thoughts)

    def feed(self, text: str) -> str:
        """The answer text that `text` adds."""
        self._rest += text
        return self._run(last=False)

    def end(self, *, cut: bool = False) -> str:
        """The text that was held back, at the end. `cut`: the answer ended at a token limit."""
        given = self._run(last=True)
        if pending := "".join(self._pending):
            wrapped = pending.rstrip()
            known = wrapped.lower().endswith(self._wrapper)
            self._put(wrapped[: -len(self._wrapper)].rstrip() if known else pending)
            self._pending.clear()
        if cut and self.holds and not self.bare:
            self._think("".join(self._held))
            self._held.clear()
        self.release()
        return given + self._taken()

    def release(self) -> None:
        """Pass on the held text: no closing tag without an opening one will come."""
        self.holds = False
        if self._held:
            self._out, self._held = [*self._held, *self._out], []

    def think(self, text: str) -> None:
        """Add thoughts from a field of their own: then those inside the text have opening tags, too."""
        self._think(text)
        self.opened = True
        if not self.late:
            self.release()

    def _run(self, *, last: bool) -> str:
        while self._state(last):
            pass
        self._rest, self._at = self._rest[self._at :], 0
        return self._taken()

    def _taken(self) -> str:
        text = "".join(self._out)
        self._out.clear()
        self._given = self._given or bool(text)
        return text

    # -- states of the parser: each returns whether to go on

    def _start(self, last: bool) -> bool:
        at, low = self._words()
        self._wait(at)
        if not low:
            return last and self._is_text()
        if tag := next((tag for tag in TAGS if low.startswith(tag.open)), None):
            return self._opens(tag, at + len(tag.open))
        if low.startswith(HARMONY_STARTS):
            self.opened, self._state = True, self._harmony
            return True
        if not last and any(mark.startswith(low) for mark in _STARTS):
            return False
        if low.startswith(BARE_ANALYSIS) and self._rest[at + len(BARE_ANALYSIS) :][:1].isupper():
            self._state = self._bare_harmony
            return True
        if low.startswith(("{", "[", *_FENCES)):
            self._sure()
        return self._is_text()

    def _words(self) -> tuple[int, str]:
        """Where the next words begin after white space, and the first of them in lower case."""
        found = _WORD.search(self._rest, self._at)
        begin = len(self._rest) if found is None else found.start()
        return begin, self._rest[begin : begin + _CONTEXT].lower()

    def _wait(self, until: int) -> None:
        """Put read text aside: reading it again with each piece would take quadratic time."""
        self._before.append(self._rest[self._at : until])
        self._at = until

    def _is_text(self) -> bool:
        self._rest, self._at = "".join((*self._before, self._rest[self._at :])), 0
        self._state = self._text
        return True

    def _opens(self, tag: Tag, at: int) -> bool:
        self._tag, self._at, self._state, self.opened = tag, at, self._thought, True
        return True

    def _thought(self, last: bool) -> bool:
        found = _CLOSES[self._tag].search(self._rest, self._at)
        keep = 0 if last else len(self._tag.close) - 1
        end = found.start() if found else max(self._at, len(self._rest) - keep)
        self._think(self._rest[self._at : end])
        self._at = found.end() if found else end
        self._state = self._after if found else self._state
        return found is not None

    def _after(self, last: bool) -> bool:
        """Directly after a thought."""
        self._at, low = self._words()
        if not low:
            return False
        if tag := next((tag for tag in TAGS if low.startswith(tag.open)), None):
            return self._opens(tag, self._at + len(tag.open))
        if close := next((close for close in _BY_CLOSE if low.startswith(close)), None):
            self._at += len(close)
            return True
        if not self._wrapper and (opened := next((mark for mark in WRAPPERS if low.startswith(mark)), None)):
            self._at, self._wrapper = self._at + len(opened), WRAPPERS[opened]
            return True
        if not last and any(mark.startswith(low) for mark in _AFTER):
            return False
        self._sure()
        self._tail, self._truncated, self._state = "", False, self._text
        return True

    def _text(self, last: bool) -> bool:
        said, position = self._rest, self._at
        while found := _MARK.search(said, position):
            mark, at, position = found[0].lower(), found.start(), found.end()
            before = self._said_before(at)
            if self._is_bare(mark):
                if position == len(said) and not last:
                    return self._leaves(at)
                if _ends_thoughts(before, said[position : position + 1]):
                    self._leaves(at)
                    return self._closes(position)
            begins = self._begins_line(before, at)
            if mark in _FENCES and begins:
                self._fenced = not self._fenced
            if (tag := _BY_OPEN.get(mark)) is not None:
                if tag.anywhere and begins and not self._fenced:
                    self._leaves(at)
                    return self._opens(tag, position)
                self._paired.add(tag)
        return self._leaves(len(said) if last else _sure_until(said, position))

    def _said_before(self, at: int) -> str:
        """The last text before a place in the rest."""
        return (self._tail + self._rest[max(self._at, at - _CONTEXT) : at])[-_CONTEXT:]

    def _is_bare(self, mark: str) -> bool:
        return self._may_be_bare and mark in _BY_CLOSE and _BY_CLOSE[mark] not in self._paired

    def _leaves(self, end: int) -> bool:
        """Pass on the rest up to `end`, and wait for more."""
        self._pass(self._rest[self._at : end])
        self._at = end
        return False

    def _closes(self, at: int) -> bool:
        """Take all text so far for thoughts."""
        self.bare, self.void, self._at = True, self._given, at
        self._think("".join((*self._held, *self._out)))
        self._held.clear()
        self._out.clear()
        self._state = self._after
        return True

    def _bare_harmony(self, last: bool) -> bool:
        end = self._rest.find(BARE_FINAL, self._at)
        if end < 0 and not last:
            self._wait(max(self._at, len(self._rest) - len(BARE_FINAL) + 1))
            return False
        if end >= 0:
            self._wait(end)
            self._think("".join(self._before))
            self._before.clear()
            self._at, self.opened = end + len(BARE_FINAL), True
            self._sure()
        return self._is_text()

    def _harmony(self, last: bool) -> bool:
        piece = self._channels.next(self._rest, self._at, last=last)
        self._at = piece.end
        if piece.is_answer:
            self._sure()
            self._put(piece.text)
        else:
            self._think(piece.text)
        return piece.before_token

    # -- output: text passed on, text held back, thoughts

    def _sure(self) -> None:
        self._may_be_bare = False
        self.release()

    def _pass(self, text: str) -> None:
        """Pass on text of the answer, without the wrapper around it."""
        if not text:
            return
        self._truncated = self._truncated or len(self._tail) + len(text) > _CONTEXT
        self._tail = (self._tail + text[-_CONTEXT:])[-_CONTEXT:]
        if not self._wrapper:
            self._put(text)
            return
        if self._pending and self._pending[-1][-1:].isspace() and text.isspace():
            self._pending.append(text)
            return
        pending = "".join((*self._pending, text))
        keep = _wrapped_until(pending, self._wrapper)
        self._put(pending[:keep])
        self._pending = [pending[keep:]]

    def _put(self, text: str) -> None:
        if text:
            (self._held if self.holds else self._out).append(text)

    def _think(self, text: str) -> None:
        if (room := MAX_THOUGHTS - self._kept) > 0 and text:
            self._thoughts.append(text[:room])
            self._kept += len(text)

    def _begins_line(self, before: str, at: int) -> bool:
        """Whether only blanks come before on this line; a line longer than the context does not count."""
        *lines, line = before.rsplit("\n", 1)
        known = lines or not (self._truncated or len(self._tail) + at - self._at > _CONTEXT)
        return bool(known) and not line.strip()


def answer_in(text: str) -> str:
    """A whole text without the thoughts in it.

    >>> answer_in("<think>They seem angry.</think>Dear customer")
    'Dear customer'
    >>> answer_in("They seem angry.\\n</think>\\n\\nDear customer")
    'Dear customer'
    >>> answer_in("Models end their thoughts with `</think>`.")
    'Models end their thoughts with `</think>`.'
    """
    splitter = ReasoningSplitter(holds=True)
    return splitter.feed(text) + splitter.end()


def _sure_until(said: str, start: int) -> int:
    """Where the last characters begin that may become a tag."""
    for at in range(max(start, len(said) - _LONGEST), len(said)):
        if said[at].lower() in _FIRST and said[at:].lower() in _BEGUN:
            return at
    return len(said)


def _wrapped_until(said: str, wrapper: str) -> int:
    """Where the end of the wrapper begins, if the text may end with it."""
    bare = said.rstrip()
    if bare.lower().endswith(wrapper):
        return len(bare[: -len(wrapper)].rstrip())
    for at in range(max(0, len(bare) - len(wrapper)), len(bare)):
        if wrapper.startswith(bare[at:].lower()) and len(bare) == len(said):
            return len(bare[:at].rstrip())
    return len(bare)


def _ends_thoughts(before: str, after: str) -> bool:
    """Whether a closing tag without an opening one ends thoughts, and is not what the text speaks about."""
    if before[-1:] in _QUOTES and before and (after in _QUOTES or after == "\\") and after:
        return False
    words = before.rstrip(" \t")
    amid = len(words) < len(before) and words[-1:].isalnum() | (words[-1:] == ",")
    return not (amid and after and after in " ,.;:!?)")
