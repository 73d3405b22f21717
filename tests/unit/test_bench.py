"""The form in which benches report. What they measure is theirs; no time is asserted on."""

import json

import pytest

from tests.bench.benches import ALL, BY_NAME
from tests.bench.report import most_at_once, p95, report, summary
from tests.bench.rig import naps


def test_a_report_is_one_json_object_with_the_promised_keys() -> None:
    found = json.loads(json.dumps(report("hop", 3, {"hop_ms": [2.0, 1.0, 4.5]}, {"hop_ms": "ms"})))

    assert list(found) == ["bench", "machine", "versions", "rounds", "results"]
    assert (found["bench"], found["rounds"]) == ("hop", 3)
    assert found["results"] == {"hop_ms": {"median": 2.0, "min": 1.0, "max": 4.5, "unit": "ms"}}
    assert found["machine"]["cores"] >= 1
    assert len(found["machine"]["load"]) == 3
    assert {"python", "redis-server", "redis", "arq"} <= found["versions"].keys()


def test_every_bench_has_its_metric() -> None:
    assert {bench.name: next(iter(bench.units)) for bench in ALL} == {
        "hop": "hop_ms",
        "job": "job_ms",
        "chain": "chain5_ms",
        "fanout": "over_ideal_ms",
        "throughput": "subtasks_per_s",
        "slots": "busy",
        "dag": "seconds",
        "waiting": "bytes_per_job",
        "recovery": "seconds",
        "cancel": "ms",
        "streaming": "gain",
        "planner": "nestful_node",
        "import": "ms",
        "idle": "rss_mb",
    }
    assert len(BY_NAME) == len(ALL)
    assert all(bench.bars.keys() <= bench.units.keys() for bench in ALL)


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
