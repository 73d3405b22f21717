"""The command line over the client, and the one place that starts workers. One file per family of verbs.

app.py        the command itself: verbs, help, and how every error ends
asking.py     ask, demo              jobs.py      submit, watch, answer, jobs, cancel
catalogs.py   experts ...            serving.py   worker, up
plan.py       plan                   plancheck.py plan check
doctor.py     doctor, over checks.py and facts.py
modelserver.py model-server
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code. Without the `cli` extra: say what to install."""
    try:
        from swarm.cli import app
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        from swarm.cli.base.exit_codes import BAD_INPUT, missing_extra

        missing = missing_extra(error)
        if missing is None:
            raise
        print(f"error: {missing}", file=sys.stderr)
        return BAD_INPUT
    return app.main(sys.argv[1:] if argv is None else argv)
