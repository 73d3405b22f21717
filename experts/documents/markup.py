"""Extracts the visible text of a document: without comments, front matter and directives of site generators.

It handles HTML, Markdown link and Jinja comments, YAML and TOML front matter, and the page directives of Hugo, Jekyll,
MkDocs, Docusaurus, Sphinx, GitLab and GitHub. Fenced code and the titles of directives are kept.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from swarm.strict_yaml import StrictYamlError, load

MAX_FRONT = 200
"""Maximum lines of front matter."""
MAX_FRONT_TEXT = 20_000
"""Maximum characters of front matter from which a title is read."""
COMMENTS = {
    "<!--": "-->", "{/*": "*/}", "{# ": "#}", "{% comment %}": "{% endcomment %}",
    "<script": "</script>", "<style": "</style>",
}  # fmt: skip
"""Start and end marks of invisible parts."""
EMPTY = frozenset("toctree contents image index meta include literalinclude raw sectnum tableofcontents".split())
"""Sphinx directives whose block is not part of the page's text."""

LONGEST = 10_000
"""Maximum characters of a line that is searched for directives."""

_ENDLESS = frozenset(("<!--", "<script", "<style"))
"""Start marks that hide the rest of a page if unclosed, as in browsers; other unclosed marks are ignored."""
_OPENING = re.compile(
    "|".join(re.escape(o) + (r"(?=[\s>])" if o[1].isalpha() else "") for o in COMMENTS), re.IGNORECASE
)
_CLOSING = {opening: re.compile(re.escape(closing), re.IGNORECASE) for opening, closing in COMMENTS.items()}
_FENCE = re.compile(r"[ \t]{0,3}(```+|~~~+)(?:\{([\w:-]{1,50})\}(.*))?")
_KEY = re.compile(r"[\w.-]{1,100}[ \t]*:(?:[ \t]|$)|[ \t]+\S|[ \t]*-[ \t]|#|[ \t]*$")
_FIELD = {
    "---": re.compile(r"[\w.-]{1,100}[ \t]*:(?:[ \t]|$)"),
    "+++": re.compile(r"[ \t]*[\w.\"'-]{1,100}[ \t]*=|[ \t]*\["),
}
"""Front matter has at least one line like this; else it is text between two horizontal rules."""
_NOTHING = re.compile(
    r"""[ \t]{0,3}(?:
      \[[^\]\n]{1,100}\]:[ \t]*(?:\#|<>)(?:[ \t].*)?   # a link to nowhere, which is how Markdown writes a comment
    | \[\[_?(?:toc|tosp)_?\]\] | \[toc\] | __(?:no|force)?toc__ | \$\{toc\}   # a table of contents
    | \{:.{0,500}\}                                    # attributes, as kramdown writes them
    )[ \t]*""",
    re.VERBOSE | re.IGNORECASE,
)
_TITLED = re.compile(
    r"""[ \t]*(?:
      :{3,}[ \t]*(?:\{[^}\n]{0,200}\}|[A-Za-z][\w-]{0,50})?(?=[\s\[]|$)    # ::: note
    | (?:!!!|\?\?\?\+?)[ \t]+[A-Za-z][\w-]{0,50}(?:[ \t]+(?:inline|end)){0,2}(?=[ \t]*(?:"|$))   # !!! note
    | ===\+?(?=[ \t]+["'])                             # === "Tab"
    | >[ \t]*\[![\w-]{1,50}\][+-]?                     # > [!NOTE]
    )(?P<title>[ \t]*(?:\[[^\]\n]{0,300}\])?.*)""",
    re.VERBOSE,
)
_SHORTCODE = re.compile(
    r"\{\{[<%].{0,200}?[>%]\}\}|\{%.{0,200}?%\}|(?<=\S)[ \t]*\{[#:.][ \t]?[.#]?[A-Za-z][\w.:# =\"'-]{0,200}\}[ \t]*$"
)
_RST = re.compile(
    r"(?P<space>[ \t]*)\.\.[ \t]+(?:\|[^|\n]{1,100}\|[ \t]+)?(?P<name>[\w:-]{1,50})::(?:[ \t]+(?P<rest>.*))?$"
)
_RST_COMMENT = re.compile(r"(?P<space>[ \t]*)\.\.(?:[ \t]+(?!\[).*)?$")
_RST_OPTION = re.compile(r"[ \t]+:[\w-]{1,50}:")


def split_front(text: str) -> tuple[str, str]:
    """Split off front matter: its title (empty without one), and the text below it."""
    lines = text.split("\n")
    mark = lines[0].rstrip()
    if mark not in ("---", "+++"):
        return "", text
    ends = ("---", "...") if mark == "---" else ("+++",)
    end = next((i for i, line in enumerate(lines[1:MAX_FRONT], 1) if line.rstrip() in ends), 0)
    front = lines[1:end]
    if not any(map(_FIELD[mark].match, front)) or (mark == "---" and not all(map(_KEY.match, front))):
        return "", text
    title = _fields(mark, "\n".join(front)).get("title")
    return " ".join(title.split()) if isinstance(title, str) else "", "\n".join(lines[end + 1 :])


def visible(text: str) -> str:
    """The visible text of a page. Line numbers are kept: a line without visible text becomes empty."""
    lines, _ = _uncommented(text.split("\n"))
    if any(_RST.match(line) for line, fenced in _with_fences(lines) if not fenced):
        lines = list(_without_rst(lines))
    return "\n".join(_undirected(lines))


def unclosed_comment(text: str) -> int | None:
    """The line number of an unclosed comment, which hides all below it; None if there is none."""
    return _uncommented(text.split("\n"))[1]


def _fields(mark: str, front: str) -> Mapping[str, Any]:
    if len(front) > MAX_FRONT_TEXT:
        return {}
    try:
        found = load(front) if mark == "---" else tomllib.loads(front)
    except (StrictYamlError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _with_fences(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it belongs to a fenced code block."""
    fenced = ""
    for line in lines:
        mark = _FENCE.match(line)
        yield line, bool(fenced or mark)
        if mark and (not fenced or mark[1].startswith(fenced)):
            fenced = "" if fenced else mark[1]


def _uncommented(lines: Sequence[str]) -> tuple[list[str], int | None]:
    """The lines without comments, and the line number of an unclosed one, which hides the rest."""
    found: list[str] = []
    fenced, opened = "", 0
    closes = _last_closings(lines)
    closing: re.Pattern[str] | None = None
    for number, line in enumerate(lines, 1):
        mark = None if closing else _FENCE.match(line)
        if mark and (not fenced or mark[1].startswith(fenced)):
            fenced = "" if fenced else mark[1]
        if fenced or mark:
            found.append(line)
            continue
        before = closing
        kept, closing = _outside(line, closing, closes, number)
        opened = opened if closing is before else number
        found.append(kept)
    return found, opened if closing else None


def _last_closings(lines: Sequence[str]) -> dict[re.Pattern[str], float]:
    """The number of the last line with an end mark, for each kind of comment."""
    text = "\n".join(lines).lower()
    ends = {opening: text.rfind(closing.lower()) for opening, closing in COMMENTS.items()}
    return {
        _CLOSING[opening]: math.inf if opening in _ENDLESS else text.count("\n", 0, end) + 1 if end >= 0 else 0
        for opening, end in ends.items()
    }


def _outside(
    line: str, closing: re.Pattern[str] | None, closes: Mapping[re.Pattern[str], float], number: int
) -> tuple[str, re.Pattern[str] | None]:
    """The part of a line outside comments, and the end mark of the comment that is open at its end.

    A start mark counts only if its end mark follows, in this line or below line `number`.
    """
    kept: list[str] = []
    at = ticks = counted = 0
    indent = len(line) - len(line.lstrip())
    unclosed: set[re.Pattern[str]] = set()  # end marks that do not occur in the rest of the line
    while True:
        if closing:
            if (end := closing.search(line, at)) is None:
                return "".join(kept), closing
            at = end.end()
        for opening in _OPENING.finditer(line, at):
            ticks, counted = ticks + line.count("`", counted, opening.start()), opening.start()
            closing = _CLOSING[opening[0].lower()]
            if closing not in unclosed and not _is_closed(line, opening, closing):
                unclosed.add(closing)
            begins = opening.start() <= indent and closes[closing] > number
            if ticks % 2 == 0 and (opening[0] == "<!--" or begins or closing not in unclosed):
                kept.append(line[at : opening.start()])
                at = opening.end()
                break
        else:
            return "".join([*kept, line[at:]]), None


def _is_closed(line: str, opening: re.Match[str], closing: re.Pattern[str]) -> bool:
    """Whether a comment ends on the line where it begins."""
    return len(line) <= LONGEST and closing.search(line, opening.end()) is not None


def _undirected(lines: Sequence[str]) -> Iterator[str]:
    """The lines without directives; the titles of directives are kept."""
    fenced, shown, rest = "", True, False
    for line in lines:
        mark = _FENCE.match(line)
        if mark and fenced and mark[1].startswith(fenced) and not line.strip("`~ \t"):
            yield line if shown and not rest else ""
            fenced, shown, rest = "", True, False
        elif mark and not fenced:
            fenced, rest = mark[1], mark[2] is not None
            shown = mark[2] not in EMPTY
            yield (mark[3] or "").strip() if rest else line
        elif fenced:
            yield ("" if _RST_OPTION.match(" " + line) else line) if rest and shown else line if shown else ""
        else:
            yield _plain(line)


def _plain(line: str) -> str:
    if len(line) > LONGEST:
        return line
    if _NOTHING.fullmatch(line):
        return ""
    if titled := _TITLED.fullmatch(line):
        return titled["title"].strip(" \t\"'[]")
    return _SHORTCODE.sub("", line) if "{" in line else line


def _without_rst(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a Sphinx page without directives, comments and their blocks."""
    hidden, options = -1, False
    for line, fenced in _with_fences(lines):
        if fenced:
            yield line
            continue
        indent = len(line) - len(line.lstrip()) if line.strip() else 10_000
        if hidden >= 0 and indent > hidden:
            yield ""
            continue
        hidden = -1
        if options and _RST_OPTION.match(line):
            yield ""
        elif directive := _RST.match(line):
            options = True
            hidden = len(directive["space"]) if directive["name"] in EMPTY else -1
            yield "" if hidden >= 0 else directive["rest"] or ""
        elif comment := _RST_COMMENT.match(line):
            options, hidden = False, len(comment["space"])
            yield ""
        else:
            options = False
            yield line
