"""A real server per search engine, each with the same items; shared by every test that calls it."""

from __future__ import annotations

import pytest

from tests.rpc.engine_servers import Loaded


@pytest.fixture(scope="session")
def loaded(request, tiny_models, tmp_path_factory):
    """A `Loaded` server of the setting that the test is parametrized with."""
    data = tmp_path_factory.mktemp(request.param.name)
    with Loaded(request.param, data, tiny_models) as loaded:
        yield loaded
