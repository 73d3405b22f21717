"""limits list, set, drop over a Redis."""

from __future__ import annotations

import pytest

from swarm.cli.base import exit_codes
from tests.integration.test_cli_jobs import Cli, cli

__all__ = ["cli"]


def test_limits_are_set_listed_and_dropped(cli: Cli) -> None:
    text = cli("limits", "set", "openai/gpt-6-luna", "--requests-per-minute", "1200", "--burst", "5")
    assert text == "openai/gpt-6-luna: requests per minute 1,200, burst 5\n"
    assert cli.json("limits", "set", "openai", "--concurrency", "8") == {"name": "openai", "limits": {"concurrency": 8}}

    assert cli.json("limits", "list") == {
        "limits": {"openai": {"concurrency": 8}, "openai/gpt-6-luna": {"requests_per_minute": 1200, "burst": 5}}
    }
    assert [line.split() for line in cli("limits", "list").splitlines()] == [
        ["NAME", "CONCURRENCY", "REQUESTS/MIN", "TOKENS/MIN", "BURST"],
        ["openai", "8", "-", "-", "-"],
        ["openai/gpt-6-luna", "-", "1,200", "-", "5"],
    ]

    assert cli.json("limits", "drop", "openai") == {"name": "openai", "dropped": True}
    assert cli("limits", "drop", "openai") == "openai: it had no limits\n"


def test_setting_limits_again_replaces_them(cli: Cli) -> None:
    cli("limits", "set", "openai", "--concurrency", "8")
    cli("limits", "set", "openai", "--tokens-per-minute", "90000")

    assert cli.json("limits", "list") == {"limits": {"openai": {"tokens_per_minute": 90000}}}


@pytest.mark.parametrize(
    ("args", "field", "remedy"),
    [
        (("refund policy", "--concurrency", "1"), "name", "give openai or openai/gpt-6-luna"),
        (("local/planner", "--concurrency", "1"), "name", "give openai or openai/gpt-6-luna"),
        (("openai",), "limits", "swarm limits drop openai"),
        (("openai", "--concurrency", "0"), "concurrency", "a number from 1"),
        (("openai", "--burst", "5"), "burst", "it needs a rate limit beside it, and there is none; add --"),
    ],
)
def test_what_cannot_be_a_limit_is_refused(cli: Cli, args: tuple[str, ...], field: str, remedy: str) -> None:
    error = cli.error("limits", "set", *args, code=exit_codes.BAD_INPUT)

    assert error["field"] == field
    assert remedy in error["message"]
