"""submit, watch, answer, jobs, cancel over a Redis."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from swarm.cli import main
from tests.document_files import a_pdf
from tests.integration.test_cli_children import DEMO, environment, running, slow

__all__ = ["slow"]


class Cli:
    """Commands run in this process: quick, and as good where no signal and no second process is needed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: str, code: int = 0) -> str:
        found = main(args)
        self.out, self.err = self._capsys.readouterr()
        assert found == code, self.out + self.err
        assert "Traceback" not in self.err
        return self.out

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self(*args, "--json", code=code))

    def error(self, *args: str, code: int) -> Any:
        assert self(*args, "--json", code=code) == ""
        return json.loads(self.err)["error"]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, redis_url: str, prefix: str) -> Cli:
    monkeypatch.setenv("SWARM_REDIS_URL", redis_url)
    monkeypatch.setenv("SWARM_PREFIX", prefix)
    return Cli(capsys)


def test_a_job_from_submit_to_answer(cli: Cli, redis_url: str, prefix: str) -> None:
    with running("worker", "--catalog", str(DEMO), env=environment(REDIS_URL=redis_url, PREFIX=prefix)) as worker:
        worker.says("catalog_changed")
        job = cli("submit", "say hello", "--expert", "greeting").strip()
        events = [json.loads(text) for text in cli("watch", job, "--json").splitlines()]
        rest = [json.loads(text) for text in cli("watch", job, "--json", "--after", events[2]["id"]).splitlines()]
        none = cli("watch", job, "--after", events[-1]["id"])
        answer = cli.json("answer", job)
        lines = cli("watch", job).splitlines()
        (listed,) = cli.json("jobs")["jobs"]
        receipt = cli.json("cancel", job)

    assert [event["type"] for event in events][0::4] == ["accepted", "outcome"] or len(events) > 4
    assert events[-1] == events[-1] | {"type": "ended", "ending": "completed"}
    assert rest == events[3:]
    assert none == ""
    assert (answer["job"], answer["ending"], answer["segments"][0]["expert"]) == (job, "completed", "greeting")
    assert len(lines) == len(events)
    assert (listed["id"], listed["state"], listed["settled"], listed["subtasks"]) == (job, "completed", 1, 1)
    assert receipt["ending"] == "completed"


def test_a_cancel_gives_a_receipt_and_the_watcher_its_exit_code(
    cli: Cli, slow: Path, redis_url: str, prefix: str
) -> None:
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    args = ("worker", "--catalog", "cards", "--import", "slowly:Slow")
    with running(*args, env=env, cwd=slow) as worker:
        worker.says("catalog_changed")
        job = cli.json("submit", "sleep 60", "--expert", "slow", "--job-id", "mine")["job"]
        with running("watch", job, env=env) as watcher:
            watcher.says("started")
            receipt = cli.json("cancel", job)
            watched = watcher.end()
        answer = cli.json("answer", job, code=7)

    assert (receipt["ending"], receipt["stopped"]) == ("cancelled", ["t1:1"])
    assert (watched.code, answer["ending"]) == (7, "cancelled")
    assert watched.out.splitlines()[-1].split()[1:3] == ["ended", "cancelled,"]


def test_ctrl_c_only_stops_watching(cli: Cli, redis_url: str, prefix: str) -> None:
    cli("experts", "publish", str(DEMO))
    cli("submit", "hello", "--expert", "greeting", "--job-id", "j1")
    with running("watch", "j1", env=environment(REDIS_URL=redis_url, PREFIX=prefix)) as watcher:
        watcher.says("accepted")
        watcher.signal(signal.SIGINT)
        done = watcher.end()

    assert done.code == 130
    assert "swarm watch j1 --after 1-" in done.err
    assert "Traceback" not in done.err
    assert [job["state"] for job in cli.json("jobs", "--open")["jobs"]] == ["queued"]


def test_a_rejected_job_says_which_experts_there_are(cli: Cli, redis_url: str, prefix: str) -> None:
    with running("worker", "--catalog", str(DEMO), env=environment(REDIS_URL=redis_url, PREFIX=prefix)) as worker:
        worker.says("catalog_changed")
        out = cli("ask", "qwxz vbnk", code=1)

    assert "rejected" in out
    assert "refund-policy" in out


def test_the_same_id_is_the_same_job_and_another_request_under_it_is_refused(cli: Cli) -> None:
    cli("experts", "publish", str(DEMO))
    for _ in range(2):
        assert cli.json("submit", "hello", "--job-id", "j1") == {"job": "j1"}

    assert len(cli.json("jobs")["jobs"]) == 1
    assert cli.error("submit", "bye", "--job-id", "j1", code=2)["type"] == "JobConflict"


def test_a_full_swarm_says_when_to_come_back(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_MAX_OPEN", "1")
    cli("experts", "publish", str(DEMO))
    cli("submit", "hello")

    assert cli.error("submit", "hello", code=3) | {"message": ""} == {
        "type": "Busy", "message": "", "scope": "in all", "open_jobs": 1, "limit": 1, "retry_after": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["watch", "answer", "cancel"])
def test_a_job_that_is_not_there_has_its_own_code(cli: Cli, verb: str) -> None:
    assert cli.error(verb, "nope", code=5)["job"] == "nope"


def test_looking_for_an_answer_does_not_wait(cli: Cli) -> None:
    cli("experts", "publish", str(DEMO))
    cli("submit", "hello", "--job-id", "j1")

    assert cli.error("answer", "j1", "--timeout", "0", code=6)["type"] == "WaitTimeout"


def test_patience_that_ends_leaves_the_job(cli: Cli) -> None:
    cli("experts", "publish", str(DEMO))

    assert cli.error("ask", "hello", "--expert", "greeting", "--timeout", "50ms", code=6)["type"] == "WaitTimeout"
    assert [job["state"] for job in cli.json("jobs", "--open")["jobs"]] == ["queued"]


def test_options_may_stand_before_the_verb(cli: Cli, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    monkeypatch.delenv("SWARM_REDIS_URL")

    assert json.loads(cli("--json", "--redis", redis_url, "jobs")) == {"jobs": []}


def test_experts_are_published_and_listed(cli: Cli) -> None:
    assert cli.json("experts", "list") == {"catalog": None, "experts": []}
    published = cli.json("experts", "publish", str(DEMO))
    assert published["changed"]
    assert cli.json("experts", "publish", str(DEMO))["changed"] is False
    listed = cli.json("experts", "list")
    assert listed["catalog"] == published["catalog"]
    assert {card["kind"] for card in listed["experts"]} == {"instruction", "rag", "fine-tuned"}
    assert "refund-policy" in cli("experts", "list")


def test_files_of_a_documents_folder_that_are_left_out_are_named(cli: Cli, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (tmp_path / "desk.md").write_text(
        "---\nkind: rag\nmodel: local/extract\ndescription: Knows refunds.\ndocuments: docs/\n---\n"
    )
    (docs / "a.md").write_text("Refunds take 14 days.")
    (docs / "b.pdf").write_bytes(b"%PDF")
    (docs / "c.txt").write_bytes("Café".encode("cp1252"))
    (docs / "d.pdf").write_bytes(a_pdf([(11, 700, "Lamps are covered for two years.")], []))
    partly = "partly read: page 2 has no text: scanned?"

    for verb in ("check", "publish"):
        (documents,) = cli.json("experts", verb, str(tmp_path))["documents"]
        assert (documents["expert"], documents["read"]) == ("desk", 3)
        assert [left["path"] for left in documents["left_out"]] == ["docs/b.pdf"]
        assert documents["partly_read"] == [{"path": "docs/d.pdf", "reason": partly}]
        assert [warned["path"] for warned in documents["warnings"]] == ["docs/c.txt"]
        assert all(note["reason"] for note in documents["left_out"] + documents["warnings"])
        cli("experts", verb, str(tmp_path))
        assert "warning: desk: read 3, left out 1:\n  docs/b.pdf: is broken, or no PDF" in cli.err
        remark = "warning: desk: docs/c.txt: read as Windows-1252, as it is not UTF-8; save it as UTF-8\n"
        assert cli.err.endswith(f"{remark}warning: desk: docs/d.pdf: {partly}\n")

    (docs / "b.pdf").unlink()
    (docs / "d.pdf").unlink()
    cli("experts", "check", str(tmp_path))
    assert cli.err == remark, "nothing is left out"


def test_a_model_whose_endpoint_is_not_set_up_is_told_with_a_remedy_that_works(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = "---\nkind: instruction\nmodel: {}\ndescription: d\nfallback: [{}]\n---\nHello.\n"
    (tmp_path / "desk.md").write_text(card.format("box/small", "spare/small"))

    box, spare = cli.json("experts", "check", str(tmp_path))["models"]
    assert (box["expert"], box["model"], spare["model"]) == ("desk", "box/small", "spare/small")
    cli("experts", "check", str(tmp_path))
    assert "warning: desk: the endpoint 'box' is not set up; set SWARM_ENDPOINT_BOX_URL" in cli.err
    for each in (box, spare):
        monkeypatch.setenv(each["problem"].partition("; set ")[2].split()[0], "http://127.0.0.1:9/v1")
    assert cli.json("experts", "check", str(tmp_path))["models"] == []

    (tmp_path / "desk.md").write_text(card.format("gpt-6-luna", "box/small"))
    (named,) = cli.json("experts", "check", str(tmp_path))["models"]
    assert named["problem"].startswith(
        "'gpt-6-luna' is neither a model nor an endpoint that is set up; a model is named"
    )


def test_a_head_is_trained_and_its_accuracy_is_of_rows_held_out(cli: Cli, tmp_path: Path) -> None:
    words = {"late": "my parcel is late again", "broken": "it arrived broken and smashed"}
    rows = [{"text": f"{text} number {i}", "label": label} for i in range(20) for label, text in words.items()]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = cli.json("experts", "train", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "head.npz"))

    assert (report["rows"], report["labels"]) == (40, ["broken", "late"])
    assert report["held_out"] > 0
    assert report["accuracy"] > 0.9
    assert (tmp_path / "head.npz").stat().st_size == report["bytes"]


def test_all_rows_that_keep_a_head_from_being_trained_are_told(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("text,label\na,x\nb,\n,y\n" + "c,d,e\n" * 30)
    head = str(tmp_path / "head.npz")
    error = cli.error("experts", "train", str(source), "--out", head, code=2)
    told = error["message"].split("; rows.csv:")

    assert len(told) == 20
    assert told[0].startswith("rows.csv:3: has no label; fill it in, or remove the row")
    assert told[-1].endswith("; and 12 more rows are wrong")
    assert not Path(head).exists()


def test_all_jobs_of_a_tenant_are_cancelled_after_a_yes_or_with_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, redis_url: str, prefix: str
) -> None:
    cli("experts", "publish", str(DEMO))
    for _ in range(3):
        cli("submit", "hello", "--expert", "greeting", "--tenant", "acme")
    other = cli.json("submit", "hello", "--expert", "greeting")["job"]
    assert "add --yes" in cli.error("cancel", "--tenant", "acme", code=2)["message"]
    with running("worker", "--pool", "router", env=environment(REDIS_URL=redis_url, PREFIX=prefix)) as router:
        router.says("worker_started")
        found = cli.json("cancel", "--tenant", "acme", "--yes")
        assert [receipt["ending"] for receipt in found["receipts"]] == ["cancelled"] * 3
        assert cli("cancel", "--tenant", "acme") == "acme: no open jobs\n"
    assert [job["id"] for job in cli.json("jobs", "--open")["jobs"]] == [other]


def test_a_cancel_names_one_thing(cli: Cli) -> None:
    assert cli.error("cancel", code=2)["field"] == "job"
    assert cli.error("cancel", "j1", "--tenant", "acme", code=2)["field"] == "tenant"
    assert cli.error("cancel", "--tenant", "a:b", "--yes", code=2)["field"] == "tenant"
    assert cli.error("cancel", "j1", "--subtask", "t1", code=5)["job"] == "j1"


def test_one_subtask_is_cancelled_and_the_answer_says_so(cli: Cli, slow: Path, redis_url: str, prefix: str) -> None:
    plan = slow / "plan.json"
    steps = [{"id": name, "expert": "slow", "instruction": f"sleep {secs}"} for name, secs in (("a", 60), ("b", 1))]
    plan.write_text(json.dumps(steps))
    env = environment(REDIS_URL=redis_url, PREFIX=prefix)
    with running("worker", "--catalog", "cards", "--import", "slowly:Slow", env=env, cwd=slow) as worker:
        worker.says("catalog_changed")
        job = cli.json("submit", "go", "--plan", str(plan))["job"]
        assert "it has: a, b" in cli.error("cancel", job, "--subtask", "c", code=2)["message"]
        words = cli("cancel", job, "--subtask", "a")
        out = cli("answer", job, code=8)

    assert words.splitlines()[0] == f"a of {job} is cancelled"
    assert "missing: a (slow): cancelled on request" in out
    assert "1 of 2 subtasks were solved, 1 cancelled on request" in out
