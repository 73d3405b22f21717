"""A property opens no socket and starts no process either."""

from __future__ import annotations

from tests.unit.conftest import pytest_runtest_setup as pytest_runtest_setup
from tests.unit.conftest import pytest_runtest_teardown as pytest_runtest_teardown
