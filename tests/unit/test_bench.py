"""The form in which benches report. What they measure is theirs; no time is asserted on."""

import json
from dataclasses import replace
from datetime import date

import pytest

from swarm.testing.model_server import Received
from swarm.types.price import Price
from tests.bench import overshoot
from tests.bench.__main__ import main
from tests.bench.benches import ALL, BY_NAME
from tests.bench.dags import critical_path
from tests.bench.peering import METRICS, PINS, WAYS
from tests.bench.report import most_at_once, most_within, number, p95, slope, summary
from tests.bench.rig import naps
from tests.bench.soak import TITLES, Look, settled


def test_every_bench_has_its_metric() -> None:
    assert {bench.name: next(iter(bench.metrics)) for bench in ALL} == {
        "hop": "hop_ms",
        "job": "job_ms",
        "experts-scale": "ratio_1000",
        "chain": "chain5_ms",
        "fanout": "over_ideal_ms",
        "throughput": "subtasks_per_s",
        "slots": "busy",
        "critical": "seconds",
        "rate": "seconds",
        "waiting": "bytes_per_job",
        "load": "hop_ms_100",
        "dags": "ratio_1",
        "recovery": "seconds",
        "stalls": "seconds",
        "overshoot": "over_8",
        "dialects": "differ",
        "chaos": "lost",
        "cancel": "ms",
        "faults": "differ",
        "streams": "first_ms",
        "import": "ms",
        "idle": "rss_mb",
        "encoder": "short_ms",
        "peers": "arq.hop_ms",
        "streaming": "gain",
        "planner": "nestful_node",
        "requests": "shop_words_right",
        "knowledge": "fused_mrr",
        "soak": "redis_slope",
        "heads": "banking_all",
        "extract": "answer_holds",
    }
    assert len(BY_NAME) == len(ALL)


def test_every_row_of_the_design_has_words_for_the_table() -> None:
    rows = {bench.name for bench in ALL if bench.in_all and any(metric.row for metric in bench.metrics.values())}

    assert rows == {bench.name for bench in ALL if bench.in_all} - {"peers"}


def test_a_measure_of_peers_that_stands_beside_a_row_is_one_that_peers_have() -> None:
    asked = {metric.peers for bench in ALL for metric in bench.metrics.values() if metric.peers}

    assert asked == {name.partition(".")[2] for name in METRICS}
    assert {way.partition("-")[0] for way in WAYS} == PINS.keys()


def test_the_median_of_an_even_number_lies_between() -> None:
    assert summary([4.0, 1.0, 3.0, 2.0], "s") == {"median": 2.5, "min": 1.0, "max": 4.0, "unit": "s"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7.0], 7.0), ([3.0, 3.0], 3.0), (list(range(101)), 95.0), (list(range(100, -1, -1)), 95.0)],
)
def test_the_95th_percentile(values: list[float], expected: float) -> None:
    assert p95(values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("begun", "ended", "expected"),
    [([], [], 0), ([1, 2, 3], [4, 5, 6], 3), ([1, 2], [2, 3], 1), ([1, 1, 5], [4, 9, 9], 2)],
)
def test_spans_that_overlap_are_counted(begun: list[float], ended: list[float], expected: int) -> None:
    assert most_at_once(begun, ended) == expected


def test_naps_are_side_by_side_or_one_after_the_other() -> None:
    assert naps(0, 0.5).edges == {"s0": (), "s1": ()}
    assert naps(0, 0, 0, chain=True).edges == {"s0": (), "s1": ("s0",), "s2": ("s1",)}
    assert [subtask.instruction for subtask in naps(0, 0.5).subtasks] == ["nap 0", "nap 0.5"]


@pytest.mark.parametrize(
    ("moments", "expected"), [([], 0), ([1.0], 1), ([0.0, 0.5, 1.0, 1.4], 3), ([3.0, 0.0, 0.0, 0.99], 3)]
)
def test_moments_within_a_span_are_counted(moments: list[float], expected: int) -> None:
    assert most_within(moments, 1.0) == expected


@pytest.mark.parametrize(
    ("times", "values", "expected"),
    [([0, 1, 2], [5, 7, 9], 2.0), ([0, 1, 2, 3], [4, 4, 4, 4], 0.0), ([3], [8], 0.0), ([], [], 0.0)],
)
def test_a_slope_is_what_values_grow_by_in_a_unit_of_time(
    times: list[float], values: list[float], expected: float
) -> None:
    assert slope(times, values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (-0.0001, "0"), (2.5, "2.5"), (2.0126, "2.013"), (99.5, "99.5"), (100.2, "100"), (12_345.6, "12,346")],
)
def test_numbers_are_short(value: float, expected: str) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("waits", "seconds", "expected"),
    [
        ({}, [1.0], 1.0),
        ({1: [0], 3: [1, 2]}, [0.5, 0.5, 2.0, 0.0], 2.0),
        ({0: [2], 1: [0]}, [1.0, 1.0, 1.0], 3.0),
        ({2: [0, 1]}, [0.2, 0.3, 0.1], 0.4),
    ],
)
def test_the_critical_path_is_the_longest_way(
    waits: dict[int, list[int]], seconds: list[float], expected: float
) -> None:
    assert critical_path(waits, seconds) == pytest.approx(expected)


def test_what_comes_after_the_first_three_tenths_of_a_soak_counts() -> None:
    look = Look(0.0, 10, 1, 100, 1.0, 9.0, (50.0, 50.5, 51.0, 80.0))
    looks = [replace(look, minute=minute / 2) for minute in range(21)]

    assert [each.minute for each in settled(looks)][:2] == [3.0, 3.5]
    assert look.row().split() == ["0.0", "10", "1", "100", "1.00", "9.00", "50.00", "50.50", "51.00", "80.00"]
    assert len(TITLES) == len(look.row().split())


async def test_the_model_server_of_overshoot_counts_what_it_reads_and_writes() -> None:
    counter = overshoot.Counter()
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    answer = counter(Received("/v1/chat/completions", {}, body))
    sent = -(-len(json.dumps(body["messages"])) // 4)

    assert (counter.calls, counter.cost) == (1, sent)
    words = [part async for part in counter.written(sent, 6, broken=True)]
    assert counter.cost == sent + 3 * 4
    assert words == [words[0]] * 3
    assert answer.cut in (True, False)
    assert Price(input=1_000_000, output=4_000_000, as_of=date(2026, 11, 1)) == overshoot.PRICE


def test_minutes_are_for_a_bench_that_counts_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["hop", "--minutes", "2"])

    assert refused.value.code == 2
    assert "--minutes is for soak" in capsys.readouterr().err


def test_the_list_names_every_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0

    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed[:-1]] == [bench.name for bench in ALL]
