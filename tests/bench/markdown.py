"""The reports of several benches -> one Markdown table: what, median (least, greatest), bar, aim, peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.bench.benches import Bench
from tests.bench.peering import WAYS
from tests.bench.report import number, where

NONE = "–"


def markdown(reports: Sequence[Mapping[str, Any]], benches: Mapping[str, Bench], missing: Mapping[str, str]) -> str:
    """A row for each metric that has words for one, then what was not measured, the notes, the machine and versions."""
    peers: Mapping[str, Any] = next((found["results"] for found in reports if found["bench"] == "peers"), {})
    lines = ["| what | median (least – greatest) | bar | aim | peers |", "| --- | --- | --- | --- | --- |"]
    for found in reports:
        lines += _rows(found, benches[found["bench"]], peers)
    lines += ["", *(f"Not measured: {name}: {why}" for name, why in missing.items())]
    lines += [note for found in reports if found["bench"] == "peers" for note in found["notes"]]
    if reports:
        lines.append(where(reports[0]))
    return "\n".join(lines)


def _rows(found: Mapping[str, Any], bench: Bench, peers: Mapping[str, Any]) -> Iterator[str]:
    for name, metric in bench.metrics.items():
        if metric.row and (result := found["results"].get(name)):
            beside = ", ".join(_peers(metric.peers, peers)) or NONE
            yield f"| {metric.row} | {_spread(result)} | {metric.bar or NONE} | {metric.aim or NONE} | {beside} |"


def _spread(result: Mapping[str, Any]) -> str:
    median, least, most = (number(result[part]) for part in ("median", "min", "max"))
    unit = f" {result['unit']}"
    return f"{median}{unit}" if least == most else f"{median}{unit} ({least} – {most})"


def _peers(measure: str, peers: Mapping[str, Any]) -> Iterator[str]:
    for way, words in WAYS.items():
        if measure and (result := peers.get(f"{way}.{measure}")):
            yield f"{words} {number(result['median'])}"
