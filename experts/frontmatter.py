"""Front matter: the YAML between two lines of `---` at the top of a Markdown file.

Only plain YAML is accepted: aliases, tags and deep nesting have no use in a card and can be made to explode.
"""

from __future__ import annotations

import json
from typing import Any

from swarm.errors import InvalidCard

MAX_FRONT = 65_536
MAX_DEPTH = 40
_REMEDY = "mend the front matter of this file"


def has_front_matter(text: str) -> bool:
    """Whether this text is meant as a card."""
    return text.removeprefix("\ufeff").partition("\n")[0].rstrip() == "---"


def split(text: str, path: str) -> tuple[str, str]:
    """Front matter and body of a card, or InvalidCard."""
    if not has_front_matter(text):
        raise InvalidCard(path, "no front matter", "begin the file with a line of ---, the fields, and another ---")
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == "---":
            return "".join(lines[1:number]), "".join(lines[number + 1 :])
    raise InvalidCard(path, "the front matter has no end", "close it with a line of ---")


def parse(front: str, path: str) -> dict[str, Any]:
    """The fields of a front matter: plain JSON values by unique text keys. InvalidCard for anything else."""
    import yaml

    if len(front) > MAX_FRONT:
        raise InvalidCard(
            path, f"the front matter has {len(front):,} characters", f"at most {MAX_FRONT:,} are accepted"
        )
    try:
        _refuse_tricks(front, path)
        _refuse_twins(yaml.compose(front, yaml.SafeLoader), path)
        fields = yaml.safe_load(front)
        json.dumps(fields, allow_nan=False)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 2}" if mark else ""
        raise InvalidCard(path, f"the front matter is no valid YAML{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidCard(path, f"the front matter holds a value that is not plain: {words}", "quote it") from None
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise InvalidCard(path, "the front matter is no mapping of names to values", "write lines of `field: value`")
    return fields


def _refuse_tricks(front: str, path: str) -> None:
    """Aliases can make a small text huge, tags can make Python objects, depth can exhaust the stack."""
    import yaml

    depth = 0
    for event in yaml.parse(front, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            problem = "an anchor or alias (& or *)"
        elif tag := getattr(event, "tag", None):
            problem = f"the tag {tag}"
        elif depth > MAX_DEPTH:
            problem = f"more than {MAX_DEPTH} levels"
        else:
            continue
        line = event.start_mark.line + 2 if event.start_mark else 2
        raise InvalidCard(path, f"line {line} has {problem}", "write plain YAML, or quote the value")


def _refuse_twins(node: Any, path: str) -> None:
    """YAML lets the last of two equal keys win in silence."""
    import yaml

    seen = set()
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if str(key.value) in seen:
            raise InvalidCard(path, f"{key.value} is given twice (line {key.start_mark.line + 2})", _REMEDY)
        seen.add(str(key.value))
