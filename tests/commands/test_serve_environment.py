"""A server in an unfriendly environment: an ASCII locale, a proxy, few open files, odd folders."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys

import psutil
import pytest

import euclidesdb
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.processes import ServerProcess
from tests.support.waiting import wait_for

CONF = """\
[server]
address = 127.0.0.1:0
log_file_path = ~/Protokolle für Bücher/server.log
search_engine = exact
transport = grpcio
[models]
dir_path = ~/Modèles
[database]
db_path = ~/données
"""

FEW_OPEN_FILES = ("sh", "-c", 'ulimit -S -n 64 && exec "$@"', "sh")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    models = home / "Modèles"
    save_model(models, "größe")
    (models / "lost+found").mkdir()
    (models / ".snapshot").mkdir()
    # stat() of both fails, for root too
    (models / "unreadable").mkdir()
    (models / "unreadable" / "model.conf").symlink_to("x" * 300)
    os.mkdir(os.fsencode(models) + b"/caf\xe9")  # noqa: PTH102  not UTF-8
    (home / "euclidesdb.conf").write_text(CONF, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def environment(home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    ascii_locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    return {**kept, **ascii_locale, **proxy, "HOME": str(home)}


@pytest.fixture(scope="module")
def process(home, environment, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "stderr"
    arguments = ("-c", home / "euclidesdb.conf")
    with ServerProcess(
        *arguments, log=log, environment=environment, prefix=FEW_OPEN_FILES
    ) as process:
        process.address()
        yield process
    assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.fixture
def db(process):
    with euclidesdb.Client(process.address(), timeout=60) as db:
        yield db


def run(environment, *arguments):
    command = [sys.executable, "-m", "euclidesdb_server", *map(str, arguments)]
    return subprocess.run(
        command, env=environment, capture_output=True, timeout=100, check=False, encoding="utf-8"
    )


def test_paths_in_the_home_folder_and_in_any_script_are_used(db, home):
    db.add("é", image=encoded(noise(1)), models=["größe"])
    assert (home / "données" / "leveldb" / "CURRENT").is_file()
    log = (home / "Protokolle für Bücher" / "server.log").read_text(encoding="utf-8")
    messages = [json.loads(line)["message"] for line in log.splitlines()]
    assert any(message.startswith("model 'größe' is ready") for message in messages)
    assert "~" not in {entry.name for entry in home.iterdir()}


def test_a_folder_that_cannot_be_read_costs_itself_alone(db):
    models = {model.name: model for model in db.models()}
    assert models.keys() == {"größe", "unreadable", "caf\\udce9"}
    assert "File name too long" in models["unreadable"].reason
    assert "has no model.conf" in models["caf\\udce9"].reason
    assert models["größe"].state == "ready"


def test_a_command_reaches_the_server_and_prints_every_name(process, environment):
    done = run(environment, "models", "--address", process.address())
    assert (done.returncode, done.stderr) == (0, "")
    assert "größe" in done.stdout
    assert "caf\\udce9" in done.stdout


def test_a_message_about_a_path_in_any_script_is_printed(environment):
    done = run(environment, "verify", "--data", "nirgends-für-immer")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nirgends-für-immer" in done.stderr


def test_the_limit_of_open_files_is_raised(process):
    soft, hard = psutil.Process(process.pid).rlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


def test_connections_that_cannot_be_accepted_are_logged(process, home):
    server = psutil.Process(process.pid)
    limits = server.rlimit(resource.RLIMIT_NOFILE)
    log = home / "Protokolle für Bücher" / "server.log"
    host, port = process.address().split(":")
    try:
        server.rlimit(resource.RLIMIT_NOFILE, (server.num_fds() + 4, limits[1]))
        with contextlib.ExitStack() as connections:
            for _ in range(8):
                connections.enter_context(socket.create_connection((host, int(port)), timeout=20))
            wait_for(lambda: "no new connection can be accepted" in log.read_text(), "the log")
    finally:
        server.rlimit(resource.RLIMIT_NOFILE, limits)
    with euclidesdb.Client(process.address(), timeout=60) as db:
        db.models()
