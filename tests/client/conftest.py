import pytest

import euclidesdb
from tests.client.scripted_server import ScriptedServer


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def db(server):
    with euclidesdb.Client(server.target, timeout=20) as db:
        yield db


@pytest.fixture
def once(server):
    """A client that repeats no call."""
    with euclidesdb.Client(server.target, timeout=20, retries=0) as db:
        yield db
