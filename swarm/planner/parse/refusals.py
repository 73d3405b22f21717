"""Find faults of a planner's text: why it holds no plan, whether steps were lost, whether it repeats without end."""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from swarm.errors import DraftReason
from swarm.planner.parse.key_aliases import TELLING
from swarm.planner.parse.known_experts import KnownExperts, normalized

MAX_ALIKE = 25
"""Equal steps that a plan may have; more of them come from a model that does not stop."""
MAX_NAMES = 200

_REFUSAL = re.compile(
    r"\b(?:i(?:['\u2019]m| am)(?: so| very| really)? sorry|i(?:['\u2019]m| am) (?:unable|not able|not allowed|afraid)"
    r"|i (?:cannot|can['\u2019]?t|can not|won['\u2019]t"
    r"|will not|do not have|don['\u2019]t have|must decline|am an ai)|as an? (?:ai|language model|assistant)|unable "
    r"to (?:help|assist|comply|fulfil|complete)"
    r"|sorry,? (?:but )?i\b|unfortunately,? i\b|(?:no|none of the) (?:available |given |provided )?(?:function|tool"
    r"|expert)s? (?:can|is|are|match|fit))"
    r"|\u62b1\u6b49|\u65e0\u6cd5|\u4e0d\u80fd",
    re.I,
)
_DEFINITION = re.compile(
    r"^[ \t]*(?:async +)?(?:def +\w+\s*\(|class +\w+\s*[(:]|function +\w+\s*\(|public +(?:static|class)\b)", re.M
)
_LOOP = re.compile(
    r"^[ \t]*(?:for +\w[^\n]{0,200}\bin\b[^\n]{0,200}:[ \t]*$|while\b[^\n]{0,200}:[ \t]*$|for *\([^\n]{0,200}\{[ "
    r"\t]*$|(?:async +)?for +\w+(?:, *\w+){0,3} +in +[\w.]+(?:\([^\n]{0,100}?\))?:"
    r"|while +(?:True|1|[\w.]+\([^\n]{0,100}?\)):)"
    r"|\.(?:map|forEach|flatMap)\(\s*(?:async )?\(?\w+\)? *=>",
    re.M,
)
_IMPORT = re.compile(r"^[ \t]*(?:import +[\w.]+|from +[\w.]+ +import\b|#include\b|const +\w+ *= *require\()", re.M)
_PRINTS = re.compile(r"^[ \t]*(?:print|console\.log|return)\b[ (]", re.M)
_INDENT = re.compile(r"[ \t]*")
_LINES = re.compile(r"^([ \t]*)\S[^\n]*", re.M)
_PRETENDED = re.compile(
    r"\b(?:here (?:are|is) (?:the|your) (?:results?|answers?|outputs?)|the (?:results?|answers?|outputs?) (?:is|are"
    r"|would be)|results?\s*:|output\s*:"
    r"|observation\s*:|final answer\s*:|i (?:have|['\u2019]ve) (?:found|calculated|booked|sent|checked|completed"
    r"|done))",
    re.I,
)  # fmt: skip
_QUESTION = re.compile(
    r"\?[\s\"'*)\]]*$|\b(?:could|can|would|will) you (?:please )?(?:provide|clarify|tell|specify|share|confirm|give)\b"
    r"|please (?:provide|specify|clarify)\b",
    re.I,
)


_MARK = r"(?:[|\uff5c]\w{1,20}[|\uff5c]|\w{1,20}:)?"
"""A marker that some models write before the name of each tag."""
_CALL_TAG = re.compile(
    rf"<{_MARK}(?:invoke|function|tool)(?:\s+name)?\s*=|<tool_call>\s*[\w.\-/]{{1,100}}\s*<|<invoke>"
)
_ARGUMENT_TAG = re.compile(rf"<{_MARK}parameter\b|<parameters>|<arg_(?:key|value)>")


def has_argument_tags(text: str) -> bool:
    """Whether the text writes calls as tags with a tag for each argument: `<invoke name="f"><parameter name="a">`.

    A value inside of such a tag is a part of an argument, not a plan.
    """
    return bool(_CALL_TAG.search(text) and _ARGUMENT_TAG.search(text))


def is_program(text: str) -> bool:
    """Whether the text is a program that would compute its steps."""
    return bool(_DEFINITION.search(text) or _LOOP.search(text))


def program_span(text: str) -> tuple[int, int]:
    """Return where the first line of a program begins and where the block of its last line ends."""
    lines = [found.start() for pattern in (_DEFINITION, _LOOP, _IMPORT, _PRINTS) for found in pattern.finditer(text)]
    if not lines:
        return len(text), len(text)
    last = max(lines)
    indent = _INDENT.match(text, last)
    width = len(indent[0]) if indent else 0
    ends = last
    for line in itertools.islice(_LINES.finditer(text, last), 1, None):
        if len(line[1]) <= width:
            break
        ends = line.end()
    return min(lines), ends


def is_endless(text: str) -> bool:
    """Whether the text repeats its end many times."""
    tail = text[-120:]
    return (len(text) > 2_000 and len(set(tail)) > 0 and text.count(tail) >= 5) or (
        len(text) > 500 and len(set(text[-200:])) <= 2
    )


def why(text: str, *, cut: bool) -> tuple[DraftReason, str]:
    """Classify a text without a plan: the reason, and a message for the model."""
    if is_endless(text):
        return "repeats", "the text repeats itself without end; write each step once"
    if _REFUSAL.search(text[:600]):
        return "refusal", f"the text declines: {_opening(text)}"
    if is_program(text) or _IMPORT.search(text):
        return "program", "the text is a program that would compute a plan; write the plan itself"
    if cut:
        return "cut", "the text ends in the middle of a plan"
    if _QUESTION.search(text[-600:]):
        return "question", f"the text asks a question: {_opening(text[-200:])}"
    if _PRETENDED.search(text):
        return "pretended", "the text makes up results of steps that have not run; write only the plan"
    return "no_plan", f"no list of steps, no calls and no JSON in the text: {_opening(text)}"


def _opening(text: str) -> str:
    words = " ".join(text[:400].split())
    return repr(words if len(words) <= 120 else words[:117] + "...")


def shown(text: str, keys: Iterable[str], called: Collection[str], known: KnownExperts) -> int:
    """Count the steps that a text shows, without parsing it; the true number may be higher.

    Objects are counted by keys that all steps have and by names of known experts, calls by names before a bracket.
    """
    telling = [key for key in keys if normalized(key) in TELLING] or list(keys)
    if not telling:
        keyed = sum(known(key[1]) for key in _KEY.finditer(text))
        return max(keyed, _calls_shown(text, called, known))
    least = min(_keys_shown(text, key) for key in sorted(telling, key=text.count)[:3])
    names = [_keys_shown(text, key) for key in telling if normalized(key) in _NAMES_A_STEP]
    return max(least, *names, sum(known(named[1]) for named in _NAMED.finditer(text)))


def _keys_shown(text: str, key: str) -> int:
    return sum(1 for _ in re.finditer(rf"(?<![\w.\-]){re.escape(key)}[\"'`]{{0,2}}\s*[:=](?!=)", text))


_NAMES_A_STEP = ("expert", "expertname", "tool", "toolname", "agent", "agentname")
"""Keys that steps have and arguments hardly ever have."""
_ARGUMENT_FOLLOWS = re.compile(r"[`*\"']{0,3}\s{0,3}\(\s{0,20}(?:[\"'\d\[{]|(?:\w|\\_){1,60}\s{0,3}=(?!=))")
_CALLED = re.compile(r"(?<![\w.\-])((?:[^\W\d](?:[\w.\-/]|\\[_.\-]){0,120}+))(?=[`*\"']{0,3}\s{0,3}\()")
_KEY = re.compile(r"[\"']([^\"'\n]{1,100})[\"']\s{0,3}:\s{0,3}[{\[]")
_NAMED = re.compile(
    r"[\"'](?:name|expert|tool|tool_name|function|func|function_name|agent|action|api)[\"']\s{0,3}:\s{0,3}"
    r"[\"']([^\"'\n]{1,100})[\"']"
)


def unread(text: str, spans: Sequence[tuple[int, int]], known: KnownExperts) -> str:
    """Return a known expert that is called outside of `spans`, the places that were read; empty if there is none."""
    for named in itertools.chain(_CALLED.finditer(text), _NAMED.finditer(text)):
        if not known(named[1]) or (named.re is _CALLED and not _ARGUMENT_FOLLOWS.match(text, named.end())):
            continue
        if not _is_within(named.start(1), spans):
            return named[1]
    return ""


def listed(text: str, planned: Collection[str], known: KnownExperts) -> str:
    """Return a known expert that begins a numbered line, as in `2. search: find tea`, and is not planned; or empty."""
    names = {normalized(name) for name in planned}
    found = (item[1] for item in _ITEM.finditer(text))
    return next((name for name in found if known(name) and normalized(name) not in names), "")


def tagged(text: str, planned: Collection[str], spans: Sequence[tuple[int, int]], known: KnownExperts) -> str:
    """Return a known expert that a tag outside of `spans` calls, as in `<invoke name="f">`, and is not planned."""
    names = {normalized(name) for name in planned}
    for tag in _TAGGED.finditer(text):
        name = tag[1] or tag[2]
        if known(name) and normalized(name) not in names and not _is_within(tag.start(), spans):
            return name
    return ""


_TAGGED = re.compile(
    rf"<{_MARK}(?:invoke|function|tool)(?:\s+name)?\s*=\s*[\"']?([\w.\-/]{{1,100}})"
    r"|<tool_call>\s*([\w.\-/]{1,100})\s*<"
)
_ITEM = re.compile(
    r"^[ \t]*\d{1,3}[.)][ \t]*[*`\"']{0,3}([^\W\d][\w.\-/]{0,100})[*`\"']{0,3}[ \t]*[:\u2013\u2014]", re.M
)


def _is_within(at: int, spans: Sequence[tuple[int, int]]) -> bool:
    i = bisect.bisect_right(spans, at, key=lambda span: span[0])
    return i > 0 and at < spans[i - 1][1]


def _calls_shown(text: str, called: Collection[str], known: KnownExperts) -> int:
    names = {name.replace("\\", "") for name in called}
    found = Counter(name.replace("\\", "") for name in re.findall(r"(?<![\w.\-])((?:\w[\w.\-/\\]{0,120}+))\s?\(", text))
    return sum(count for name, count in found.items() if name in names or known(name))


def alike(signatures: Iterable[object]) -> bool:
    """Whether too many steps are equal."""
    return any(count > MAX_ALIKE for count in Counter(signatures).values())
