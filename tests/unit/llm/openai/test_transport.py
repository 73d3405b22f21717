"""Which limit of a call runs out first, and what is told of a redirect."""

from __future__ import annotations

import pytest

from swarm.errors import ModelRefused
from swarm.llm.endpoint_config import Timeouts
from swarm.llm.endpoints import Endpoint
from swarm.llm.openai.connection import refused
from swarm.llm.openai.response_parser import ServerError
from swarm.llm.openai.timeouts import CallTimeouts

KEY = "sk-secret-1234567890"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (f"https://me:{KEY}@new.example:8443/v1/{KEY}?key={KEY}", "it redirects to https://new.example:8443: if"),
        (f"//{KEY}.new.example/", "it redirects to http://***.new.example: if"),
        ("/api/v1/chat/completions", "it redirects within 127.0.0.1:"),
        ("", "check the URL of the endpoint 'box'"),
        ("http://[::1", "check the URL of the endpoint 'box'"),
        ("mailto:me@example.org", "check the URL of the endpoint 'box'"),
        ("\x01" * 9_000, "it redirects within 127.0.0.1:"),
    ],
)  # fmt: skip
def test_of_where_a_redirect_leads_the_host_is_told(location: str, said: str) -> None:
    where = Endpoint("box", "http://127.0.0.1:9/v1", KEY)
    found = refused("box/small", where, ServerError(308, "", {"location": location}))

    assert isinstance(found, ModelRefused)
    assert said in str(found)
    assert KEY not in str(found)
    assert len(str(found)) < 300


def test_the_limit_that_runs_out_first_is_the_one_that_is_named() -> None:
    patience = CallTimeouts.of(Timeouts(first_token=2, between_tokens=1, total=10), 60, 100.0)
    assert (patience.until, patience.connect(100.0), patience.connect(109.0)) == (110, 5, 0.95)

    patience.sends(100.0, streamed=True)
    assert (patience.until, patience.late("box")[:29]) == (102, "no first token within 2 s (ti")
    assert (patience.connect(100.0), patience.free(100.0)) == (1.9, 1.9)
    assert patience.unconnected("box") == "within 2 s (timeouts.first_token of the endpoint 'box')"
    patience.came(101.5)
    assert (patience.until, patience.late("box")[:31]) == (102.5, "no further token within 1 s (ti")
    patience.came(109.5)
    assert (patience.until, patience.late("box")[:26]) == (110, "no answer within 10 s (tim")
