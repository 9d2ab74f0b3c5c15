"""Where a server cannot listen it says so at once, and leaves alone what is there."""

from __future__ import annotations

import subprocess

import pytest

import euclidesdb
from tests.support.processes import ServerProcess, failed_start, serve_command


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


@pytest.mark.parametrize("turns", [3, pytest.param(20, marks=pytest.mark.long)])
def test_of_two_servers_that_start_at_once_on_a_socket_one_serves(here, turns):
    for turn in range(turns):
        processes = [
            subprocess.Popen(
                serve_command(
                    *("--models", "no-models", "--data", f"{turn}-{each}", "--address", "unix:s")
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for each in "ab"
        ]
        lines = [process.stdout.readline() for process in processes]
        assert sorted(lines) == ["", "EuclidesDB is serving on unix:s\n"]
        refused, serving = sorted(processes, key=lambda each: lines[processes.index(each)])
        _, message = refused.communicate(timeout=100)
        assert refused.returncode == 1
        assert "--address: cannot listen on 'unix:s': another server " in message
        with euclidesdb.Client("unix:s", timeout=60) as db:
            assert db.models() == ()
        # every other time the socket and its lock are left behind
        (serving.kill if turn % 2 else serving.terminate)()
        serving.communicate(timeout=100)
        assert (here / "s.lock").exists() == bool(turn % 2)


def test_an_unknown_host_is_named_with_the_default_port_before_models_load(here, tiny_models):
    code, message = failed_start(
        "--models", tiny_models, "--data", "data", "--address", "nowhere.invalid",
        "--allow-anonymous",
    )  # fmt: skip
    assert code == 1
    says = "--address: cannot listen on 'nowhere.invalid:50000': the host is unknown"
    assert message.startswith(f"euclidesdb: {says}")
    assert not (here / "data").exists()
