"""Compactor: when it builds, and that it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.engines.vectors import vectors_path
from euclidesdb_server.errors import CorruptRecord, StorageError
from euclidesdb_server.index import Compactor
from euclidesdb_server.index import compactor as compactor_module
from euclidesdb_server.index.compactor import TOMBSTONES
from euclidesdb_server.index.segment_builder import BuildFailed
from tests.index.fake_engines import TIMEOUT
from tests.support.waiting import wait_for


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compactor_module, "TICK", 0.05)


@pytest.fixture
def compactor() -> Iterator[Compactor]:
    made = Compactor(IndexConfig(compact_rows=3, merge_factor=3, max_deleted_share=0.5))
    yield made
    made.close()


def fill(place, first: int, last: int) -> None:
    for index in range(first, last + 1):
        place.add(str(index), index, 0)


def test_a_space_is_compacted_from_compact_rows_on(place, compactor):
    fill(place, 1, 2)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.engine.builds == 0
    fill(place, 3, 3)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.engine.builds == 1
    assert place.space.backlog() == (0, 3)


def test_segments_of_a_size_are_merged_once_there_are_enough(place, compactor):
    for last in (3, 6):
        fill(place, last - 2, last)
        compactor.consider(place.space)
        assert compactor.wait_idle(TIMEOUT)
    assert [len(segment) for segment in place.space.segments] == [3, 3]
    fill(place, 7, 9)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert [len(segment) for segment in place.space.segments] == [9]
    assert place.names() == [str(index) for index in range(1, 10)]
    assert place.engine.builds == 4


def test_a_segment_with_many_deleted_rows_is_built_again(place, compactor):
    fill(place, 1, 4)
    place.space.compact()
    for name in ("1", "2"):
        place.remove(name)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.engine.builds == 1
    place.remove("3")
    compactor.consider(place.space, deleted=TOMBSTONES)
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (0, 1)
    assert place.tombstones() == []


def test_many_deletions_found_at_the_start_are_moved_into_bitmaps(place, compactor, monkeypatch):
    monkeypatch.setattr("euclidesdb_server.index.compactor.TOMBSTONES", 5)
    fill(place, 1, 100)
    place.space.compact()
    for index in range(1, 6):
        place.remove(str(index))
    place.reopen()
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.tombstones() == []
    assert place.names(k=100) == [str(index) for index in range(6, 101)]


def test_tombstones_are_moved_while_a_segment_is_being_built(place, compactor):
    fill(place, 1, 8)
    place.space.compact()
    place.add("9", 9, 0)
    place.engine.hold()
    compactor.request(place.space)
    place.engine.wait_for_build()
    for name in ("1", "9"):
        place.remove(name)
    compactor.consider(place.space, deleted=TOMBSTONES)
    wait_for(lambda: place.tombstones() == [], "the tombstones to be moved")
    assert place.space.rewriter.running
    place.engine.release()
    assert compactor.wait_idle(TIMEOUT)
    place.reopen()
    assert place.names() == ["2", "3", "4", "5", "6", "7", "8"]


def test_a_space_that_is_idle_becomes_one_segment(place):
    compactor = Compactor(IndexConfig(compact_rows=3, idle_seconds=0.01))
    for last in (3, 6):
        fill(place, last - 2, last)
        compactor.consider(place.space)
        assert compactor.wait_idle(TIMEOUT)
    wait_for(lambda: len(place.space.segments) == 1, "one segment")
    assert place.space.backlog() == (0, 6)
    compactor.close()


def test_a_space_that_is_idle_gives_the_place_of_deleted_rows_back(place):
    compactor = Compactor(IndexConfig(idle_seconds=0.01, max_deleted_share=0.5))
    fill(place, 1, 4)
    place.space.compact()
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    for name in ("1", "2", "3"):
        place.remove(name)
    compactor.consider(place.space, deleted=3)
    wait_for(lambda: place.space.backlog() == (0, 1), "the deleted rows to be gone")
    wait_for(lambda: place.tombstones() == [], "the tombstones to be gone")
    compactor.close()


def test_a_request_compacts_whatever_the_backlog(place, compactor):
    fill(place, 1, 1)
    compactor.request(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (0, 1)


def test_a_request_returns_while_a_build_is_under_way_and_is_served_after_it(place, compactor):
    fill(place, 1, 1)
    place.engine.hold()
    compactor.request(place.space)
    place.engine.wait_for_build()
    fill(place, 2, 2)
    compactor.request(place.space)
    assert not compactor.wait_idle(0)
    place.engine.release()
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (0, 2)
    assert len(place.space.segments) == 1


def test_what_is_written_during_a_build_is_built_right_after_it(place, compactor):
    fill(place, 1, 1)
    place.engine.hold()
    compactor.request(place.space)
    place.engine.wait_for_build()
    fill(place, 2, 9)
    compactor.consider(place.space)
    place.engine.release()
    assert compactor.wait_idle(TIMEOUT)
    assert place.engine.builds == 2
    assert place.space.backlog() == (0, 9)


def test_a_build_that_fails_is_logged_and_a_request_builds_again(place, compactor, caplog):
    fill(place, 1, 3)
    place.engine.failure = OSError(28, "No space left on device")
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert "No space left on device" in caplog.text
    assert place.names() == ["1", "2", "3"]
    builds = place.engine.builds
    compactor.consider(place.space)  # as the next write does: a full disk must not be hammered
    assert compactor.wait_idle(TIMEOUT)
    assert place.engine.builds == builds
    place.engine.failure = None
    compactor.request(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (0, 3)


def test_what_cannot_be_built_is_served_without_an_index_and_tried_again(place, caplog):
    compactor = Compactor(IndexConfig(compact_rows=3), first_retry=0.1)
    place.engine.failure = BuildFailed("the build process was killed by signal 6 (SIGABRT)")
    fill(place, 1, 3)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.names() == ["1", "2", "3"]
    status = place.space.status()
    assert (status.indexed_rows, status.unindexed_rows, status.segments) == (0, 3, 1)
    assert "SIGABRT" in status.failure
    assert "tried again" in caplog.text
    place.reopen()  # it is served after a restart, too
    assert place.names() == ["1", "2", "3"]
    compactor.consider(place.space)
    wait_for(lambda: place.engine.builds >= 3, "retries", 60)
    place.engine.failure = None
    wait_for(lambda: place.space.backlog() == (0, 3), "the index", 60)
    wait_for(lambda: place.space.status().failure == "", "the failure to be forgotten")
    compactor.close()


def test_what_cannot_be_built_does_not_keep_others_from_it(place, compactor):
    place.engine.failure = BuildFailed("a bad vector")
    fill(place, 1, 3)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    place.engine.failure = None
    fill(place, 4, 6)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (3, 3)
    assert place.space.status().failure == "a bad vector"


def test_a_failure_is_forgotten_once_a_flush_succeeds(place):
    compactor = Compactor(IndexConfig(compact_rows=3), first_retry=0.1)
    place.engine.failure = OSError(28, "No space left on device")
    fill(place, 1, 3)
    compactor.consider(place.space)
    wait_for(lambda: "No space left" in place.space.status().failure, "the failure")
    place.engine.failure = None
    wait_for(lambda: place.space.status().failure == "", "the failure to be forgotten")
    assert place.space.backlog() == (0, 3)
    compactor.close()


def test_a_requested_compaction_that_fails_is_tried_again(place):
    compactor = Compactor(IndexConfig(), first_retry=0.1)
    place.engine.failure = BuildFailed("a bad vector")
    fill(place, 1, 3)
    compactor.request(place.space)
    wait_for(lambda: place.space.status().failure == "a bad vector", "the failure")
    place.engine.failure = None
    wait_for(lambda: place.space.status().failure == "", "the failure to be forgotten")
    assert place.space.backlog() == (0, 3)
    compactor.close()


def test_a_request_does_not_wait_for_the_next_retry(place, compactor):
    place.engine.failure = BuildFailed("a bad vector")
    fill(place, 1, 3)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    place.engine.failure = None
    compactor.request(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert (place.space.backlog(), place.space.status().failure) == ((0, 3), "")


def test_segments_are_verified_later_if_nothing_can_be_written_now(place, caplog):
    fill(place, 1, 3)
    place.space.compact()
    vectors = vectors_path(place.segments / "1")
    vectors.write_bytes(bytes(vectors.stat().st_size))
    place.reopen()
    compactor, may_write = Compactor(IndexConfig(), first_retry=0.1), threading.Event()

    def recover() -> None:
        if not may_write.is_set():
            raise StorageError("the disk is full")

    compactor.recover_with(recover)
    compactor.consider(place.space)
    wait_for(lambda: place.space.status().failure == "the disk is full", "the failure")
    may_write.set()
    wait_for(lambda: place.space.status().failure == "", "the failure to be forgotten")
    assert not place.space.status().verifying
    assert "rebuilt from the store" in caplog.text
    assert place.found(1, 0)[0] == ("1", 0.0)
    compactor.close()


@pytest.mark.parametrize("error", [BuildFailed("a bad file"), CorruptRecord("a bad row")])
def test_a_damaged_segment_that_cannot_be_rebuilt_is_reported_until_it_is(place, error):
    fill(place, 1, 3)
    place.space.compact()
    vectors = vectors_path(place.segments / "1")
    vectors.write_bytes(bytes(vectors.stat().st_size))
    place.reopen()
    rewriter = place.space.rewriter
    rebuild = rewriter.verify
    calls = []

    def fail(cancelled: threading.Event) -> None:
        calls.append(cancelled)
        raise error

    rewriter.verify = fail
    compactor = Compactor(IndexConfig(), first_retry=0.05)
    compactor.consider(place.space)
    wait_for(lambda: len(calls) >= 2, "a second attempt")
    assert place.space.status().failure == str(error)
    rewriter.verify = rebuild
    wait_for(lambda: place.space.status().failure == "", "the failure to be forgotten")
    assert not place.space.status().verifying
    assert place.found(1, 0)[0] == ("1", 0.0)
    compactor.close()


def test_rows_do_not_fill_the_memory_while_a_build_hangs(place, compactor):
    place.engine.hold()
    fill(place, 1, 3)
    compactor.consider(place.space)
    place.engine.wait_for_build()
    fill(place, 4, 12)
    wait_for(lambda: place.space.unindexed == 0, "the rows to be on disk")
    assert len(place.space) == 12
    place.engine.release()
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (0, 12)


@pytest.mark.parametrize("rewrite", [Compactor.consider, Compactor.request])
def test_a_space_whose_build_hangs_delays_no_other_one(place, compactor, rewrite):
    place.engine.hold()
    fill(place, 1, 3)
    rewrite(compactor, place.space)
    place.engine.wait_for_build()
    other = place.second_space("other")
    for last in (13, 16, 19):
        fill(other, last - 2, last)
        compactor.consider(other.space)
        wait_for(lambda: other.space.unindexed == 0, "a flush")
    wait_for(lambda: [len(segment) for segment in other.space.segments] == [9], "a merge")
    assert (other.space.backlog(), other.engine.builds) == ((0, 9), 4)
    assert (place.space.backlog(), place.engine.builds) == ((3, 0), 1)
    place.engine.release()
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (0, 3)


def test_closing_ends_the_thread_and_closing_again_does_nothing():
    before = set(threading.enumerate())
    compactor = Compactor(IndexConfig())
    (thread,) = set(threading.enumerate()) - before
    compactor.close()
    assert not thread.is_alive()
    compactor.close()


def test_closing_gives_up_the_build_under_way(place):
    compactor = Compactor(IndexConfig())
    fill(place, 1, 2)
    place.engine.hold()
    compactor.request(place.space)
    place.engine.wait_for_build()
    closing = threading.Thread(target=compactor.close)
    closing.start()
    closing.join(TIMEOUT)
    assert not closing.is_alive()
    assert place.space.backlog() == (2, 0)
    assert place.names() == ["1", "2"]
    assert place.generations() == []
