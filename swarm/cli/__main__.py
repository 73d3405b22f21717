"""`python -m swarm.cli` is `swarm`."""

import sys

from swarm.cli import main

if __name__ == "__main__":
    sys.exit(main())
