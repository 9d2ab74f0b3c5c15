"""Backups in S3-compatible storage: a real server of that protocol, rclone's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import euclidesdb
from tests.backup.conftest import answers_of, serve
from tests.support.waiting import wait_for

PLACE = "s3://bucket/some/folder"


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The folder of a bucket, and the address of the S3 server that serves it."""
    folder = tmp_path / "served" / "bucket"
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    rclone = Path(sys.executable).with_name("rclone")
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret"]
    command += ["--dir-cache-time", "1ms"]
    server = subprocess.Popen([*map(str, command), str(folder.parent)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), "the S3 server")
        yield folder, f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def run(bucket, source):
    """Runs a command in a process of its own, which knows the S3 server."""

    def started(*arguments: Any, secret: str = "secret") -> tuple[int, str, str]:
        environment: Mapping[str, str] = {
            **os.environ,
            "EUCLIDESDB_ADDRESS": source.address,
            "AWS_ENDPOINT_URL": bucket[1],
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        command = [sys.executable, "-m", "euclidesdb_server", *map(str, arguments)]
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        return ran.returncode, ran.stdout, ran.stderr

    return started


def test_a_backup_in_s3_is_restored_and_answers_alike(run, source, bucket, tmp_path):
    folder, _ = bucket
    code, out, err = run("backup", PLACE)
    assert (code, err) == (0, "")
    stored = len([*folder.rglob("objects/*/*")])
    code, again, err = run("backup", PLACE, "--keep", "1")
    assert (code, err) == (0, "")
    assert "of which 0 files, 0 bytes, were new" in again
    assert "deleted 1 earlier backup" in again
    assert len([*folder.rglob("objects/*/*")]) == stored
    code, out, err = run("verify-backup", PLACE)
    assert (code, out.endswith("all is well\n"), err) == (0, True, "")
    new = tmp_path / "new"
    code, out, err = run("restore", PLACE, "--database-path", new / "data", "--models-path", new)
    assert (code, err) == (0, "")
    with euclidesdb.Client(source.address) as client:
        expected = answers_of(client)
    (new / "models").mkdir()
    for name in ("digits", "given"):
        (new / name).rename(new / "models" / name)
    with serve(new / "data", new / "models") as server, euclidesdb.Client(server.address) as client:
        assert answers_of(client) == expected


def test_errors_of_the_storage_are_reported_and_leave_earlier_backups_alone(run, bucket):
    folder, _ = bucket
    assert run("backup", PLACE)[0] == 0
    code, _, err = run("backup", PLACE, secret="wrong")
    assert code == 1
    assert f"euclidesdb: {PLACE}: " in err or f"Error: {PLACE}: " in err
    assert "Traceback" not in err
    missing = next(folder.rglob("objects/*/*"))
    missing.unlink()
    code, out, _ = run("verify-backup", PLACE)
    assert (code, f"{missing.name} is missing" in out) == (1, True)
    assert run("backup", PLACE)[0] == 0
    assert run("verify-backup", PLACE)[0] == 0
