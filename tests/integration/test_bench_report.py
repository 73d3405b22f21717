"""The report of a bench names the machine and the versions that it ran on."""

import json
from typing import Any

from tests.bench.benches import BY_NAME
from tests.bench.markdown import markdown
from tests.bench.report import Found, Metric, report


def test_a_report_is_one_json_object_with_the_promised_keys() -> None:
    found = json.loads(json.dumps(_report("hop", hop_ms=[2.0, 1.0, 4.5])))

    assert list(found) == ["bench", "machine", "versions", "rounds", "results", "notes"]
    assert (found["bench"], found["rounds"]) == ("hop", 3)
    assert found["results"] == {"hop_ms": {"median": 2.0, "min": 1.0, "max": 4.5, "unit": "ms"}}
    assert found["machine"]["cores"] >= 1
    assert len(found["machine"]["load"]) == 3
    assert {"cpu", "memory_gb", "platform"} <= found["machine"].keys()
    assert {"python", "redis-server", "redis", "arq"} <= found["versions"].keys()


def test_the_markdown_table_has_the_bars_and_the_peers_beside_them() -> None:
    told = markdown(
        [_report("hop", hop_ms=[2.0, 1.0, 4.5]), _report("peers", **{"arq.hop_ms": [502.4], "saq-best.hop_ms": [3.0]})],
        BY_NAME,
        {"dags": "no shapes"},
    ).splitlines()

    assert told[0] == "| what | median (least – greatest) | bar | aim | peers |"
    assert told[2] == (
        "| queue hop: enqueue, idle worker, outcome seen | 2 ms (1 – 4.5) | ≤ 2.5 | – | arq 502, SAQ push 3 |"
    )
    assert told[4] == "Not measured: dags: no shapes"
    assert "redis-server" in told[-1]


def test_notes_go_with_a_report() -> None:
    assert report("hop", 1, Found({"hop_ms": [1.0]}, ("said",)), {"hop_ms": Metric("ms")})["notes"] == ["said"]


def _report(name: str, **samples: list[float]) -> dict[str, Any]:
    return report(name, 3, Found(samples), BY_NAME[name].metrics)
