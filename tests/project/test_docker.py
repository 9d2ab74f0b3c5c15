"""The Dockerfile names what exists, and the entry point knows what outlives a container.

`make docker-test` tests the image itself.
"""

from __future__ import annotations

import importlib.util
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from euclidesdb_server.config.ini import read_ini
from euclidesdb_server.config.server import load_config
from euclidesdb_server.engines.registry import engine_names
from tests.project.tree import ROOT

DOCKER = ROOT / "docker"
ID = "0123456789abcdef" * 4
ROOT_LINE = "546 448 0:48 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a,upperdir=/b"


def dockerfile():
    return (DOCKER / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def entrypoint():
    spec = importlib.util.spec_from_file_location("entrypoint", DOCKER / "entrypoint.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_is_read_as_the_server_reads_it(entrypoint, tmp_path):
    file = tmp_path / "euclidesdb.conf"
    file.write_text("\ufeff[Database]\nDB_path = /x ; here\n[AUTH]\nkeys_file = /data/keys/k\n")
    found = {"database": {"db_path": "/x"}, "auth": {"keys_file": "/data/keys/k"}}
    assert entrypoint._settings(file) == read_ini(file) == found


def test_the_modules_that_the_dockerfile_imports_exist():
    names = re.findall(r"euclidesdb_server\.[\w.]+", dockerfile())
    assert "euclidesdb_server.app" in names
    assert not [name for name in names if find_spec(name) is None]


def test_the_files_that_the_dockerfile_copies_exist():
    copied = [
        source
        for arguments in re.findall(r"^COPY (?!--from)(.+)$", dockerfile(), re.MULTILINE)
        for source in arguments.split()[:-1]
    ]
    assert "constraints.txt" in copied
    assert not [source for source in copied if not (ROOT / source).exists()]


@pytest.mark.parametrize("name", ["euclidesdb.conf", "compose.conf"])
def test_the_server_takes_the_image_s_configurations(name):
    config = load_config(DOCKER / name, engine_names())
    assert config.server.address == "0.0.0.0:50000"
    assert config.database.db_path == Path("/data/db")
    assert config.auth.keys_file == Path("/data/keys/keys.json")


def test_compose_runs_every_service_without_privileges():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert {*services} == {"euclidesdb", "import", "prometheus"}
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "part of the container"),
        ("1 2 0:9 / /data/db/leveldb rw - ext4 /dev/x rw", "part of the container"),
        ("1 2 0:9 / /datastore rw - ext4 /dev/x rw", "part of the container"),
        ("1 2 0:9 / /data rw - tmpfs tmpfs rw", "in memory"),
        (f"1 2 8:1 /docker/volumes/{ID}/_data /data rw - ext4 /dev/x rw", "without a name"),
        (f"1 2 8:1 /k8s/containers/{ID}/volumes/{ID} /data rw - ext4 /dev/x rw", "without a name"),
        ("1 2 8:1 /docker/volumes/euclidesdb/_data /data rw shared:1 - ext4 /dev/x rw", ""),
        ("1 2 8:1 /srv/my\\040data /data rw - xfs /dev/x rw", ""),
        ("1 2 0:9 / / rw - ext4 /dev/x rw\n1 2 8:1 / /data/db rw - ext4 /dev/y rw", ""),
    ],
)
def test_data_that_is_lost_with_the_container_is_recognized(entrypoint, line, why):
    found = entrypoint.why_lost(f"{ROOT_LINE}\n{line}".strip(), Path("/data/db"))
    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["serve"], "/etc/euclidesdb/euclidesdb.conf"),
        (["serve", "--strict", "--config", "/a.conf"], "/a.conf"),
        (["serve", "-c", "/a.conf"], "/a.conf"),
        (["serve", "--config=/a.conf"], "/a.conf"),
        (["serve", "--config"], "/etc/euclidesdb/euclidesdb.conf"),
    ],
)
def test_the_configuration_is_that_of_the_command_line(entrypoint, arguments, file):
    assert entrypoint._config_file(arguments) == Path(file)
