"""Plans in tags and in plain lines: what stands in neither JSON nor calls."""

from __future__ import annotations

import re
from collections.abc import Iterator

from swarm.planner.parse.scanner import Candidate, KnownExperts
from swarm.planner.parse.values import UnreadableValue

_MARKED = r"(?:[|\uff5c]\w{1,20}[|\uff5c]|\w{1,20}:)?"
"""What some models put into each of their tags, before its name."""
_NAMED = re.compile(
    rf"<{_MARKED}(?:invoke|function|tool)(?:\s+name)?\s*=\s*[\"']?([\w.\-/ ]{{1,100}})[\"']?\s*>"
    r"|<tool_call>\s*([\w.\-/]{1,100})\s*(?=<arg_key>)"
    r"|<invoke>\s*<tool_name>\s*([\w.\-/ ]{1,100}?)\s*</tool_name>"
)
_VALUE = re.compile(
    rf"<{_MARKED}parameter(?:\s+name)?\s*=\s*[\"']?(?P<key>[\w.\-]{{1,100}})[\"']?[^<>\n]{{0,40}}>"
    rf"(?P<value>[^<]*+(?:<(?!/{_MARKED}parameter>)[^<]*+)*+)</{_MARKED}parameter>"
    r"|<arg_key>(?P<key2>[^<]{1,100})</arg_key>\s*<arg_value>"
    r"(?P<value2>[^<]*+(?:<(?!/arg_value>)[^<]*+)*+)</arg_value>"
)
_TAG = re.compile(r"\s*<(?P<key>[\w.\-]{1,100})>(?P<value>.*?)</(?P=key)>", re.S)
_OPENED = re.compile(rf"<{_MARKED}parameter\b|<parameters>|<arg_value>|<{_MARKED}invoke\b")
_CLOSED = re.compile(rf"</{_MARKED}parameter>|</parameters>|</arg_value>|</{_MARKED}invoke>")
_ITEM = re.compile(
    r"^[ \t]*(?:(?P<number>\d{1,3})[.)]|#?(?P<variable>E\d{1,3})\s*=|action\s*\d{0,3}\s*:)[ \t]*(?P<rest>\S[^\n]*)",
    re.M | re.I,
)
_SAYS = re.compile(
    r"[*`\"']{0,3}(?P<name>[^\W\d][^:\[\]()\n*`\"']{0,80}?)[*`\"']{0,3}\s*(?:$|[:\u2013\u2014]\s*|\s-\s|\[)(?P<told>.*)"
)
_INPUT = re.compile(r"\s*action[ _]input\s*\d{0,3}\s*:[ \t]*([^\n]+)", re.I)


def tagged(text: str) -> list[Candidate]:
    """Calls as `<invoke name="f"><parameter name="a">x</parameter></invoke>` and its kin. Raises UnreadableValue."""
    if not any(word in text for word in ("parameter", "invoke", "<arg_key>")):
        return []
    opens = list(_NAMED.finditer(text))
    if not opens or not _OPENED.search(text):
        return []
    if len(_OPENED.findall(text)) != len(_CLOSED.findall(text)):
        raise UnreadableValue("cut", opens[0].start())
    ends = [following.start() for following in opens[1:]] + [len(text)]
    return [_call(text, name, end) for name, end in zip(opens, ends, strict=True)]


def _call(text: str, opens: re.Match[str], end: int) -> Candidate:
    arguments = {
        (one["key"] or one["key2"]).strip(): (one["value"] if one["key"] else one["value2"]).strip()
        for one in _VALUE.finditer(text, opens.end(), end)
    }
    if opens[3] and (inside := text.find("<parameters>", opens.end(), end)) >= 0:
        arguments = _tags(text, inside + len("<parameters>"), end)
    value = {"tool": opens[1] or opens[2] or opens[3], "arguments": arguments}
    return Candidate(opens.start(), end, value, "tags")


def _tags(text: str, at: int, end: int) -> dict[str, str]:
    """`<a>x</a><b>y</b>` by name."""
    found = {}
    while one := _TAG.match(text, at, end):
        found[one["key"]] = one["value"].strip()
        at = one.end()
    return found


def lined(text: str, known: KnownExperts) -> list[Candidate]:
    """Numbered lines that each begin with a known expert, as `1. search: find tea`; all of them or none."""
    if not known:
        return []
    items = list(_ITEM.finditer(text))
    found = list(_lines(text, items, known))
    return found if len(found) == len(items) else []


def _lines(text: str, items: list[re.Match[str]], known: KnownExperts) -> Iterator[Candidate]:
    for item in items[:1_001]:
        says = _SAYS.fullmatch(item["rest"].strip())
        if says is None or not known(says["name"]):
            return
        told = says["told"].strip().removesuffix("]") if "[" in item["rest"] else says["told"].strip()
        if not told and (given := _INPUT.match(text, item.end())):
            told = given[1].strip()
        value = {"id": item["number"] or item["variable"], "tool": says["name"].strip(), "instruction": told}
        yield Candidate(item.start(), item.end(), value, "lines")
