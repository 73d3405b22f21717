"""Read regular values fast: JSON and Python literals and calls, with comments and trailing commas.

It gives up at anything else; `loose_json.py` then reads the same place, more slowly.
"""

from __future__ import annotations

import re

from swarm.planner.parse.values import MAX_NESTING, Bare, Call, unescaped

_TEXT = r"(?:\"[^\"\\\n]*+(?:\\.[^\"\\\n]*+)*+\"|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+')"
_NUMBER = r"-?\d{1,300}+(?:\.\d{1,300}+)?(?:[eE][+-]?\d{1,2}+)?(?![\w.\-+*/%])"
_WORD = r"[^\W\d][\w.\-]*+"
_SCALAR = rf"(?:{_TEXT}|{_NUMBER}|{_WORD})"
_SPACE = r"\s*+"
_GAP = r"\s*+(?:(?://|\#\s)[^\n]*+\s*+)*+"
_TOKEN = re.compile(rf"{_GAP}(?:(?P<text>{_TEXT})|(?P<mark>[\[\]{{}}(),:=])|(?P<word>{_WORD})|(?P<number>{_NUMBER}))")

# Runs of scalars are read at once: most of a plan consists of them.
_ITEM = re.compile(rf"{_SPACE}({_SCALAR}){_SPACE}(?:,|(?=\]))")
_ITEMS = re.compile(rf"(?:{_SPACE}{_SCALAR}{_SPACE}(?:,|(?=\])))++")
_MEMBER = re.compile(rf"{_SPACE}({_TEXT}){_SPACE}:{_SPACE}({_SCALAR}){_SPACE}(?:,|(?=\}}))")
_MEMBERS = re.compile(rf"(?:{_SPACE}{_TEXT}{_SPACE}:{_SPACE}{_SCALAR}{_SPACE}(?:,|(?=\}})))++")
_KEYWORD = re.compile(rf"{_SPACE}([^\W\d]\w*+){_SPACE}={_SPACE}({_SCALAR}){_SPACE}(?:,|(?=\)))")
_KEYWORDS = re.compile(rf"(?:{_SPACE}[^\W\d]\w*+{_SPACE}={_SPACE}{_SCALAR}{_SPACE}(?:,|(?=\))))++")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_PYTHON = frozenset(("True", "False", "None"))


class Irregular(Exception):
    """Internal: only the loose reader may be able to read this."""


class RegularReader:
    """Reads one value. `end` is the position behind it, `notes` lists what was not JSON."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.end = at
        self.notes: dict[str, None] = {}
        self._depth = 0

    def read(self) -> object:
        """Read the value. Raises Irregular."""
        return self._value(self._next())

    def _next(self) -> re.Match[str]:
        token = _TOKEN.match(self.text, self.end)
        if token is None:
            raise Irregular
        start = token.start(token.lastgroup or 0)
        if start - self.end > 1 and self.text[self.end : start].strip():
            self.notes["a comment"] = None
        self.end = token.end()
        return token

    def _value(self, token: re.Match[str]) -> object:
        kind = token.lastgroup
        if kind == "word" and self.text.startswith("(", self.end):
            return self._call(token["word"])
        if kind != "mark":
            return self._scalar(token[kind or 0])
        mark = token["mark"]
        if mark == "[":
            return self._list("]")
        if mark == "{":
            return self._object()
        if mark == "(":
            self.notes["a tuple"] = None
            return self._list(")")
        raise Irregular

    def _scalar(self, written: str) -> object:
        first = written[0]
        if first in "\"'":
            return self._text(written)
        if first in "-0123456789":
            return int(written) if written.lstrip("-").isdecimal() else float(written)
        if written in _WORDS:
            if written in _PYTHON:
                self.notes["Python's literals"] = None
            return _WORDS[written]
        return Bare(written)

    def _text(self, quoted: str) -> str:
        if quoted[0] == "'":
            self.notes["single quotes"] = None
        return unescaped(quoted[1:-1]) if "\\" in quoted else quoted[1:-1]

    def _list(self, closer: str) -> list[object]:
        self._enter()
        items: list[object] = []
        if closer == "]" and (run := _ITEMS.match(self.text, self.end)):
            items += [self._scalar(written) for written in _ITEM.findall(self.text, run.start(), run.end() + 1)]
            self._pass(run, closer)
        token = self._next()
        while token["mark"] != closer:
            items.append(self._value(token))
            token = self._after(closer)
        self._depth -= 1
        return items

    def _object(self) -> dict[str, object]:
        self._enter()
        members: dict[str, object] = {}
        if run := _MEMBERS.match(self.text, self.end):
            pairs = _MEMBER.findall(self.text, run.start(), run.end() + 1)
            members = {self._text(key): self._scalar(written) for key, written in pairs}
            if len(members) < len(pairs):
                raise Irregular
            self._pass(run, "}")
        token = self._next()
        while token["mark"] != "}":
            key = self._key(token)
            if self._next()["mark"] != ":" or key in members:
                raise Irregular
            members[key] = self._value(self._next())
            token = self._after("}")
        self._depth -= 1
        return members

    def _key(self, token: re.Match[str]) -> str:
        if token.lastgroup == "text":
            return self._text(token["text"])
        if token.lastgroup != "word":
            raise Irregular
        self.notes["a key without quotes"] = None
        return token["word"]

    def _call(self, name: str) -> Call:
        start = self.end - len(name)
        self._next()
        self._enter()
        positional: list[object] = []
        named: dict[str, object] = {}
        if run := _KEYWORDS.match(self.text, self.end):
            pairs = _KEYWORD.findall(self.text, run.start(), run.end() + 1)
            named = {key: self._scalar(written) for key, written in pairs}
            if len(named) < len(pairs):
                raise Irregular
            self._pass(run, ")")
        token = self._next()
        while token["mark"] != ")":
            word = token["word"]
            if word is not None and self.text.startswith("=", self.end):
                self._next()
                if word in named:
                    raise Irregular
                named[word] = self._value(self._next())
            else:
                positional.append(self._value(token))
            token = self._after(")")
        self._depth -= 1
        if self.text[self.end : self.end + 1] in (".", "["):
            raise Irregular
        return Call(name, tuple(positional), named, "", self.text[start : self.end])

    def _pass(self, run: re.Match[str], closer: str) -> None:
        self.end = run.end()
        if run[0][-1] == "," and self.text[self.end : self.end + 60].lstrip()[:1] == closer:
            self.notes["a comma at the end"] = None

    def _after(self, closer: str) -> re.Match[str]:
        """Return the token behind an item and its comma: the first of the next item, or the closing bracket."""
        token = self._next()
        mark = token["mark"]
        if mark == ",":
            token = self._next()
            if token["mark"] == closer:
                self.notes["a comma at the end"] = None
            return token
        if mark == "{" and closer == "]":
            self.notes["a missing comma"] = None
            return token
        if mark != closer:
            raise Irregular
        return token

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise Irregular
