"""prices and tenants on the command line, and what a budget does there."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
import redis

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.types.card import Catalog
from tests.conftest import a_card
from tests.integration.test_cli_jobs import Cli, cli
from tests.unit.types.test_price import FILE

__all__ = ["cli"]


@pytest.fixture
def published(redis_url: str, prefix: str) -> None:
    async def publish() -> None:
        async with Connection.open(redis_url, prefix) as connection:
            await CatalogStore(connection, 600).publish(Catalog(version="v1", cards={"a": a_card("a")}), {})

    asyncio.run(publish())


def test_prices_are_imported_set_listed_and_dropped(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(FILE))
    os.utime(path, (1_761_955_200, 1_761_955_200))

    document = cli.json("prices", "import", str(path))
    said = cli("prices", "import", str(path), "--as-of", "2026-11-02")
    skipped = cli.err
    cli("prices", "set", "box/small", "--input", "2.5", "--output", "10", "--cached", "0.1")
    listed = cli("prices", "list")
    one = cli.json("prices", "list", "box/*")["prices"]

    assert (document["imported"], document["as_of"], document["skipped"]["no object"]) == (6, "2025-11-01", 1)
    assert said == "6 prices as of 2026-11-02\n"
    assert "13 skipped: 5 a price that is no number" in skipped
    assert [line.split()[:3] for line in listed.splitlines()[1:3]] == [
        ["box/small", "$2.50", "$10.00"],
        ["embed-small", "$0.02", "no"],
    ]
    assert [(price["model"], price["cached"]) for price in one] == [("box/small", 100_000)]
    assert cli.json("prices", "drop", "*small") == {"dropped": 2}
    assert cli.error("prices", "drop", "box/small", code=2)["field"] == "model"


def test_what_is_no_price_and_no_file_of_prices_is_refused(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text("[")

    assert "is no JSON" in cli.error("prices", "import", str(path), code=2)["message"]
    assert "cannot be read" in cli.error("prices", "import", str(tmp_path / "nix"), code=2)["message"]
    assert "write YYYY-MM-DD" in cli.error("prices", "import", str(path), "--as-of", "now", code=2)["message"]
    assert cli.error("prices", "set", "a b", "--input", "1", "--output", "1", code=2)["field"] == "model"
    assert cli.error("prices", "set", "a", "--input", "dear", "--output", "1", code=2)["field"] == "input"
    assert "--output" in cli.error("prices", "set", "a", "--input", "1", code=2)["message"]
    local = cli.error("prices", "set", "local/head", "--input", "1", "--output", "1", code=2)
    assert (local["field"], "costs nothing" in local["message"]) == ("model", True)


def test_a_price_that_is_set_anew_keeps_what_is_not_given(cli: Cli) -> None:
    def rates(*args: str) -> tuple[int, int, int | None, int | None]:
        found = cli.json("prices", "set", "box/small", *args)
        assert cli.json("prices", "list", "box/small")["prices"] == [found]
        return found["input"], found["output"], found["cached"], found["max_output"]

    first = rates("--input", "2", "--output", "8", "--cached", "0.5", "--max-output", "100")
    assert first == (2_000_000, 8_000_000, 500_000, 100)
    assert rates("--input", "3", "--output", "0") == (3_000_000, 0, 500_000, 100)
    assert rates("--input", "3", "--output", "0", "--max-output", "200")[3] == 200
    assert "at most 200 tokens" in cli("prices", "set", "box/small", "--input", "1", "--output", "1")


def test_a_tenants_budget_refuses_jobs_that_do_not_fit(cli: Cli, published: None) -> None:
    cli("tenants", "set", "acme", "--weight", "3", "--budget", "$1")
    cli("submit", "do it", "--expert", "a", "--tenant", "acme", "--budget", "0.8", "--priority", "5")
    refused = cli.error("submit", "do it", "--expert", "a", "--tenant", "acme", "--budget", "0.3", code=3)
    (tenant,) = cli.json("tenants", "list")["tenants"]
    rows = cli("tenants", "list").splitlines()
    today = cli("stats").partition("BUDGETS TODAY")[2].splitlines()

    assert refused["type"] == "OverBudget"
    assert (refused["scope"], refused["left"], refused["limit"]) == ("tenant acme", 0.2, 1.0)
    assert (tenant["weight"], tenant["budget"], tenant["today"]["earmarked"]) == (3, 1_000_000, 800_000)
    assert rows[0].split()[-2:] == ["EARMARKED", "TOKENS"]
    assert [row.split() for row in rows[1:]] == [["acme", "3", "$1.00", "$0.80"], ["(all)", "$0.80"]]
    assert today[0].split() == ["SETTLED", "PRESUMED", "OPEN", "EARMARKED", "LIMIT"]
    assert [row.split() for row in today[1:3]] == [
        ["(all)", "$0", "$0", "$0", "$0.80"],
        ["acme", "$0", "$0", "$0", "$0.80", "$1.00"],
    ]
    assert cli.json("tenants", "drop", "acme") == {"dropped": "acme"}
    assert cli.error("tenants", "drop", "acme", code=2)["field"] == "tenant"


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (("submit", "x", "--budget", "lots"), "budget"),
        (("submit", "x", "--budget", "-1"), "budget"),
        (("submit", "x", "--priority", "10"), "priority"),
        (("tenants", "set", "acme"), "tenant"),
        (("tenants", "set", "a:b", "--weight", "1"), "tenant"),
        (("tenants", "set", "acme", "--weight", "0"), "weight"),
    ],
)
def test_what_is_no_money_and_no_tenant_is_refused(cli: Cli, args: tuple[str, ...], field: str) -> None:
    assert cli.error(*args, code=2)["field"] == field


def test_jobs_show_what_they_cost_and_apart_from_it_what_they_may_have_cost(
    cli: Cli, published: None, redis_url: str, prefix: str
) -> None:
    cli("submit", "do it", "--expert", "a")
    free = cli("jobs")
    job = cli("submit", "do it", "--expert", "a", "--budget", "2").strip()
    with redis.Redis.from_url(redis_url) as client:
        client.hset(f"{prefix}:job:{job}:money", mapping={"settled": 1_500_000, "presumed": 41_808})
    lines = cli("jobs").splitlines()
    found = {info["id"]: (info["cost"], info["presumed"]) for info in cli.json("jobs")["jobs"]}

    assert "COST" not in free
    assert "COST" in lines[0]
    assert [line for line in lines if line.startswith(job) and "  $1.50 + ≤$0.0419  " in line]
    assert found[job] == (1_500_000, 41_808)
