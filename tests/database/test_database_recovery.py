"""After a failed write reads go on; when there is room again, so do writes, and nothing is lost.

The fault is real: the system refuses to let any file grow beyond a limit, as a full disk does.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from euclidesdb_server.errors import StorageError
from tests.support.assembled import Database, no_models
from tests.support.waiting import wait_for


@contextmanager
def no_file_may_grow_beyond(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}, sync=True) as made:
        for number in range(20):
            made.add(f"{number}", one=[number, 0])
        made.features.remove("19")
        yield made


def log_size(folder: Path) -> int:
    return max(log.stat().st_size for log in (folder / "leveldb").glob("*.log"))


def add_in_spite_of(database: Database, item_id: str) -> None:
    """Writing is taken up again at most every half second."""

    def added() -> bool:
        try:
            database.add(item_id, one=[0.5, 0])
        except StorageError:
            return False
        return True

    wait_for(added, "a write after the failure")


ALL = [str(number) for number in range(19)]


@pytest.mark.parametrize("torn_after", [0, 5, 20, 60])
def test_a_failed_write_leaves_everything_as_it_was(tmp_path, database, torn_after):
    with no_file_may_grow_beyond(log_size(tmp_path) + torn_after):
        with pytest.raises(StorageError, match="writing item 'new': "):
            database.add("new", one=[100, 0])
        with pytest.raises(StorageError, match="nothing can be written for now"):
            database.add("3", one=[100, 0])
        with pytest.raises(StorageError, match="nothing can be written for now"):
            database.features.remove("3")
        assert database.add_vectors("one", ["x", "y"], [[1, 1], [2, 2]]).keys() == {0, 1}
        assert database.ids([0, 0], "one") == ALL
        assert database.vectors("3") == {"one": [3, 0]}
        assert database.ids("3", "one", 1, include_self=True) == ["3"]
    add_in_spite_of(database, "after")
    assert database.ids([0, 0], "one") == ["0", "after", *ALL[1:]]


def test_what_is_written_after_a_failure_survives_a_crash(tmp_path, database):
    with (
        no_file_may_grow_beyond(log_size(tmp_path) + 20),
        pytest.raises(StorageError),
    ):
        database.add("new", one=[100, 0])
    add_in_spite_of(database, "after")
    database.features.remove("0")
    database.close()
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}) as reopened:
        assert reopened.ids([0, 0], "one") == ["after", *ALL[1:]]


def test_after_a_recovery_segments_cover_everything_again(tmp_path, database):
    with no_file_may_grow_beyond(log_size(tmp_path)), pytest.raises(StorageError):
        database.add("new", one=[100, 0])
    with no_file_may_grow_beyond(log_size(tmp_path)), pytest.raises(StorageError):
        database.features.remove("3")
    add_in_spite_of(database, "after")
    database.spaces["one"].compact()
    assert database.spaces["one"].backlog() == (0, 20)
    assert database.ids([0, 0], "one") == ["0", "after", *ALL[1:]]


def test_of_many_writers_at_once_none_is_acknowledged_and_lost(tmp_path, database):
    """Behind a torn record LevelDB would write on, where the next start cannot read it."""
    acknowledged: list[str] = []

    def write(writer: int) -> None:
        for number in range(40):
            item_id = f"{writer}-{number}"
            try:
                database.add(item_id, one=[writer, number])
            except StorageError:
                continue
            acknowledged.append(item_id)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    limit = log_size(tmp_path) + 5000
    with no_file_may_grow_beyond(limit):
        for thread in threads:
            thread.start()
        wait_for(lambda: database.store.failure is not None, "a failed write")
    for thread in threads:
        thread.join()
    add_in_spite_of(database, "after")
    searched = set(database.ids([0, 0], "one", 1000))
    assert searched == {*ALL, *acknowledged, "after"}
    database.close()
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}) as reopened:
        assert set(reopened.ids([0, 0], "one", 1000)) == searched
