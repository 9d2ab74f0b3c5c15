"""Compactor: when it builds, and that it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.index import Compactor
from tests.index.fake_engines import TIMEOUT


@pytest.fixture
def compactor() -> Iterator[Compactor]:
    made = Compactor(IndexConfig(compact_rows=3, compact_share=0.5))
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


def test_a_large_segment_waits_for_its_share(place, compactor):
    fill(place, 1, 20)
    place.space.compact()
    fill(place, 21, 29)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (9, 20)
    fill(place, 30, 30)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (0, 30)


def test_tombstones_count_like_unindexed_rows(place, compactor):
    fill(place, 1, 4)
    place.space.compact()
    for name in ("1", "2"):
        place.remove(name)
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.engine.builds == 1
    place.remove("3")
    compactor.consider(place.space)
    assert compactor.wait_idle(TIMEOUT)
    assert place.space.backlog() == (0, 1)


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
    assert place.engine.builds == 2
    assert place.space.backlog() == (0, 2)


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


def test_closing_ends_the_thread_and_closing_again_does_nothing():
    before = threading.active_count()
    compactor = Compactor(IndexConfig())
    assert threading.active_count() == before + 1
    compactor.close()
    assert threading.active_count() == before
    compactor.close()


def test_closing_waits_for_the_build_under_way(place):
    compactor = Compactor(IndexConfig())
    fill(place, 1, 2)
    place.engine.hold()
    compactor.request(place.space)
    place.engine.wait_for_build()
    closing = threading.Thread(target=compactor.close)
    closing.start()
    place.engine.release()
    closing.join(TIMEOUT)
    assert not closing.is_alive()
    assert place.space.backlog() == (0, 2)
