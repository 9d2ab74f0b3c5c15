"""What a worker process has given up, found out by native code that runs in one."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

import pytest

from euclidesdb_server.inference.model_folder import ModelFolder, read_model_folder
from euclidesdb_server.inference.worker_process import WorkerProcess
from euclidesdb_server.system.child_process import environment
from tests.support.models import save_model
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is of Linux")

HOSTILE = """
import ctypes, json, os, resource, socket, sys, threading, time
from pathlib import Path
folder = Path(__file__).parent

def outcome(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0

def system_call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def run():
    while not (folder / "go").exists():
        time.sleep(0.01)
    connect = lambda: socket.create_connection(("127.0.0.1", 9), timeout=5)
    found = {
        "tcp": outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
        "udp": outcome(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
        "unix": outcome(lambda: socket.socket(socket.AF_UNIX)),
        "connect": outcome(connect),
        "io_uring": outcome(lambda: system_call(425, 1, ctypes.create_string_buffer(200))),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "status": Path("/proc/self/status").read_text(),
        "names": sorted(os.environ),
    }
    child = os.fork()
    if not child:
        os._exit(outcome(lambda: socket.socket(socket.AF_INET)))
    found["child"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (folder / "new").write_text(json.dumps(found))
    (folder / "new").rename(folder / "found")

if "euclidesdb_server.worker" in sys.orig_argv:
    threading.Thread(target=run, daemon=True).start()
"""
EPERM = 1

READ_THE_PARENT = """
import ctypes, os
from pathlib import Path
from euclidesdb_server.system.confinement import hide_memory
os.getuid() or os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as after exec

def child_reads(name):
    pid = os.fork()
    if not pid:
        try:
            Path(f"/proc/{os.getppid()}/{name}").open("rb").close()
        except PermissionError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

assert child_reads("environ")
hide_memory()
assert not child_reads("environ") and not child_reads("mem")
Path("/proc/self/statm").read_text()
assert os.listdir("/proc/self/fd")
"""


def test_a_process_of_the_same_user_cannot_read_the_server_s_memory():
    subprocess.run([sys.executable, "-c", READ_THE_PARENT], check=True, timeout=100)


def start(tmp_path, monkeypatch, **options):
    """A worker in which hostile code runs, and the function that tells what this could do."""
    native = tmp_path / "native"
    native.mkdir()
    (native / "sitecustomize.py").write_text(HOSTILE)
    monkeypatch.setenv("PYTHONPATH", str(native), prepend=os.pathsep)
    folder = read_model_folder(save_model(tmp_path / "models"))
    assert isinstance(folder, ModelFolder)
    made = functools.partial(
        WorkerProcess, folder, threads=1, max_image_pixels=10_000, start_timeout=100.0
    )
    worker = made(lambda: False, **options)

    def found():
        (native / "go").touch()
        wait_for((native / "found").exists, "what the worker could do")
        return json.loads((native / "found").read_text())

    return worker, found


def test_a_worker_has_neither_network_nor_new_privileges_nor_secrets(tmp_path, monkeypatch):
    for name in ("EUCLIDESDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "TORCH_TOKEN", "UNKNOWN"):
        monkeypatch.setenv(name, "secret")
    worker, found = start(tmp_path, monkeypatch)
    try:
        assert worker.warning == ""
        could = found()
        for way in ("tcp", "udp", "unix", "connect", "io_uring", "child"):
            assert could[way] == EPERM, way
        assert could["core"] == 0
        assert "NoNewPrivs:\t1" in could["status"]
        assert not {"EUCLIDESDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "TORCH_TOKEN", "UNKNOWN"} & {
            *could["names"]
        }
        assert "PATH" in could["names"]
    finally:
        worker.end(timeout=0)
        worker.release()


def test_a_worker_that_is_not_confined_says_so(tmp_path, monkeypatch):
    worker, found = start(tmp_path, monkeypatch, confine=False)
    try:
        assert "confine_workers = false" in worker.warning
        assert found()["tcp"] == 0
    finally:
        worker.end(timeout=0)
        worker.release()


def test_a_child_process_is_given_what_it_needs_and_no_secrets(monkeypatch):
    monkeypatch.setenv("OMP_PROC_BIND", "true")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("PYTHON_TOKEN", "x")
    given = environment(3)
    assert given["OMP_PROC_BIND"] == "true"
    assert given["CUDA_VISIBLE_DEVICES"] == "0"
    assert given["OMP_NUM_THREADS"] == "3"
    assert "PYTHON_TOKEN" not in given
