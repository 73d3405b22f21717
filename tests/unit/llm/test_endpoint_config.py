"""`swarm.toml`: what it may say, what beats it, and the one clear error that each mistake in it is."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pytest

from swarm.errors import BadInput, ModelRefused
from swarm.llm.endpoint_config import MAX_FILE
from swarm.llm.endpoints import OFFICIAL, Endpoints
from swarm.llm.openai.models import OpenAIModels
from swarm.types.card import Limits

KEY = "sk-secret-1234567890"
WHOLE = """
[endpoints.box]
url = "http://box:8080/v1/"
key_env = "BOX_KEY"
model = "org/small"
api = "responses"
headers = { OpenAI-Organization = "org-1" }
headers_env = { api-key = "BOX_TOKEN" }
query = { api-version = "2026-01-01" }
proxy = "http://proxy:3128"
connections = 8
timeouts = { connect = 2, first_token = 20.5, between_tokens = 10, total = 120 }
limits = { concurrency = 4, requests_per_minute = 600 }
prices = { input = 0.15, output = 0.6, cached = 0.075, max_output = 16_000, as_of = 2026-11-01 }

[endpoints.plain]
url = "http://plain/v1"
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "swarm.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def loaded(folder: Path, text: str | bytes, **environ: str) -> Endpoints:
    return Endpoints.load({"SWARM_CONFIG": str(written(folder, text)), **environ})


def problem(folder: Path, text: str | bytes) -> str:
    """The one error of a file, which names it and shows no key."""
    with pytest.raises(BadInput) as caught:
        loaded(folder, text)
    assert "swarm.toml" in caught.value.field
    assert not any(shown in str(caught.value) for shown in (KEY, "hunter2"))
    assert len(str(caught.value)) < 600
    return str(caught.value).replace(str(folder), "")


def test_a_table_says_all_there_is_to_know_of_an_endpoint(tmp_path: Path) -> None:
    box = loaded(tmp_path, WHOLE, BOX_KEY=KEY, BOX_TOKEN="tok-secret").get("box")

    assert (box.url, box.key, box.model, box.api) == ("http://box:8080/v1", KEY, "org/small", "responses")
    assert box.headers == {"OpenAI-Organization": "org-1", "api-key": "tok-secret"}
    assert (box.query, box.proxy, box.connections) == ({"api-version": "2026-01-01"}, "http://proxy:3128", 8)
    times = box.timeouts
    assert (times.connect, times.first_token, times.between_tokens, times.total) == (2, 20.5, 10, 120)


def test_limits_are_those_of_endpoints_and_prices_those_of_default_models(tmp_path: Path) -> None:
    found = loaded(tmp_path, WHOLE)

    assert found.limits == {"box": Limits(concurrency=4, requests_per_minute=600)}
    assert found.prices == {
        "box/org/small": {
            "input": 150_000,
            "output": 600_000,
            "cached": 75_000,
            "max_output": 16_000,
            "as_of": date(2026, 11, 1),
        }
    }


def test_no_secret_shows_in_an_endpoint_or_in_what_it_says(tmp_path: Path) -> None:
    box = loaded(tmp_path, WHOLE, BOX_KEY=KEY, BOX_TOKEN="tok-secret").get("box")

    assert KEY not in repr(box)
    assert "tok-secret" not in repr(box)
    assert box.clean(f"no: {KEY}, tok-secret") == "no: ***, ***"
    signed = Endpoints({"SWARM_ENDPOINT_BOX_URL": "https://me-myself:hunter2@box/v1"}).get("box")
    assert (signed.host, signed.clean("no: me-myself, hunter2")) == ("box", "no: ***, ***")


def test_what_is_not_said_is_as_it_always_was(tmp_path: Path) -> None:
    plain = loaded(tmp_path, WHOLE).get("plain")

    assert (plain.key, plain.model, plain.api, plain.headers) == ("", "", "chat", {})
    assert (plain.timeouts.connect, plain.timeouts.total) == (5, None)


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"BOX_URL has a query; put that into `query` of \[endpoints.box\]"):
        Endpoints({"SWARM_ENDPOINT_BOX_URL": f"http://other/v1?key={KEY}"}).get("box")
    own = {"SWARM_ENDPOINT_BOX_URL": "http://other/v1", "SWARM_ENDPOINT_BOX_KEY": "mine", "BOX_TOKEN": "t"}
    box = loaded(tmp_path, WHOLE, BOX_KEY=KEY, **own).get("box")

    assert (box.url, box.key, box.model) == ("http://other/v1", "mine", "org/small")


def test_the_file_here_is_read_if_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Endpoints.load({}).names == ()

    written(tmp_path, WHOLE)
    assert Endpoints.load({}).names == ("box", "plain")
    assert Endpoints.load({"SWARM_CONFIG": " "}).names == ("box", "plain")


def test_a_key_alone_or_a_url_alone_is_enough(tmp_path: Path) -> None:
    assert Endpoints({"OPENAI_API_KEY": KEY}).get("openai").url == OFFICIAL
    assert Endpoints({"OPENAI_BASE_URL": "http://localhost:8080/v1"}).get("openai").key == ""
    assert loaded(tmp_path, "[endpoints.openai]\nmodel = 'big'\n", OPENAI_API_KEY=KEY).get("openai").url == OFFICIAL
    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        loaded(tmp_path, "[endpoints.openai]\nmodel = 'big'\n").get("openai")


def test_the_names_are_those_of_the_file_and_the_environment(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": KEY, "SWARM_ENDPOINT_MY_BOX_URL": "http://my/v1", "SWARM_ENDPOINT_EMPTY_URL": ""}

    assert loaded(tmp_path, WHOLE, **environ).names == ("box", "my-box", "openai", "plain")
    assert loaded(tmp_path, '[endpoints.my_box]\nurl = "http://a/v1"', **environ).names == ("my_box", "openai")


def test_a_model_named_by_its_endpoint_is_its_default_one(tmp_path: Path) -> None:
    found = loaded(tmp_path, WHOLE, BOX_KEY=KEY, BOX_TOKEN="t")

    assert [found.full(name) for name in ("box", "box/other", "plain", "nowhere", "local/planner")] == [
        "box/org/small", "box/other", "plain", "nowhere", "local/planner",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("missing", "variable"), [({"BOX_TOKEN": "t"}, "BOX_KEY"), ({"BOX_KEY": "k"}, "BOX_TOKEN"), ({}, "BOX_")]
)
def test_a_secret_that_the_environment_lacks_is_told_when_it_is_needed(
    tmp_path: Path, missing: dict[str, str], variable: str
) -> None:
    found = loaded(tmp_path, WHOLE, **missing)

    with pytest.raises(ModelRefused, match=f"{variable}.*swarm.toml names, is not set"):
        found.get("box")
    assert found.get("plain").url == "http://plain/v1"


@pytest.mark.parametrize("value", ["secret\n1234", "s\u2026ecret"])
def test_a_secret_that_cannot_be_sent_is_refused_by_its_name(tmp_path: Path, value: str) -> None:
    for environ in ({"BOX_KEY": value, "BOX_TOKEN": "t"}, {"BOX_KEY": "k", "BOX_TOKEN": value}):
        with pytest.raises(ModelRefused, match=r"BOX_(KEY|TOKEN) has a character") as caught:
            loaded(tmp_path, WHOLE, **environ).get("box")
        assert "ecret" not in str(caught.value)


WRONG = {
    'ur = "http://x/v1"': ("[endpoints.box] ur: unknown", "did you mean 'url'?"),
    'timeouts = { conect = 2 }': ("[endpoints.box] timeouts.conect: unknown", "did you mean 'connect'?"),
    "limits = { rpm = 2 }": ("[endpoints.box] limits.rpm: unknown", "known are concurrency"),
    "prices = { input = 1, outputs = 2 }": ("[endpoints.box] prices.outputs: unknown", "did you mean 'output'?"),
    f'key = "{KEY}"': ("[endpoints.box] key: unknown", 'key_env = "NAME"'),
    f'api_key = "{KEY}"': ("[endpoints.box] api_key: unknown", 'key_env = "NAME"'),
    f'key_env = "{KEY}"': ("[endpoints.box] key_env: not the name of a variable", "environment"),
    f'headers_env = {{ api-key = "{KEY}" }}': ("[endpoints.box] headers_env.api-key: not the name of a variable", ""),
    f'headers = {{ Authorization = "Bearer {KEY}" }}': ("'Authorization' holds a secret", "headers_env"),
    f'headers = {{ x-api-key = "{KEY}" }}': ("'x-api-key' holds a secret", "headers_env"),
    f'headers = {{ apikey = "{KEY}" }}': ("'apikey' holds a secret", "headers_env"),
    f'headers = {{ X-Auth = "{KEY}" }}': ("'X-Auth' holds a secret", "headers_env"),
    'headers = { "a b" = "c" }': ("'a b' is not the name of a header", ""),
    'headers = { "a" = "c\\n" }': ("'a' has a character", ""),
    f'query = {{ key = "{KEY}" }}': ("'key' holds a secret", "headers_env"),
    'connections = "8"': ("[endpoints.box] connections: must be a valid integer", ""),
    "connections = 0": ("[endpoints.box] connections: must be at least 1", "raise it"),
    "model = 3": ("[endpoints.box] model: must be a valid string", ""),
    'model = "a b"': ("[endpoints.box] model: not the name of a model", ""),
    'api = "chats"': ("[endpoints.box] api: must be 'chat' or 'responses'", ""),
    'timeouts = { total = "1m" }': ("[endpoints.box] timeouts.total: must be a valid number", ""),
    "timeouts = { total = 0 }": ("[endpoints.box] timeouts.total: must be more than 0", ""),
    "timeouts = { total = inf }": ("[endpoints.box] timeouts.total: must be", ""),
    "timeouts = { total = nan }": ("[endpoints.box] timeouts.total: must be", ""),
    "timeouts = 5": ("[endpoints.box] timeouts: must be", ""),
    "limits = {}": ("[endpoints.box] limits: it has none", ""),
    "limits = { burst = 2 }": ("[endpoints.box] limits.burst: it needs a rate limit", "add requests_per"),
    "limits = { concurrency = true }": ("[endpoints.box] limits.concurrency: must be a valid integer", ""),
    "prices = { input = 1 }": ("[endpoints.box] prices.output: missing", ""),
    "prices = { input = 1, output = -1 }": ("[endpoints.box] prices.output: must be at least 0", ""),
    "prices = { input = 1, output = 1 }": ("[endpoints.box] prices: they are those of the default model", "add model"),
    'model = "m"\nprices = { input = 1e30, output = 1 }': ("[endpoints.box] prices.input", "is no price"),
    'proxy = "socks"': ("[endpoints.box] proxy: not an http or https URL", ""),
    'proxy = "http://me:hunter2@proxy"': ("[endpoints.box] proxy: it holds a user or a password", "HTTPS_PROXY"),
    'ca_certs = "nowhere.pem"': ("[endpoints.box] ca_certs: /nowhere.pem cannot be used", ""),
    'ca_certs = "swarm.toml"': ("[endpoints.box] ca_certs: /swarm.toml cannot be used (no certificates", ""),
}  # fmt: skip


@pytest.mark.parametrize(("line", "said"), WRONG.items(), ids=list(WRONG))
def test_a_mistake_names_the_file_the_table_the_field_and_the_remedy(
    tmp_path: Path, line: str, said: tuple[str, str]
) -> None:
    told = problem(tmp_path, f'[endpoints.box]\nurl = "http://box/v1"\n{line}\n')

    assert told.startswith("/swarm.toml")
    assert said[0] in told
    assert said[1] in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[endpoints.box]\nmodel = "m"', "[endpoints.box] url: missing; add it, or set SWARM_ENDPOINT_BOX_URL"),
        ('[endpoints.box]\nurl = "box:8080"', "[endpoints.box] url: not an http or https URL"),
        ('[endpoints.box]\nurl = "http://me:hunter2@box/v1"', "[endpoints.box] url: it holds a user or a password"),
        (f'[endpoints.box]\nurl = "http://box/v1?key={KEY}"', "[endpoints.box] url: it has a query; put that into"),
        ('[endpoints.local]\nurl = "http://a/v1"', "[endpoints.local]: not the name of an endpoint"),
        ('[endpoints."My Box"]\nurl = "http://a/v1"', "[endpoints.My Box]: not the name of an endpoint"),
        ("[endpoint.box]\n", "endpoint: unknown; did you mean 'endpoints'?"),
        ("endpoints = 3", "endpoints: must be"),
        ("[endpoints]\nbox = 3", "[endpoints.box]: must be"),
        ("endpoints = [", "it is not TOML"),
        (f'key = "{KEY}\n', "it is not TOML"),
        (b"a = '\xff\xfe'", "it is not UTF-8"),
        ("a = " + "[" * 100_000, "it cannot be parsed"),
        ("#" * (MAX_FILE + 1), f"{MAX_FILE + 1:,} bytes"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_as_a_whole(tmp_path: Path, text: str | bytes, said: str) -> None:
    begun = time.process_time()
    if text:
        assert said in problem(tmp_path, text)
    else:
        assert loaded(tmp_path, text).names == ()
    assert time.process_time() - begun < 3


def test_a_file_that_cannot_be_read_is_told_by_its_path(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(BadInput, match=r"cannot be read \(.*SWARM_CONFIG"):
            Endpoints.load({"SWARM_CONFIG": str(path)})


def test_a_process_learns_of_a_broken_file_before_its_first_call(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\[endpoints.box\] ur: unknown"):
        OpenAIModels({"SWARM_CONFIG": str(written(tmp_path, '[endpoints.box]\nur = "x"'))})
