"""Save a plan to a JSON or YAML file that people can edit. `swarm ask --plan FILE` reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from swarm.cli.base.options import REQUEST, utf8
from swarm.errors import BadInput
from swarm.types.plan import Plan

YAML = (".yaml", ".yml")
FORMS = (".json", *YAML)
WIDTH = 100

_ODD = re.compile("[\t\r\x85\u2028\u2029\ufeff]")
"""Characters that YAML reads as line ends, or drops, unless they are escaped."""


def writable(name: str, *, force: bool) -> Path:
    """Return the path for a saved plan. Raises BadInput for an unknown suffix, and for a file that exists."""
    path = Path(utf8(name, "save")).expanduser()
    if path.suffix.lower() not in FORMS:
        raise BadInput("save", f"{name!r} has no known suffix", f"end it with {', '.join(FORMS)}")
    if not path.parent.is_dir():
        raise BadInput("save", f"there is no folder {path.parent}", "make it, or save elsewhere")
    if path.exists() and not force:
        raise _taken(name)
    return path


def save(path: Path, plan: Plan, request: str | None = None, *, force: bool) -> None:
    """Write `plan` and its request. A file that appeared meanwhile is overwritten only with `force`."""
    text = as_yaml(plan, request) if path.suffix.lower() in YAML else as_json(plan, request)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _taken(str(path)) from None
    except OSError as error:
        raise BadInput("save", f"{path} cannot be written ({error.strerror})", "check the path") from None


def _taken(name: str) -> BadInput:
    return BadInput("save", f"{name} exists", "choose another name, or overwrite it with --force")


def as_json(plan: Plan, request: str | None = None) -> str:
    return json.dumps(_written(plan, request), indent=2, ensure_ascii=False) + "\n"


def as_yaml(plan: Plan, request: str | None = None) -> str:
    """Write YAML with block style for texts of several lines, and without aliases, which the reader refuses."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = '"' if _ODD.search(value) else "|" if "\n" in value.strip("\n") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(_written(plan, request), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=WIDTH))


def _written(plan: Plan, request: str | None) -> dict[str, Any]:
    """Return the fields that differ from their defaults, as a person would write them."""
    asked = {} if request is None else {REQUEST: str(request)}
    return asked | plan.model_dump(mode="json", exclude_defaults=True)
