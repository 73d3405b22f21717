"""The bars of the design, each a command that prints its table: `python -m tests.bench --list`."""
