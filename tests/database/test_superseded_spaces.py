"""The space of an earlier version is opened when it is first asked for, while writes go on."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from euclidesdb_server.database.space_sizes import SpaceSizes
from euclidesdb_server.database.superseded_space import SupersededSpace
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.errors import (
    ConfigError,
    CorruptRecord,
    DeadlineExceeded,
    ModelUnavailable,
    ShuttingDown,
    UnknownModel,
)
from euclidesdb_server.index import ModelSpace
from tests.support.assembled import Database, no_models
from tests.support.builders import InProcessBuilder

ROWS = 20


class Version:
    """An earlier version of the model `one` with ROWS items, and a gate in front of its opening."""

    def __init__(self, database, folder):
        self.database = database
        self.record = database.spaces["one"].record
        self.error = None
        self.opened = 0
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self._segments = folder / "segments"
        self.space = SupersededSpace(self.record, self._open)

    def _open(self):
        self.opened += 1
        if self.error is not None:
            raise self.error
        space = ModelSpace(
            self.record,
            ExactEngine(),
            self.database.store,
            self._segments,
            builder=InProcessBuilder(),
        )
        self.reached.set()
        assert self.gate.wait(60)
        return space

    def remove(self, item_id):
        """As the database removes an item."""
        record = self.database.store.item(item_id)
        self.database.store.remove((item_id, record))
        self.space.delete([record.labels[self.record.number]])


@pytest.fixture
def version(tmp_path):
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}) as database:
        database.add_vectors(
            "one", [f"{row}" for row in range(ROWS)], [[row, 0] for row in range(ROWS)]
        )
        yield Version(database, tmp_path)


def found(space, k=100):
    return space.open().search(np.zeros((1, 2), np.float32), k).ids


def test_it_is_opened_once_by_many_threads(version):
    version.gate.clear()
    opened = []
    threads = [
        threading.Thread(target=lambda: opened.append(version.space.open())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert version.space.opened is None
    version.gate.set()
    for thread in threads:
        thread.join()
    assert version.opened == 1
    assert {id(space) for space in opened} == {id(version.space.opened)}


def test_a_caller_that_leaves_does_not_wait_for_another_that_opens_it(version):
    version.gate.clear()
    opening = threading.Thread(target=version.space.open)
    opening.start()
    assert version.reached.wait(60)

    def left():
        raise DeadlineExceeded("the caller left")

    with pytest.raises(DeadlineExceeded):
        version.space.open(left)
    version.gate.set()
    opening.join()
    assert version.space.open(left) is version.space.opened


def test_what_is_removed_before_it_is_opened_is_not_found(version):
    version.remove("0")
    assert version.opened == 0
    assert found(version.space, 2) == ["1", "2"]


def test_what_is_removed_while_it_is_opened_is_not_found(version):
    version.database.spaces["one"].compact()  # so the rows come from a segment
    version.gate.clear()
    opening = threading.Thread(target=version.space.open)
    opening.start()
    assert version.reached.wait(60)
    version.remove("0")  # does not wait for the opening
    version.gate.set()
    opening.join()
    assert found(version.space, 2) == ["1", "2"]
    version.remove("1")
    assert found(version.space, 2) == ["2", "3"]


def test_removals_never_disturb_an_opening(version):
    ids = [f"{row}" for row in range(ROWS)]
    stop = threading.Event()

    def rewrite():
        while not stop.is_set():
            for item_id in ids[:10]:
                version.database.features.remove(item_id)
            version.database.add_vectors("one", ids[:10], [[row, 0] for row in range(10)])

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(100):
            piece = [*version.database.store.rows(version.record.number, 2, after=0, up_to=1 << 40)]
            assert sum(len(each.ids) for each in piece) in range(10, ROWS + 1)
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (CorruptRecord("a damaged block"), CorruptRecord),
        (ConfigError("PQ16 cannot index 100 numbers"), ModelUnavailable),
        (RuntimeError("a library failed"), RuntimeError),
    ],
)
def test_an_error_while_it_is_opened_does_not_remain(version, error, raised):
    version.error = error
    for _ in range(2):
        with pytest.raises(raised, match=str(error)):
            version.space.open()
    version.remove("0")
    version.error = None
    assert found(version.space, 2) == ["1", "2"]


def test_a_dropped_one_cannot_be_opened(version):
    version.space.drop()
    with pytest.raises(UnknownModel, match="'one@version 1' has been dropped"):
        version.space.open()
    assert version.opened == 0


def test_one_that_is_dropped_while_it_is_opened_is_not_served(version):
    version.gate.clear()
    errors = []

    def open_it():
        try:
            version.space.open()
        except UnknownModel as error:
            errors.append(error)

    opening = threading.Thread(target=open_it)
    opening.start()
    assert version.reached.wait(60)
    version.space.drop()
    version.gate.set()
    version.space.wait_for_opening()
    opening.join()
    assert len(errors) == 1
    assert version.space.opened is None


def test_rows_are_counted_without_opening_it_and_stay_right(version, tmp_path):
    sizes = SpaceSizes(version.database.store, tmp_path / "segments")
    number = version.record.number
    assert sizes.rows([version.space]) == {number: ROWS}
    version.remove("3")
    version.remove("4")
    assert sizes.rows([version.space]) == {number: ROWS - 2}
    assert version.opened == 0
    sizes.close()
    sizes.close()


def test_a_count_ends_with_the_server(version):
    def closed():
        raise ShuttingDown("the server is stopping")

    with pytest.raises(ShuttingDown):
        version.database.store.space_data.count_rows_ever(version.record.number, closed)


def test_the_files_of_segments_count_as_disk_space(version, tmp_path):
    sizes = SpaceSizes(version.database.store, tmp_path / "segments")
    number = version.record.number
    before = sizes.disk_bytes(number)
    version.database.spaces["one"].compact()
    files = sum(file.stat().st_size for file in (tmp_path / "segments").rglob("*.*"))
    assert sizes.disk_bytes(number) - before >= files > 0
    sizes.close()
