"""Containers of the image: starts, health, memory, stops, kills, upgrades."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import euclidesdb
from tests.docker.conftest import readable
from tests.docker.engine import docker, inspected, printed_keys
from tests.project.tree import ROOT
from tests.store.formats.make import answers_of
from tests.support.images import encoded, noise
from tests.support.tls import Authority
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

FORMATS = ROOT / "tests" / "store" / "formats"
LOST = "WARNING: all items will be lost"
KILL_WORKERS = (
    "import psutil\n"
    "for each in psutil.process_iter():\n"
    "    if 'euclidesdb_server.worker' in each.cmdline(): each.kill()"
)


def image_of(number):
    return noise(number, 28, "L")


def test_a_key_is_made_once_and_nothing_is_answered_without_it(run):
    first = run()
    first.wait()
    assert first.python("import os; print(os.getuid())").strip() == "10001"
    assert len(printed_keys(first.name)) == 1
    with first.client() as client:
        client.add("a", image=image_of(1), models=["digits"])
        found = client.find_similar(image=image_of(1), model="digits")["digits"]
        assert [item.id for item in found] == ["a"]
    for wrong in ("", f"euclidesdb_{'0' * 8}_{'A' * 43}"):
        with (
            euclidesdb.Client(first.address, api_key=wrong) as client,
            pytest.raises(euclidesdb.Unauthenticated),
        ):
            client.models()
    docker("stop", first.name)
    assert inspected(first.name)["State"]["ExitCode"] == 0
    second = run()
    second.key = first.key
    second.wait()
    assert printed_keys(second.name) == []
    with second.client() as client:
        assert client.count() == 1
    for container in (first, second):
        assert LOST not in docker("logs", container.name)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "a volume without a name"),
        (["--tmpfs=/data:uid=10001"], "it is in memory"),
    ],
)
def test_without_a_volume_it_warns_loudly_at_the_start(run, options, why):
    container = run(volume=None, options=options)
    container.wait()
    log = docker("logs", container.name)
    assert LOST in log
    assert why in log


def test_the_health_check_knows_a_dead_worker(run, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models" / "digits", models / "digits")
    readable(models)
    container = run(options=[f"--volume={models}:/models:ro"])
    container.wait()
    program = models / "digits" / "digits.pt"
    program.rename(program.with_suffix(".away"))  # so that no other worker starts
    container.python(KILL_WORKERS)
    container.wait("unhealthy")
    assert inspected(container.name)["State"]["Running"]
    program.with_suffix(".away").rename(program)
    docker("kill", "--signal=HUP", container.name)
    container.wait("healthy")


def test_the_health_check_works_with_proxies_keys_and_tls(run, tmp_path):
    cert, key = Authority(tmp_path).issue()
    config = (ROOT / "docker" / "euclidesdb.conf").read_text(encoding="utf-8")
    (tmp_path / "tls.conf").write_text(
        config + "\n[tls]\ncert = /etc/euclidesdb/tls/server.crt\n"
        "key = /etc/euclidesdb/tls/server.key\n"
    )
    folder = readable(tmp_path)
    proxy = "http://127.0.0.1:1"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "grpc_proxy", "GRPC_PROXY")
    container = run(
        environment=dict.fromkeys(names, proxy),
        options=[
            f"--volume={folder}/tls.conf:/etc/euclidesdb/euclidesdb.conf:ro",
            f"--volume={folder / cert.name}:/etc/euclidesdb/tls/server.crt:ro",
            f"--volume={folder / key.name}:/etc/euclidesdb/tls/server.key:ro",
        ],
    )
    container.wait()
    with container.client(ca=tmp_path / "ca.pem") as client:
        assert [model.state for model in client.models()] == ["ready"]


def test_with_512_mib_what_does_not_fit_is_refused_and_the_server_lives(run):
    container = run()
    container.wait()
    process = inspected(container.name)["State"]["Pid"]
    assert "max_bytes_in_flight is lowered to 33554432" in docker("logs", container.name)
    payloads = (
        encoded(Image.new("RGB", (7900, 7900))),  # 187 MB of pixels
        encoded(noise(3, 2300)),  # 15 MiB
    )
    together = threading.Barrier(24)

    def add(number):
        together.wait()
        try:
            with container.client(timeout=200, retries=0) as client:
                client.add(f"{number}", image=payloads[number % 8 > 0], models=["digits"])
        except euclidesdb.EuclidesDBError as error:
            return error
        return None

    with ThreadPoolExecutor(24) as threads:
        outcomes = list(threads.map(add, range(24)))
    refused = [each for each in outcomes if each is not None]
    assert any(isinstance(each, euclidesdb.Overloaded) for each in refused), outcomes
    assert all(each.reason not in ("", "internal") for each in refused), refused
    state = inspected(container.name)["State"]
    assert (state["Running"], state["Pid"]) == (True, process)
    container.wait()
    with container.client() as client:
        client.add("small", image=image_of(1), models=["digits"])
        stored = [each for each in refused if isinstance(each, euclidesdb.EmbeddingFailed)]
        assert client.count() == 1 + len(outcomes) - len(refused) + len(stored)


class Load:
    """Clients that add images, one a call, until the server is gone; what was acknowledged."""

    def __init__(self, container):
        self.acknowledged = []
        self._threads = [threading.Thread(target=self._add, args=(container, n)) for n in range(4)]
        for thread in self._threads:
            thread.start()
        wait_for(lambda: len(self.acknowledged) > 100, "a hundred adds")

    def join(self):
        for thread in self._threads:
            thread.join()

    def _add(self, container, number):
        with container.client(retries=0, timeout=30) as client:
            for at in range(1_000_000):
                item_id = f"{number}-{at}"
                try:
                    client.add(item_id, image=image_of(at), models=["digits"])
                except euclidesdb.EuclidesDBError:
                    return
                self.acknowledged.append(item_id)


@pytest.mark.parametrize("command", ["stop", "kill"])
def test_nothing_acknowledged_is_lost_when_it_is_stopped_or_killed_under_load(run, command):
    container = run()
    container.wait()
    before: set[str] = set()
    for _ in range(2):
        load = Load(container)
        docker(command, container.name)
        load.join()
        code = inspected(container.name)["State"]["ExitCode"]
        assert code == (0 if command == "stop" else 137)
        before |= set(load.acknowledged)
        container.start()
        with container.client() as client:
            stored = {item.id for item in client.items()}
            assert before <= stored
            client.remove_many(sorted(before))
            before = set()


@pytest.mark.parametrize("name", ["1", "euclidesdb"])
def test_a_volume_of_an_earlier_format_is_upgraded(run, image, volume, name, tmp_path):
    source = readable(Path(shutil.copytree(FORMATS / name, tmp_path / "old")))
    docker(
        "run", "--rm", "--user=0", f"--volume={volume}:/data", f"--volume={source}:/old:ro",
        "--entrypoint=sh", image, "-c",
        "cp -r /old/data /data/db && chown -R euclidesdb:euclidesdb /data",
    )  # fmt: skip
    expected = json.loads((source / "answers.json").read_text(encoding="utf-8"))
    key = ""
    for _ in range(2):  # by the image that upgrades it, and as that has left it
        container = run(options=[f"--volume={source}/models:/models:ro"])
        container.key = key
        container.wait()
        key = container.key
        with container.client() as client:
            assert answers_of(client) == expected
        docker("stop", container.name)
