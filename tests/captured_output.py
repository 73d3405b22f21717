"""A failed test shows the last lines of what was captured while it ran: its log lines, and no flood of them."""

from __future__ import annotations

from collections.abc import Generator

import pytest

SHOWN = 200
"""Lines of each captured section."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Cut each section of a report to its last lines; where a cut is, its first line says so."""
    report = yield
    report.sections = [(title, last_lines(text)) for title, text in report.sections]
    return report


def last_lines(text: str, shown: int = SHOWN) -> str:
    """Return the last lines of `text`."""
    lines = text.splitlines(keepends=True)
    if (before := len(lines) - shown) <= 0:
        return text
    return "".join((f"... {before:,} {'line' if before == 1 else 'lines'} before\n", *lines[-shown:]))
