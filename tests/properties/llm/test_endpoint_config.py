"""`swarm.toml`: what it may say, what beats it, and the one clear error that each mistake in it is."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.errors import BadInput
from tests.unit.llm.test_endpoint_config import loaded


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(content=st.one_of(st.binary(max_size=300), st.text(alphabet="[]{}=\"'.\n#endpoitsurl 012abc-_", max_size=200)))
def test_whatever_a_file_holds_it_is_endpoints_or_bad_input(tmp_path: Path, content: bytes | str) -> None:
    try:
        loaded(tmp_path, content if isinstance(content, bytes) else f"[endpoints.box]\n{content}")
    except BadInput as error:
        assert "swarm.toml" in error.field  # noqa: PT017
