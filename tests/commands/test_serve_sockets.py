"""Where a server cannot listen it says so at once, and leaves alone what is there."""

from __future__ import annotations

import pytest

import euclidesdb
from tests.support.processes import ServerProcess, failed_start


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, so that the path of a socket is short."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no-models").mkdir()
    return tmp_path


def test_a_socket_in_use_is_not_taken_over(here, tiny_models):
    first = ("--models", "no-models", "--data", "first", "--address", "unix:s")
    with ServerProcess(*first, log=here / "stderr") as process:
        address = process.address()
        second = ("--models", tiny_models, "--data", "second", "--address", address)
        code, message = failed_start(*second)
        assert (code, message) == (
            1,
            "euclidesdb: --address: cannot listen on 'unix:s': another server answers there\n",
        )
        assert not (here / "second").exists()
        with euclidesdb.Client(address, timeout=60) as db:
            assert db.models() == ()
        process.kill()
    # another one replaces what the kill left
    with (
        ServerProcess(*first, log=here / "stderr") as process,
        euclidesdb.Client(process.address(), timeout=60) as db,
    ):
        assert db.models() == ()


def test_an_unknown_host_is_named_with_the_default_port_before_models_load(here, tiny_models):
    code, message = failed_start(
        "--models", tiny_models, "--data", "data", "--address", "nowhere.invalid"
    )
    assert code == 1
    says = "--address: cannot listen on 'nowhere.invalid:50000': the host is unknown"
    assert message.startswith(f"euclidesdb: {says}")
    assert not (here / "data").exists()
