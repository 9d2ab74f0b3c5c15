"""Segments are built in a child process, and what it reports is on disk and can be searched."""

from __future__ import annotations

import functools
import os
import re
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from euclidesdb_server.engines.annoy import AnnoyEngine, AnnoyOptions
from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.engines.exact_disk import ExactDiskEngine
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.engines.vectors import vectors_path
from euclidesdb_server.errors import ShuttingDown
from euclidesdb_server.index.segment_builder import BuildFailed, Built
from euclidesdb_server.system.thread_priority import NICE
from tests.builder.bad_engines import BadEngine, BadOptions
from tests.builder.places import Place
from tests.support.errors import error_message
from tests.support.waiting import wait_for


def faiss(index_type, **options):
    return FaissEngine(FaissOptions(index_type=index_type, **options))


ENGINES = {
    "annoy": AnnoyEngine(AnnoyOptions(trees=10, metric="l2")),
    "exact": ExactEngine(),
    "exact_disk": ExactDiskEngine(),
    "Flat": faiss("Flat"),
    "HNSW16": faiss("HNSW16"),
    "IVF16,Flat": faiss("IVF16,Flat", nprobe=4),
    "PCA16,IVF16,PQ8x4": faiss("PCA16,IVF16,PQ8x4"),
    "SQ8,RFlat": faiss("SQ8,RFlat"),
}


@dataclass(frozen=True)
class Made:
    """A segment that a child built. before: of the file of its rows, before that."""

    place: Place
    folder: Path
    before: os.stat_result
    built: Built


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Builds the segment of each engine once."""

    @functools.cache
    def make(name: str) -> Made:
        place = Place(tmp_path_factory.mktemp("segments"))
        folder = place.folder()
        (folder / "labels.i64").write_bytes(b"of the caller")
        before = vectors_path(folder).stat()
        return Made(place, folder, before, place.build(ENGINES[name], folder))

    return make


@pytest.mark.parametrize("name", ENGINES)
def test_a_segment_built_by_a_child_is_that_built_here(made, name):
    engine, vectors = ENGINES[name], made(name).place.vectors
    here = engine.build(vectors)
    assert made(name).built.description == here.description
    queries = vectors[:20] + np.float32(0.1)
    loaded = engine.load(made(name).folder)
    for ours, theirs in zip(
        loaded.search(queries, 10, None), here.search(queries, 10, None), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ENGINES)
def test_every_file_is_reported_with_size_and_checksum(made, name):
    files = made(name).built.files
    assert "labels.i64" in files
    assert {name: (each.size, each.crc32) for name, each in files.items()} == {
        file.name: (file.stat().st_size, zlib.crc32(file.read_bytes()))
        for file in made(name).folder.iterdir()
    }


@pytest.mark.parametrize("name", ["annoy", "exact_disk", "IVF16,Flat", "HNSW16"])
def test_the_rows_are_written_only_once(made, name):
    before = made(name).before
    after = vectors_path(made(name).folder).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("name", ENGINES)
def test_no_rows_make_a_segment(place, name):
    place.vectors = place.vectors[:0]
    folder = place.folder()
    place.build(ENGINES[name], folder)
    assert ENGINES[name].load(folder).search(np.ones((1, 32), np.float32), 3, None)[1].size == 0


@pytest.mark.parametrize("engine", [ExactEngine(ExactOptions("cosine")), ExactDiskEngine()])
def test_engines_that_build_nothing_start_no_child(place, engine):
    assert place.build(engine, command=["/nonexistent"]).description


def test_other_engines_are_built_in_a_child_unless_they_say_otherwise(place):
    with pytest.raises(BuildFailed, match="nonexistent"):
        place.build(BadEngine(), command=["/nonexistent"])


def test_a_build_has_low_priority(place):
    expected = max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
    assert place.build(BadEngine()).description == f"bad, at nice {expected}"


def test_options_of_any_type_reach_the_child(place):
    place.build(BadEngine(BadOptions(folder=Path("a") / "b", names=("a", "b"))))


def test_what_a_library_prints_is_not_a_result(place):
    assert place.build(BadEngine(BadOptions(how="prints"))).files


def test_a_build_does_not_wait_for_another(place, tmp_path):
    (tmp_path / "others").mkdir()
    other = Place(tmp_path / "others")
    slow = threading.Thread(
        target=error_message, args=(ShuttingDown, place.build, BadEngine(BadOptions("hangs")))
    )
    slow.start()
    try:
        other.build(ENGINES["Flat"])
        assert slow.is_alive()
    finally:
        place.cancelled.set()
        slow.join()


def test_a_cancelled_build_ends_at_once_with_its_child(place):
    before = set(psutil.Process().children())
    children: list[psutil.Process] = []

    def cancel() -> None:
        wait_for(lambda: set(psutil.Process().children()) - before, "the child")
        children.extend(set(psutil.Process().children()) - before)
        place.cancelled.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(ShuttingDown):
        place.build(BadEngine(BadOptions(how="computes for ever")))
    thread.join()
    assert children
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize(
    ("engine", "graph"),
    [
        # a graph takes seconds to build
        pytest.param(faiss("HNSW4"), 2 * 4 * 4 + 32, marks=pytest.mark.long),
        (faiss("IVF64,Flat"), 0),
        (faiss("L2norm,Flat"), 0),
        (faiss("PCA64,SQ8"), 0),
        (AnnoyEngine(AnnoyOptions(trees=10)), 0),
    ],
    ids=["HNSW4", "IVF", "L2norm", "PCA", "annoy"],
)
def test_the_child_holds_little_more_than_the_vectors(place, engine, graph):
    place.vectors = np.random.default_rng(1).standard_normal((60_000, 128), np.float32)
    folder, peak = place.folder(), [0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for child in psutil.Process().children():
                peak[0] = max(peak[0], private_memory(child.pid))
            time.sleep(0.002)  # the kernel keeps no peak of private memory

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        place.build(engine, folder)
    finally:
        stop.set()
        thread.join()
    allowed = 1.3 * place.vectors.nbytes + graph * len(place.vectors) + PROCESS_BYTES
    assert 0 < peak[0] < allowed, f"{peak[0] / allowed:.2f} of what is allowed"


PROCESS_BYTES = 28 << 20
"""Of the child itself: Python, numpy and faiss."""


def private_memory(pid: int) -> int:
    try:
        # before that, it still shares the memory of this process
        if "euclidesdb_server.builder" not in Path(f"/proc/{pid}/cmdline").read_text():
            return 0
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) << 10 if found else 0
