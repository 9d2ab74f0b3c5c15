"""Whatever happens to the child process is a BuildFailed with the reason, and nothing else."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from euclidesdb_server.engines.annoy import AnnoyEngine, AnnoyOptions
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.index.segment_builder import BuildFailed
from euclidesdb_server.system import job_process
from tests.builder.bad_engines import BadEngine, BadOptions
from tests.support.cases import each_as_subtest
from tests.support.disk_faults import DiskFaults
from tests.support.errors import error_message
from tests.support.waiting import wait_for


def faiss(index_type, **options):
    return FaissEngine(FaissOptions(index_type=index_type, **options))


def reason(place, engine, **options):
    return error_message(BuildFailed, place.build, engine, **options)


@pytest.mark.parametrize("index_type", ["IVF16,Flat", "PQ8x4", "IVF16,PQ8x4", "IVF16,SQ8,RFlat"])
def test_a_vector_whose_square_overflows_aborts_only_the_child(place, index_type):
    place.vectors[5] *= 1e19
    message = reason(place, faiss(index_type))
    assert "it was killed by signal 6 (SIGABRT): " in message
    assert "invalid cluster assignment" in message


def test_a_build_that_never_ends_is_ended(place):
    place.vectors = np.zeros((600, 32), np.float32)
    message = reason(place, faiss("NSG32"), build_timeout=1.5)
    assert message == "the build process failed: it did not end within 1.5 s"


@each_as_subtest(
    ("how", "says"),
    [
        ("aborts", "killed by signal 6 (SIGABRT): the library's last words"),
        ("is killed", "killed by signal 9 (SIGKILL)"),
        ("raises", "no such tree"),
        ("leaves the process", "answered null, which is not a segment"),
        ("takes all memory", "there is not enough memory: "),
        ("saves a truncated file", "5 bytes, but 3000 rows of 32 float32 take 384000"),
        ("cannot load", "not a forest"),
        ("aborts in a search", "killed by signal 6 (SIGABRT)"),
        ("answers too little", "answered with (8, 9) distances and (8, 9) rows instead of (8, 10)"),
        ("ignores masks", "rows that are not there or not allowed"),
        ("finds rows that are not there", "rows that are not there or not allowed"),
    ],
)
def test_a_bad_engine_fails_with_its_reason(place, how, says):
    assert says in reason(place, BadEngine(BadOptions(how=how)))


@each_as_subtest("how", ["hangs", "computes for ever"])
def test_a_child_that_hangs_is_killed(place, how):
    message = reason(place, BadEngine(BadOptions(how=how)), build_timeout=1)
    assert message == "the build process failed: it did not end within 1 s"


def test_an_error_of_the_engine_is_reported(place):
    assert "index_type = 'PQ7'" in reason(place, faiss("PQ7"))


def test_memory_is_limited(place):
    engine = BadEngine(BadOptions(how="takes 400 MiB"))
    assert place.build(engine).files
    message = reason(place, engine, build_memory_mib=350)
    assert message.startswith("there is not enough memory: ")


def test_a_limit_of_memory_is_named_when_the_child_crashes(place):
    message = reason(place, BadEngine(BadOptions(how="aborts")), build_memory_mib=700)
    assert message.endswith("(its memory was limited to 700 MiB)")


def test_rows_that_are_not_there_or_cut_short_fail_the_build(place):
    folder = place.folder()
    os.truncate(folder / "vectors.f32", 1000)
    assert "1000 bytes, but 3000 rows" in reason(place, faiss("Flat"), folder=folder)
    (folder / "vectors.json").unlink()
    assert "vectors.json" in reason(place, faiss("Flat"), folder=folder)


def child(code: str) -> list[str]:
    """The command of a child that runs `code`, with `results` to write to."""
    return [sys.executable, "-c", f"import os, sys, time; results = int(sys.argv[1]); {code}"]


@each_as_subtest(
    ("code", "says"),
    [
        ("os.write(results, b'garbage\\n')", "it sent something other than results"),
        ("os.write(results, b'[' * 100000 + b'\\n')", "it sent something other than results"),
        ("os.write(results, b'{\"files\"')", "it sent something other than results"),
        ("os.write(results, b'[1, 2]\\n')", "answered [1, 2], which is not a segment"),
        ("os.write(results, b'{}\\n')", "answered {}, which is not a segment"),
        ('os.write(results, b\'{"files": {"a": 1}}\\n\')', "which is not a segment"),
        ('os.write(results, b\'{"failed": "it rained"}\\n\')', "it rained"),
        ("sys.stdin.close(); sys.exit(3)", "it exited with code 3"),
        ("[os.write(results, b'x' * 65536) for _ in range(99)]", "more than 1048576 bytes"),
        (
            'os.write(results, b\'{"files": {"a": [1, 2]}, "description": ""}\\n\')',
            "reported the files {'a': 1}, but left {'vectors.",
        ),
    ],
)
def test_a_child_that_answers_nonsense_fails_the_build(place, code, says):
    assert says in reason(place, faiss("Flat"), command=child(code))


def test_a_child_that_does_not_exit_after_its_result_is_killed(place, monkeypatch):
    monkeypatch.setattr(job_process, "EXIT_TIMEOUT", 0.3)
    message = reason(place, faiss("Flat"), command=child("os.close(results); time.sleep(1000)"))
    assert "it did not exit within 0.3 s of its last result" in message


def test_a_program_that_cannot_be_started_fails_the_build(place):
    assert "nonexistent" in reason(place, faiss("Flat"), command=["/nonexistent"])


ANNOY = AnnoyEngine(AnnoyOptions(trees=3))
GRAPH, TRAINED = faiss("HNSW8"), faiss("PCA8,IVF16,SQ8")


@pytest.mark.parametrize(
    ("engine", "fault", "growth"),
    [
        (ANNOY, "kill", 4.0),  # on a full disk, the kernel ends annoy
        (GRAPH, "kill", 4.0),
        (TRAINED, "full", 4.0),
        *(
            pytest.param(engine, fault, 1.0, marks=pytest.mark.long)
            for engine, fault in (
                (ANNOY, "kill"),
                *itertools.product((GRAPH, TRAINED), ("kill", "full")),
            )
        ),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_kill_or_a_full_disk_at_any_step_fails_the_build(
    place, tmp_path, monkeypatch, engine, fault, growth
):
    """A build for some of the calls that change the disk; growth: 1 takes every call, 4 those
    whose number is a power of four."""
    faults = DiskFaults(tmp_path / "segments", tmp_path / "control")
    for name, value in faults.environment.items():
        monkeypatch.setenv(name, value)
    step = 0
    while step < 100:
        step = max(step + 1, int(step * growth))
        (faults.kill_in if fault == "kill" else faults.fill)(step)
        folder = place.folder()
        try:
            place.build(engine, folder)
        except BuildFailed as error:
            message = str(error)
        else:
            break
        finally:
            faults.spare()
            faults.make_room()
        if fault == "kill":
            assert "it was killed by signal 9 (SIGKILL)" in message
        else:
            assert "No space left on device" in message or "SIGBUS" in message
    assert step > 1, "no call of the child was seen"
    faults.close()


def test_the_child_dies_with_the_server(place, tmp_path):
    """Even if it runs native code that never looks up."""
    place.vectors = np.zeros((600, 32), np.float32)
    folder = place.folder()
    program = tmp_path / "server.py"
    program.write_text(
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from euclidesdb_server.config.server import IndexConfig\n"
        "from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions\n"
        "from euclidesdb_server.index.segment_builder import BuildJob, SegmentBuilder\n"
        "engine = FaissEngine(FaissOptions(index_type='NSG32'))\n"
        "job = BuildJob(Path(sys.argv[1]), engine, 1)\n"
        "SegmentBuilder(IndexConfig()).build(job, cancelled=threading.Event())\n"
    )
    server = subprocess.Popen([sys.executable, str(program), str(folder)])
    try:
        parent = psutil.Process(server.pid)
        wait_for(lambda: any(each.cpu_times().user > 0.5 for each in parent.children()), "a build")
        (builder,) = parent.children()
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    deadline = time.monotonic() + 10
    while builder.is_running() and builder.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived the server"
