"""A reader of almost-JSON: comments, commas too many or too few, Python's literals, single quotes, and calls `f(a=1)`.

It goes forward only, names each liberty it took, and gives up where the text ends inside a value: what is missing
there cannot be guessed.
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


class LooseReader(Cursor):
    """Reads values one after the other out of one text."""

    def read(self, at: int, closes: int | None = None) -> object:
        """The value that begins at `at`; `self.at` is then behind it. Raises UnreadableValue.

        `closes` is where it is known to end: brackets still open there are taken as closed.
        """
        whole = self.text
        if closes is not None:
            self.text = whole[:closes]
        self.at, self._open, self.notes, self.closed = at, [], {}, closes is not None
        try:
            return self._value()
        finally:
            self.text = whole

    # -- values ----------------------------------------------------------------------------------------------

    def _value(self) -> object:
        self._spend()
        start, char = self._ahead(), self.text[self.at]
        if char in "\"'`" and self._is_quoted_call():
            return self._quoted_call(char)
        value = self._atom(char)
        if isinstance(value, Call) and self._among_steps():
            return self._joined(value)
        if self._open and self.at > start and not isinstance(value, Bare) and GOES_ON.match(self.text, self.at):
            return self._expression(start)
        return value

    def _joined(self, call: Call) -> Call:
        """Over an operator behind a call among steps: what is computed of the results is for another step to do."""
        while self._open and (operator := _JOINED.match(self.text, self.at)):
            self._spend()
            self._note("an operation on results was left out")
            self.at = operator.end()
        if _LOOPS.match(self.text, self.at):
            raise UnreadableValue("program", self.at)
        return call

    def _atom(self, char: str) -> object:
        match char:
            case "{":
                if placeholder := _PLACEHOLDER.match(self.text, self.at):
                    self.at = placeholder.end()
                    return Bare(placeholder[0])
                regular = self._regular() if 0 < len(self._open) <= 2 else None
                return self._object() if regular is None else regular
            case "[":
                return self._list()
            case "(":
                self._note("a tuple")
                return self._list(")")
            case '"' | "'":
                return self._string(char)
            case "`":
                return self._ticked()
        return self._number() if char in "+-0123456789" else self._word()

    def _regular(self) -> object:
        """A whole step read fast, where it alone is regular; else None."""
        quick = RegularReader(self.text, self.at)
        try:
            value = quick.read()
        except Irregular:
            return None
        if not isinstance(value, (dict, Call)):
            return None
        self.at = quick.end
        self.notes |= quick.notes
        return value

    def _number(self) -> object:
        found = _NUMBER.match(self.text, self.at)
        if not found or len(found[0]) > 300:
            return self._raw()
        self.at = found.end()
        digits = found[0].replace("_", "")
        if digits.lstrip("+-").isdigit():
            return int(digits)
        value = float(digits)
        return value if abs(value) < 1e308 else Bare(found[0])

    def _word(self) -> object:
        opens = self._call_ahead()
        if opens and self.text[opens.start()] not in "\"'`":
            regular = self._regular() if self._open and self._among_steps() else None
            return self._call(opens) if regular is None else regular
        if self.text[self.at] in "rRbBuUfF" and (prefix := _PREFIX.match(self.text, self.at)):
            self.at = prefix.end()
            return self._string(self.text[self.at])
        word = _WORD.match(self.text, self.at)
        if word and word[0] in _LITERALS:
            self.at = word.end()
            if word[0] in _PYTHON:
                self._note("Python's literals")
            return _LITERALS[word[0]]
        return self._raw()

    def _ticked(self) -> object:
        """A value between backticks, as Markdown marks code."""
        end = self.text.find("`", self.at + 1, self.at + 400)
        if end < 0:
            return self._raw()
        value = self.text[self.at + 1 : end]
        self.at = end + 1
        self._note("backticks")
        return value

    def _expression(self, start: int) -> object:
        """What is computed is kept as it is written."""
        if self._among_steps() and _LOOPS.match(self.text, self.at):
            raise UnreadableValue("program", self.at)
        self.at = start
        return self._raw()

    def _raw(self) -> Bare:
        """Anything up to the next comma, line or closing bracket outside of brackets and quotes of its own."""
        start, depth = self.at, 0
        while self.at < len(self.text):
            self._spend()
            if chunk := _RAW.match(self.text, self.at):
                self.at = chunk.end()
                continue
            char = self.text[self.at]
            if char in "\"'" and (body := BODY[char].match(self.text, self.at + 1)) and "\n" not in body[0]:
                self.at = body.end()
                continue
            if char in "([{":
                depth += 1
            elif char in ")]}":
                depth -= 1
            if depth < 0 or (depth == 0 and char in ",\n"):
                break
            if depth > MAX_NESTING:
                raise UnreadableValue("too_deep", self.at)
            self.at += 1
        if depth > 0:
            raise UnreadableValue("cut", self.at)
        if self.at == start:
            self.at += 1
            self._note("a stray character")
        return Bare(self.text[start : self.at].strip())

    # -- lists and objects -----------------------------------------------------------------------------------

    def _list(self, closer: str = "]") -> object:
        self._enter(closer)
        self.at += 1
        items: list[object] = []
        members: dict[str, object] = {}
        while not self._ended(closer):
            item = self._value()
            if isinstance(item, str) and self.text.startswith(":", self._ahead()):
                self._note("an object in the brackets of a list")
                members[item] = self._member()
            else:
                items.append(item)
            self._between(closer)
        self._open.pop()
        if members and (not items or (len(items) == 1 and isinstance(items[0], str))):
            return {"name": items[0], **members} if items else members
        return [*items, members] if members else items

    def _object(self) -> object:
        self._enter("}")
        self.at += 1
        members: dict[str, object] = {}
        of_a_set = 0
        while not self._ended("}"):
            if self.text[self.at] == "{" and members:
                self._note("a missing }")
                break
            key = self._key()
            of_a_set += self.text[self._ahead()] in ",}"
            members[key] = self._member()
            self._between("}")
        self._open.pop()
        if members and of_a_set == len(members) and len(self._open) > 1:
            self._note("a set")
            return list(members)
        return members

    def _key(self) -> str:
        self._spend()
        char = self.text[self.at]
        if char in "\"'":
            return self._string(char)
        if plain := _PLAIN_KEY.match(self.text, self.at):
            self.at = plain.end()
            self._note("a key without quotes")
            return plain[0]
        return str(self._value())

    def _member(self) -> object:
        self._ahead()
        char = self.text[self.at]
        if char in ",}":
            self._note("a key without a value")
            return None
        if char in ":=":
            self.at = self._past(":=>")
            self._ahead()
            if self.text[self.at] in ",}":
                self._note("a key without a value")
                return None
        else:
            self._note("a missing colon")
        return self._value()

    def _ended(self, closer: str) -> bool:
        """Step to the next item, over commas; whether there is none."""
        while True:
            if self._over(closer):
                return True
            char = self.text[self.at]
            if char == closer:
                self.at += 1
                return True
            if char in ",;":
                self._spend()
                self._note("a comma too many")
                self.at = self._past(",;")
            elif char in ")]}":
                if char in self._open:
                    self._note(f"a missing {closer}")
                    return True
                self._spend()
                self._note(f"a stray {char}")
                self.at += 1
            else:
                return False

    def _between(self, closer: str) -> None:
        """Over the comma behind an item, noting one too many or too few."""
        if self._over(closer):
            return
        char = self.text[self.at]
        if char in ",;":
            self.at += 1
            if not self._over(closer) and self.text[self.at] == closer:
                self._note("a comma at the end")
        elif char not in ")]}":
            self._note("a missing comma")

    # -- calls -----------------------------------------------------------------------------------------------

    def _call_ahead(self) -> re.Match[str] | None:
        spaced = _SPACED_OPENS.match(self.text, self.at)
        if spaced and self.known(spaced[1]):
            return spaced
        return _NAME_OPENS.match(self.text, self.at)

    def _call(self, opens: re.Match[str]) -> Call:
        start, self.at = self.at, opens.end()
        self._enter(")")
        positional: list[object] = []
        named: dict[str, object] = {}
        while not self._ended(")"):
            if keyword := _KEYWORD.match(self.text, self.at):
                self.at = keyword.end()
                self._ahead()
                name = keyword[1].replace("\\_", "_")
                if name in named:
                    self._note("an argument given twice")
                    name = f"{name}_{len(named)}"
                named[name] = self._value()
            else:
                if self.text.startswith("**", self.at):
                    self.at += 2
                positional.append(self._value())
            self._between(")")
        self._open.pop()
        path = _PATH.match(self.text, self.at) if self._open else None
        self.at = path.end() if path else self.at
        return Call(opens[1], tuple(positional), named, path[0] if path else "", self.text[start : self.at])

    def _is_quoted_call(self) -> bool:
        """Quotes around a call count only where steps stand, not around a text among its arguments."""
        if not self._among_steps():
            return False
        name = _NAME_OPENS.match(self.text, self.at + 1)
        return name is not None and (self.known(name[1]) or _ARGUMENTS_FOLLOW.match(self.text, name.end()) is not None)

    def _quoted_call(self, quote: str) -> object:
        start, left, depth = self.at, self.left, len(self._open)
        self.at += 1
        opens = _NAME_OPENS.match(self.text, self.at)
        if opens is None:
            return self._atom(quote)
        named_only = opens[0].rstrip("( ")[-1:] == quote
        try:
            call = self._call(opens)
        except UnreadableValue:
            if left - self.left > 200:
                raise
            del self._open[depth:]
            self.at = start
            return self._atom(quote)
        self._note("a call in quotes")
        if not named_only and self.text.startswith(quote, self.at):
            self.at += 1
        return self._joined(call)
