"""What is remembered of requests: as long as is promised, and no more."""

from __future__ import annotations

import pytest

from euclidesdb_server.store import FeatureStore, keys, recent_requests
from euclidesdb_server.store.recent_requests import (
    KEPT_SECONDS,
    RecentRequests,
    request_digest,
)


@pytest.fixture
def store(tmp_path):
    with FeatureStore(tmp_path / "leveldb", sync=False) as made:
        yield made


class Clock:
    now = 1e9

    def __call__(self):
        return self.now


def digests(count, start=0):
    return [request_digest(b"key", "add", f"{number}") for number in range(start, start + count)]


def written(store, requests, found):
    batch = store._leveldb.batch()
    with requests.written(batch, found):
        store._leveldb.write(batch, "writing requests")


def records(store):
    return [key for key, _ in store.prefix(keys.REQUESTS)]


def test_a_request_is_remembered_for_a_while_and_then_deleted(store):
    clock = Clock()
    requests = RecentRequests(store, clock)
    first, second, third = digests(3)
    written(store, requests, [first, second])
    clock.now += KEPT_SECONDS - 1
    written(store, requests, [third])
    assert {first, second, third} <= {each for each in digests(9) if each in requests}
    clock.now += 2
    written(store, requests, digests(1, 5))
    assert [each in requests for each in (first, second, third)] == [False, False, True]
    assert len(records(store)) == 2


def test_no_more_than_so_many_are_remembered(store, monkeypatch):
    monkeypatch.setattr(recent_requests, "MAX_KEYS", 100)
    requests = RecentRequests(store)
    for start in range(0, 1000, 10):
        written(store, requests, digests(10, start))
    assert [each in requests for each in digests(1000)] == [False] * 900 + [True] * 100
    assert len(records(store)) == 10


def test_they_are_known_to_the_next_start_with_their_age(store):
    clock = Clock()
    written(store, RecentRequests(store, clock), digests(3))
    restarted = RecentRequests(store, clock)
    assert all(each in restarted for each in digests(3))
    clock.now += KEPT_SECONDS + 1
    written(store, restarted, digests(1, 7))
    assert digests(1)[0] not in restarted


def test_a_clock_that_goes_back_loses_none(store):
    clock = Clock()
    requests = RecentRequests(store, clock)
    written(store, requests, digests(1))
    clock.now -= 3600
    written(store, requests, digests(1, 1))
    assert all(each in requests for each in digests(2))
    assert len(records(store)) == 2


def test_a_write_that_fails_is_not_remembered(store):
    requests = RecentRequests(store)
    (digest,) = digests(1)
    batch = store._leveldb.batch()
    with pytest.raises(OSError, match="as scripted"), requests.written(batch, [digest]):
        raise OSError("as scripted")
    assert digest not in requests
    assert not records(store)


def test_a_record_that_is_damaged_does_not_keep_the_store_from_opening(store, caplog):
    batch = store._leveldb.batch()
    batch.put(keys.requests_key(5), b"\xc1")
    store._leveldb.write(batch, "damaging a record")
    assert RecentRequests(store) is not None
    assert "recent requests" in caplog.text


def test_requests_of_other_kinds_and_items_differ():
    parts = [(b"k", "add", "a"), (b"k", "add", "b"), (b"k", "remove", "a"), (b"ka", "dd", "a")]
    assert len({request_digest(*each) for each in parts}) == len(parts)
