"""Coverage-guided fuzzing, started by hand; not a part of the test run.

    pip install atheris
    python -m tests.fuzz draft --seconds 60

It feeds a target with bytes that reach ever more of its code, and stops at the first outcome that breaks a promise:
an exception but the project's, a draft that cannot be stored, or a text that takes too long. What it found lies in
the file that it names; run that again with `--input FILE`. Without atheris, `--random` feeds random pieces of plans
instead; that finds less.
"""
