"""The command line: it uses the client, and is the only package that starts workers.

app.py      the command `swarm`: its verbs, help and error reports
commands/   one file per family of verbs
doctor/     the verb `doctor`: facts, checks and findings
render/     answers, plans and running jobs as text
base/       what the commands share: context, console, options, exit codes, files
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Without the `cli` extra it prints what to install."""
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
