import pytest
from scripted_server import ScriptedServer

import euclidesdb


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def db(server):
    with euclidesdb.Client(server.target, timeout=20) as db:
        yield db
