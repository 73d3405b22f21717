"""Find environment variables that look like ours but that nothing reads. It reads only names, never values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches

from swarm.cli.doctor.findings import Finding, warning
from swarm.settings import Settings

OTHERS = frozenset(
    """SWARM_CACHE SWARM_CONFIG SWARM_HEALTH_SOCKET SWARM_MODELS SWARM_REDIS_SERVER
    OPENAI_API_KEY OPENAI_BASE_URL""".split()
)
"""Variables that are read beside the settings."""
KNOWN = OTHERS | {f"SWARM_{name.upper()}" for name in Settings.model_fields}
FORMER = {
    "OPENAI_API_BASE": "OPENAI_BASE_URL",
    "OPENAI_KEY": "OPENAI_API_KEY",
    "SWARM_ENDPOINT_OPENAI_URL": "OPENAI_BASE_URL",
    "SWARM_ENDPOINT_OPENAI_KEY": "OPENAI_API_KEY",
}
"""Names of other tools for variables that have another name here."""
NEAR = 0.9
"""Similarity from which a name without our prefix counts as a misspelt one of ours."""

_ENDPOINT = re.compile(r"SWARM_ENDPOINT_([A-Z0-9][A-Z0-9_]*)_KEY")
_OF_THE_TESTS = re.compile(r"SWARM_(TEST|BENCH)_.*")
_OF_KUBERNETES = re.compile(r"SWARM_(.+_)?(SERVICE_(HOST|PORT(_.+)?)|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)")
"""Variables that Kubernetes sets in every container for a service named swarm-something."""


def strangers(names: Collection[str], endpoints: Iterable[str], read: Collection[str] = ()) -> Iterator[Finding]:
    """A warning for each of `names` that nothing reads. `endpoints` are set up; `read` are variables they name."""
    there = {endpoint.upper().replace("-", "_") for endpoint in endpoints if endpoint != "openai"}
    wanted = KNOWN | {f"SWARM_ENDPOINT_{endpoint}_{part}" for endpoint in there for part in ("URL", "KEY")}
    for name in sorted(names):
        if name in wanted or name in read or _OF_THE_TESTS.fullmatch(name) or _OF_KUBERNETES.fullmatch(name):
            continue
        if FORMER.get(name) not in names and (remedy := _remedy(name, wanted, there)):
            yield warning("settings", f"{name} is set, but nothing reads it", remedy)


def _remedy(name: str, wanted: Collection[str], there: Collection[str]) -> str:
    """Return the remedy for a name; empty if it is not meant for us."""
    if meant := FORMER.get(name):
        return f"did you mean {meant}?"
    if match := _ENDPOINT.fullmatch(name):
        near = get_close_matches(match[1], there, n=1)
        meant = f"did you mean SWARM_ENDPOINT_{near[0]}_KEY? Else " if near else ""
        return f"{meant}set SWARM_ENDPOINT_{match[1]}_URL, too"
    ours = name.upper().startswith("SWARM_")
    near = get_close_matches(name.upper(), wanted, n=1, cutoff=0.75 if ours else NEAR)
    if near:
        return f"did you mean {near[0]}?"
    return "unset it, or correct its name; see: swarm --help" if ours else ""
