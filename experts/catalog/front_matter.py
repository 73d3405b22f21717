"""Front matter: the YAML between two lines of `---` at the top of a Markdown file.

Only plain YAML is accepted: aliases, tags and deep nesting are useless in a card and may expand without bound.
"""

from __future__ import annotations

import json
from typing import Any

from swarm.errors import InvalidCard
from swarm.strict_yaml import StrictYamlError, load

MAX_FRONT = 65_536
NEAR = 10
"""Lines before an error in which its cause is searched."""


def has_front_matter(text: str) -> bool:
    """Whether a text begins with front matter, and so is meant as a card."""
    return text.removeprefix("\ufeff").partition("\n")[0].rstrip() == "---"


def split(text: str, path: str) -> tuple[str, str]:
    """Split a card into front matter and body. Raises InvalidCard."""
    if not has_front_matter(text):
        raise InvalidCard(path, "no front matter", "begin the file with a line of ---, the fields, and another ---")
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == "---":
            return "".join(lines[1:number]), "".join(lines[number + 1 :])
    raise InvalidCard(path, "the front matter has no end", "close it with a line of ---")


def parse(front: str, path: str) -> dict[str, Any]:
    """Parse front matter into plain JSON values by unique text keys. Raises InvalidCard."""
    if len(front) > MAX_FRONT:
        raise InvalidCard(
            path, f"the front matter has {len(front):,} characters", f"at most {MAX_FRONT:,} are accepted"
        )
    try:
        fields = load(front, above=1)
        json.dumps(fields, allow_nan=False)
    except StrictYamlError as error:
        raise InvalidCard(path, f"the front matter is not plain YAML: {error}", _quoting(front, error)) from None
    except (TypeError, ValueError) as error:
        raise InvalidCard(path, f"the front matter holds a value that is not plain: {error}", "quote it") from None
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise InvalidCard(path, "the front matter is not a mapping of names to values", "write lines of `field: value`")
    return fields


def _quoting(front: str, error: StrictYamlError) -> str:
    """The remedy for invalid YAML: the line whose value must be quoted, if quoting it makes the whole valid."""
    lines = front.splitlines()
    last = min(error.line or 0, len(lines) + 1) - 2
    for at in range(last, max(-1, last - NEAR), -1):
        key, colon, value = lines[at].partition(":")
        if colon and value.strip() and key == key.strip():
            quoted = f"{key}: {json.dumps(value.strip(), ensure_ascii=False)}"
            if _is_plain("\n".join([*lines[:at], quoted, *lines[at + 1 :]])):
                return f"quote the value: {quoted}"
    return "write plain YAML, or quote it"


def _is_plain(front: str) -> bool:
    try:
        return isinstance(load(front), dict)
    except StrictYamlError:
        return False
