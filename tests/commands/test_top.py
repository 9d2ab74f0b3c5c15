"""`euclidesdb top` and the numbers that it shows, of a real server."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import euclidesdb
from euclidesdb import Histogram
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

TIMEOUT = 100


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("top")
    save_vector_space(folder / "models", "given")
    save_vector_space(folder / "models", "[red]odd")
    with (
        start_server(folder / "data", folder / "models") as server,
        euclidesdb.Client(server.address) as client,
    ):
        client.add("a", vectors={"given": np.ones(3, np.float32)})
        with pytest.raises(euclidesdb.UnknownItem):
            client.get("missing")
        yield server, client


def command(*arguments):
    return [sys.executable, "-m", "euclidesdb_server", *arguments]


def run(*arguments):
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def test_the_numbers_of_a_server(server):
    _, client = server
    stats = client.stats()
    assert stats.version == euclidesdb.__version__
    assert stats.items == 1
    assert stats.uptime_seconds > 0
    assert stats.is_writable
    calls = {each.method.rpartition("/")[2]: each for each in stats.calls}
    assert calls["AddItem"].by_status == {"OK": 1}
    assert calls["GetItem"].by_status == {"NOT_FOUND": 1}
    assert calls["AddItem"].seconds.count == 1
    assert stats.sync_writes.count == stats.sync_seconds.count > 0
    given = next(model for model in stats.models if model.name == "given")
    assert (given.state, given.items, given.unindexed_rows, given.recall) == ("ready", 1, 1, 1.0)
    assert (stats.cache_hits, stats.cache_misses) == (0, 0)
    assert min(stats.memory_bytes, stats.disk_free_bytes, stats.data_bytes) > 0


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((0, 0, 0), 0.5, None),
        ((10, 0, 0), 0.5, 0.5),
        ((0, 10, 0), 0.5, 1.5),
        ((5, 5, 0), 0.99, 1.98),
        ((0, 0, 3), 0.5, 2.0),
        ((0, 1, 1), 0.0, 1.0),
    ],
)
def test_a_quantile_lies_between_its_bounds(counts, share, expected):
    found = Histogram((1.0, 2.0), counts, 0.0).quantile(share)
    assert found == pytest.approx(expected)


def test_what_was_added_since_a_reading_is_all_if_the_server_began_anew():
    before, after = Histogram((1.0,), (5, 1), 3.0), Histogram((1.0,), (7, 1), 4.0)
    assert after.since(before) == Histogram((1.0,), (2, 0), 1.0)
    assert after.since(None) == after
    assert before.since(after) == before


def test_once_prints_what_happens_in_a_moment(server):
    served, _ = server
    done = run("top", "--once", "--interval", "0.3", "--address", served.address)
    assert done.returncode == 0, done.stderr
    assert "calls/s" in done.stdout
    assert "given" in done.stdout
    assert "[red]odd" in done.stdout, "a name is not markup"
    assert "\x1b" not in done.stdout


def test_json_has_an_object_for_each_moment(server):
    served, _ = server
    done = run("top", "--json", "--once", "--interval", "0.5", "--address", served.address)
    (line,) = done.stdout.splitlines()
    now = json.loads(line)
    assert now["calls_per_second"] > 0, "its own reading"
    (method,) = [each for each in now["methods"] if each["method"].endswith("/Stats")]
    assert 0 <= method["p50_seconds"] <= method["p99_seconds"]
    assert {model["name"] for model in now["models"]} == {"given", "[red]odd"}
    assert now["is_writable"] is True


def test_stats_tells_how_the_server_is(server):
    served, _ = server
    text = run("stats", "--address", served.address).stdout
    for words in ("1 item", "up for", "calls, of which", "memory: ", "index builds: 0 running"):
        assert words in text
    overview = json.loads(run("stats", "--json", "--address", served.address).stdout)
    assert overview["server"]["items"] == overview["items"] == 1
    assert overview["server"]["version"] == euclidesdb.__version__


def test_ctrl_c_ends_the_live_view_and_leaves_the_terminal_as_it_was(server):
    served, _ = server
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command("top", "--interval", "0.1", "--address", served.address),
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = read_until(ours, b"given")
        process.send_signal(signal.SIGINT)
        shown += read_until(ours, None)
        assert process.wait(TIMEOUT) == 0
    os.close(ours)
    assert b"\x1b[?1049h" in shown
    assert b"\x1b[?1049l" in shown, "the screen of before"
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is back"
    assert b"Traceback" not in shown


def read_until(terminal, wanted):
    """What a terminal shows, until it has shown `wanted`, or to the end."""
    shown = b""
    while wanted is None or wanted not in shown:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed
            return shown
        if not piece:
            return shown
        shown += piece
    return shown


def test_without_a_server_it_says_so():
    done = run("top", "--once", "--address", f"unix:{Path(os.devnull).parent}/no-such-socket")
    assert done.returncode == 1
    assert "no server answers" in done.stderr


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "x"])
def test_an_interval_that_is_none_is_refused(interval):
    done = run("top", "--once", "--interval", interval, "--address", "127.0.0.1:1")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
