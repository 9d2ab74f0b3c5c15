"""A real server with a model for each search engine; shared by every test that calls it."""

from __future__ import annotations

import pytest

from tests.rpc.engine_servers import EngineServer, Loaded


@pytest.fixture(scope="session")
def engine_server(tmp_path_factory):
    with EngineServer(tmp_path_factory.mktemp("engines")) as server:
        yield server


@pytest.fixture
def loaded(request, engine_server):
    """The `Loaded` space of the setting that the test is parametrized with."""
    return Loaded(request.param, engine_server)
