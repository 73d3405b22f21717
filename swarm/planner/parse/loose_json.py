"""Read almost-JSON: comments, commas too many or too few, Python literals, single quotes, and calls `f(a=1)`.

It reads forward only and notes each deviation from JSON that it accepts. It refuses a text that ends inside a value,
since what is missing there cannot be guessed.
"""

from __future__ import annotations

import re

from swarm.planner.parse.cursor import BODY, GOES_ON, Cursor
from swarm.planner.parse.regular_json import Irregular, RegularReader
from swarm.planner.parse.values import MAX_NESTING, Bare, Call, UnreadableValue

_NUMBER = re.compile(r"[+-]?(?:0|[1-9][\d_]*+)(?:\.\d*)?(?:[eE][+-]?\d{1,3})?(?=\s*(?:[,\]})]|$|//|#|\n|;))")
_WORD = re.compile(r"[A-Za-z_$][\w$.\-\\]*+")
_NAME_OPENS = re.compile(r"[\"'`]?([^\W\d](?:[\w.\-/]|\\[_.\-]){0,120}+)[\"'`]? ?\(")
_JOINED = re.compile(r"[ \t]*(?:\*\*|==|!=|[*/%+&|@<>\-]|(?:and|or)\b)\s*(?:\d[\w.]*)?")
_SPACED_OPENS = re.compile(r"([^\W\d][\w.\-/\\]*(?: [\w.\-/\\&]{1,40}){1,6}+)\s?\(")
_LOOPS = re.compile(r"\s*for\s+\w")
_PREFIX = re.compile(r"[rRbBuUfF]{1,2}(?=[\"'])")
_ARGUMENTS_FOLLOW = re.compile(r"\s*(?:\w+\s*=|\)|\{)")
_PLACEHOLDER = re.compile(r"\{\{[^{}\n]{1,200}\}\}|\{[\w.]{1,80}\}")
_KEYWORD = re.compile(r"([^\W\d](?:\w|\\_)*+)\s*[=:](?!=)\s*")
_PLAIN_KEY = re.compile(r"[^\s:=,{}\[\]()\"']+")
_RAW = re.compile(r"[^,\[\](){}\"'\n]+")
_PATH = re.compile(r"(?:\.\w{1,60}(?!\w|\s?\()|\[[^\]\n]{1,40}\]){1,8}")
_LITERALS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None, "nil": None,
             "undefined": None, "TRUE": True, "FALSE": False, "NULL": None}  # fmt: skip
_PYTHON = {"True", "False", "None"}


class LooseReader:
    """Reads one value after another from a cursor's text. After each, the cursor is at its end."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor

    def read(self, at: int, closes: int | None = None) -> object:
        """Read the value that begins at `at`, and leave the cursor at its end. Raises UnreadableValue.

        `closes` is where the value is known to end: brackets still open there count as closed.
        """
        whole = self.cursor.text
        if closes is not None:
            self.cursor.text = whole[:closes]
        self.cursor.at, self.cursor.open, self.cursor.notes, self.cursor.closed = at, [], {}, closes is not None
        try:
            return self._value()
        finally:
            self.cursor.text = whole

    # -- values ----------------------------------------------------------------------------------------------

    def _value(self) -> object:
        self.cursor.spend()
        start, char = self.cursor.ahead(), self.cursor.char
        if char in "\"'`" and self._is_quoted_call():
            return self._quoted_call(char)
        value = self._atom(char)
        if isinstance(value, Call) and self.cursor.among_steps():
            return self._joined(value)
        if self.cursor.open and self.cursor.at > start and not isinstance(value, Bare) and self.cursor.match(GOES_ON):
            return self._expression(start)
        return value

    def _joined(self, call: Call) -> Call:
        """Skip an operator behind a call among steps: computing with results would be another step's work."""
        while self.cursor.open and (operator := self.cursor.match(_JOINED)):
            self.cursor.spend()
            self.cursor.note("an operation on results was left out")
            self.cursor.at = operator.end()
        if self.cursor.match(_LOOPS):
            raise UnreadableValue("program", self.cursor.at)
        return call

    def _atom(self, char: str) -> object:
        match char:
            case "{":
                if placeholder := self.cursor.match(_PLACEHOLDER):
                    self.cursor.at = placeholder.end()
                    return Bare(placeholder[0])
                regular = self._regular() if 0 < len(self.cursor.open) <= 2 else None
                return self._object() if regular is None else regular
            case "[":
                return self._list()
            case "(":
                self.cursor.note("a tuple")
                return self._list(")")
            case '"' | "'":
                return self.cursor.string(char)
            case "`":
                return self._ticked()
        return self._number() if char in "+-0123456789" else self._word()

    def _regular(self) -> object:
        """Read a whole step with the fast reader; None if the step is not regular."""
        quick = RegularReader(self.cursor.text, self.cursor.at)
        try:
            value = quick.read()
        except Irregular:
            return None
        if not isinstance(value, (dict, Call)):
            return None
        self.cursor.at = quick.end
        self.cursor.notes |= quick.notes
        return value

    def _number(self) -> object:
        found = self.cursor.match(_NUMBER)
        if not found or len(found[0]) > 300:
            return self._raw()
        self.cursor.at = found.end()
        digits = found[0].replace("_", "")
        if digits.lstrip("+-").isdigit():
            return int(digits)
        value = float(digits)
        return value if abs(value) < 1e308 else Bare(found[0])

    def _word(self) -> object:
        opens = self._call_ahead()
        if opens and self.cursor.text[opens.start()] not in "\"'`":
            regular = self._regular() if self.cursor.open and self.cursor.among_steps() else None
            return self._call(opens) if regular is None else regular
        if self.cursor.char in "rRbBuUfF" and (prefix := self.cursor.match(_PREFIX)):
            self.cursor.at = prefix.end()
            return self.cursor.string(self.cursor.char)
        word = self.cursor.match(_WORD)
        if word and word[0] in _LITERALS:
            self.cursor.at = word.end()
            if word[0] in _PYTHON:
                self.cursor.note("Python's literals")
            return _LITERALS[word[0]]
        return self._raw()

    def _ticked(self) -> object:
        """Read a value between backticks, as Markdown marks code."""
        end = self.cursor.text.find("`", self.cursor.at + 1, self.cursor.at + 400)
        if end < 0:
            return self._raw()
        value = self.cursor.text[self.cursor.at + 1 : end]
        self.cursor.at = end + 1
        self.cursor.note("backticks")
        return value

    def _expression(self, start: int) -> object:
        """Keep an expression as it is written. Raises UnreadableValue for a loop among steps."""
        if self.cursor.among_steps() and self.cursor.match(_LOOPS):
            raise UnreadableValue("program", self.cursor.at)
        self.cursor.at = start
        return self._raw()

    def _raw(self) -> Bare:
        """Read up to the next comma, line break or closing bracket outside of nested brackets and quotes."""
        start, depth = self.cursor.at, 0
        while self.cursor.at < len(self.cursor.text):
            self.cursor.spend()
            if chunk := self.cursor.match(_RAW):
                self.cursor.at = chunk.end()
                continue
            char = self.cursor.char
            if char in "\"'" and (body := self.cursor.match(BODY[char], 1)) and "\n" not in body[0]:
                self.cursor.at = body.end()
                continue
            if char in "([{":
                depth += 1
            elif char in ")]}":
                depth -= 1
            if depth < 0 or (depth == 0 and char in ",\n"):
                break
            if depth > MAX_NESTING:
                raise UnreadableValue("too_deep", self.cursor.at)
            self.cursor.at += 1
        if depth > 0:
            raise UnreadableValue("cut", self.cursor.at)
        if self.cursor.at == start:
            self.cursor.at += 1
            self.cursor.note("a stray character")
        return Bare(self.cursor.text[start : self.cursor.at].strip())

    # -- lists and objects -----------------------------------------------------------------------------------

    def _list(self, closer: str = "]") -> object:
        self.cursor.enter(closer)
        self.cursor.at += 1
        items: list[object] = []
        members: dict[str, object] = {}
        while not self._ended(closer):
            item = self._value()
            if isinstance(item, str) and self.cursor.text.startswith(":", self.cursor.ahead()):
                self.cursor.note("an object in the brackets of a list")
                members[item] = self._member()
            else:
                items.append(item)
            self._between(closer)
        self.cursor.open.pop()
        if members and (not items or (len(items) == 1 and isinstance(items[0], str))):
            return {"name": items[0], **members} if items else members
        return [*items, members] if members else items

    def _object(self) -> object:
        self.cursor.enter("}")
        self.cursor.at += 1
        members: dict[str, object] = {}
        of_a_set = 0
        while not self._ended("}"):
            if self.cursor.char == "{" and members:
                self.cursor.note("a missing }")
                break
            key = self._key()
            of_a_set += self.cursor.text[self.cursor.ahead()] in ",}"
            members[key] = self._member()
            self._between("}")
        self.cursor.open.pop()
        if members and of_a_set == len(members) and len(self.cursor.open) > 1:
            self.cursor.note("a set")
            return list(members)
        return members

    def _key(self) -> str:
        self.cursor.spend()
        char = self.cursor.char
        if char in "\"'":
            return self.cursor.string(char)
        if plain := self.cursor.match(_PLAIN_KEY):
            self.cursor.at = plain.end()
            self.cursor.note("a key without quotes")
            return plain[0]
        return str(self._value())

    def _member(self) -> object:
        self.cursor.ahead()
        char = self.cursor.char
        if char in ",}":
            self.cursor.note("a key without a value")
            return None
        if char in ":=":
            self.cursor.at = self.cursor.past(":=>")
            self.cursor.ahead()
            if self.cursor.char in ",}":
                self.cursor.note("a key without a value")
                return None
        else:
            self.cursor.note("a missing colon")
        return self._value()

    def _ended(self, closer: str) -> bool:
        """Move over commas to the next item; return whether there is none."""
        while True:
            if self.cursor.over(closer):
                return True
            char = self.cursor.char
            if char == closer:
                self.cursor.at += 1
                return True
            if char in ",;":
                self.cursor.spend()
                self.cursor.note("a comma too many")
                self.cursor.at = self.cursor.past(",;")
            elif char in ")]}":
                if char in self.cursor.open:
                    self.cursor.note(f"a missing {closer}")
                    return True
                self.cursor.spend()
                self.cursor.note(f"a stray {char}")
                self.cursor.at += 1
            else:
                return False

    def _between(self, closer: str) -> None:
        """Move over the comma behind an item, and note one too many or too few."""
        if self.cursor.over(closer):
            return
        char = self.cursor.char
        if char in ",;":
            self.cursor.at += 1
            if not self.cursor.over(closer) and self.cursor.char == closer:
                self.cursor.note("a comma at the end")
        elif char not in ")]}":
            self.cursor.note("a missing comma")

    # -- calls -----------------------------------------------------------------------------------------------

    def _call_ahead(self) -> re.Match[str] | None:
        spaced = self.cursor.match(_SPACED_OPENS)
        if spaced and self.cursor.known(spaced[1]):
            return spaced
        return self.cursor.match(_NAME_OPENS)

    def _call(self, opens: re.Match[str]) -> Call:
        start, self.cursor.at = self.cursor.at, opens.end()
        self.cursor.enter(")")
        positional: list[object] = []
        named: dict[str, object] = {}
        while not self._ended(")"):
            if keyword := self.cursor.match(_KEYWORD):
                self.cursor.at = keyword.end()
                self.cursor.ahead()
                name = keyword[1].replace("\\_", "_")
                if name in named:
                    self.cursor.note("an argument given twice")
                    name = f"{name}_{len(named)}"
                named[name] = self._value()
            else:
                if self.cursor.starts("**"):
                    self.cursor.at += 2
                positional.append(self._value())
            self._between(")")
        self.cursor.open.pop()
        path = self.cursor.match(_PATH) if self.cursor.open else None
        self.cursor.at = path.end() if path else self.cursor.at
        return Call(
            opens[1], tuple(positional), named, path[0] if path else "", self.cursor.text[start : self.cursor.at]
        )

    def _is_quoted_call(self) -> bool:
        """Whether a quoted call stands here. It counts only among steps; among arguments it is a text."""
        if not self.cursor.among_steps():
            return False
        name = self.cursor.match(_NAME_OPENS, 1)
        return name is not None and (
            self.cursor.known(name[1]) or _ARGUMENTS_FOLLOW.match(self.cursor.text, name.end()) is not None
        )

    def _quoted_call(self, quote: str) -> object:
        start, left, depth = self.cursor.at, self.cursor.left, len(self.cursor.open)
        self.cursor.at += 1
        opens = self.cursor.match(_NAME_OPENS)
        if opens is None:
            return self._atom(quote)
        named_only = opens[0].rstrip("( ")[-1:] == quote
        try:
            call = self._call(opens)
        except UnreadableValue:
            if left - self.cursor.left > 200:
                raise
            del self.cursor.open[depth:]
            self.cursor.at = start
            return self._atom(quote)
        self.cursor.note("a call in quotes")
        if not named_only and self.cursor.starts(quote):
            self.cursor.at += 1
        return self._joined(call)
