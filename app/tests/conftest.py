"""Fixtures for the service's tests."""

import sys
from pathlib import Path

import pytest

# The service is a folder, not an installed package: find it wherever pytest was started.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scoring import create_app  # noqa: E402


@pytest.fixture
def app():
    return create_app({"TESTING": True, "VERSION": "test", "GREETING": "hi"})


@pytest.fixture
def client(app):
    return app.test_client()
