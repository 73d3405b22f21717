"""Copies a folder of cards with one model for all experts, for trying the model out.

Cards of local models get an instruction: a template becomes the style in which the model writes, and the labels of a
trained head become its output schema.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from experts.catalog.front_matter import has_front_matter, parse, split
from experts.kinds import TEMPLATE

TIMEOUT = "120s"
"""Timeout of each copied card: models take longer than local experts."""
_MANNER = (
    "Write it out of the results that you are given, in the manner of this template: what stands in {{ }} and {% %} "
    "says where things go. Write no template."
)


def remodel(folder: Path, model: str, into: Path) -> None:
    """Copy the catalog `folder` to `into`, which must not exist yet, with `model` in every card."""
    shutil.copytree(folder, into)
    for path in sorted(into.glob("*.md")):
        if has_front_matter(text := path.read_text("utf-8")):
            front, body = split(text, path.name)
            path.write_text(_card(into, parse(front, path.name), body.strip(), model), "utf-8")


def _card(folder: Path, front: dict[str, Any], body: str, model: str) -> str:
    import yaml

    was, description = front.get("model"), str(front.get("description", "")).strip()
    front |= {"model": model, "timeout": TIMEOUT}
    if was == TEMPLATE:
        body = f"{description}\n\n{_MANNER}\n\n{body}"
    if head := front.pop("head", None):
        body = f"{description}\n\nAnswer with the label that fits best."
        front["output"] = _labelled(_labels(folder / head))
    if front.get("output") is None:
        front["partial"] = "keep"  # a partial answer shows what a slow model is like
    return f"---\n{yaml.safe_dump(front, allow_unicode=True, sort_keys=False)}---\n{body}\n"


def _labels(head: Path) -> list[str]:
    from experts.finetuned.head import read_head

    return list(read_head(head.read_bytes()).labels)


def _labelled(labels: list[str]) -> dict[str, Any]:
    label = {"type": "string", "enum": labels}
    return {"type": "object", "properties": {"label": label}, "required": ["label"], "additionalProperties": False}
