"""SpaceTable: the spaces of a store, each the vectors of one version of one model.

Spaces are created and dropped; numbers are never reused. A drop is one record, written first: from
then on the space is gone, and what is stored of it is deleted (`space_data.py`). When that is done,
the record of the space is deleted, too; the record of the drop stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import msgpack

from euclidesdb_server.errors import CorruptRecord, DataFolderError
from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import StoreReader, unpack


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """A model space: the vectors of one version of one model.

    adopted: the first vectors were made by EuclidesDB (C++), which does not version its models.
    """

    number: int
    model: str
    fingerprint: str
    feature_dim: int
    adopted: bool = False


class SpaceTable:
    """Thread-safe.

    put: writes a record, or deletes it if the value is None; it is on disk when this returns. The
    last argument says what for, in error messages. put_in_time: writes a record that only items
    refer to; if nothing can be written now, with the next item.
    """

    def __init__(
        self,
        reader: StoreReader,
        put: Callable[[bytes, bytes | None, str], None],
        put_in_time: Callable[[bytes, bytes, str], None],
    ) -> None:
        """Raises CorruptRecord, StorageError."""
        self._put = put
        self._put_in_time = put_in_time
        self._lock = threading.Lock()
        self._records: dict[int, SpaceRecord] = {}
        for key, value in reader.prefix(keys.SPACE):
            number = keys.space_of(key)
            fields = unpack(value, f"the record of space {number}", 4)
            self._records[number] = SpaceRecord(number, *fields)
        self._dropped = {keys.space_of(key) for key, _ in reader.prefix(keys.DROPPED_SPACE)}
        self._drops_in_doubt: set[int] = set()

    def all(self) -> list[SpaceRecord]:
        """Every space that is not dropped, in order of creation."""
        with self._lock:
            return [each for each in self._in_order() if each.number not in self._dropped]

    def get(self, number: int) -> SpaceRecord:
        """The space of a number that a record names. Raises CorruptRecord if there is none."""
        with self._lock:
            try:
                return self._records[number]
            except KeyError as error:
                raise CorruptRecord(f"a record names unknown space {number}") from error

    def open(self, model: str, fingerprint: str, feature_dim: int, *, adopted: bool) -> SpaceRecord:
        """The space of a model version; created if it is new, or has been dropped.

        Raises DataFolderError if its vectors have another length.
        """
        with self._lock:
            for space in self._records.values():
                if (space.model, space.fingerprint) != (model, fingerprint):
                    continue
                if space.number in self._dropped:
                    continue
                if space.feature_dim != feature_dim:
                    raise DataFolderError(
                        f"version {fingerprint!r} of model {model!r} has vectors of "
                        f"length {space.feature_dim}, not {feature_dim}"
                    )
                return space
            number = max(self._records.keys() | self._dropped, default=0) + 1
            value = msgpack.packb([model, fingerprint, feature_dim, adopted])
            self._put_in_time(keys.space_key(number), value, f"creating the space of {model!r}")
            space = SpaceRecord(number, model, fingerprint, feature_dim, adopted)
            self._records[number] = space
            return space

    def is_dropped(self, number: int) -> bool:
        """Whether a space has been dropped, be it that its rows are still being deleted."""
        return number in self._dropped

    def dropped(self) -> list[int]:
        """The numbers of all spaces that were ever dropped."""
        with self._lock:
            return sorted(self._dropped)

    def unfinished_drops(self) -> list[SpaceRecord]:
        """The spaces that are dropped, and of which something may still be stored."""
        with self._lock:
            return [each for each in self._in_order() if each.number in self._dropped]

    def drop(self, number: int) -> None:
        """Drop a space, durably.

        Raises StorageError. The space is there then, as long as this process lives: the next one
        may find it dropped, unless `keep` is called before it is used.
        """
        with self._lock:
            self._drops_in_doubt.add(number)
            self._put(keys.dropped_space_key(number), b"", f"dropping space {number}")
            self._drops_in_doubt.discard(number)
            self._dropped.add(number)

    def keep(self, number: int) -> None:
        """Undo a drop that has failed, if there was one: the space is about to be used again.

        Raises StorageError.
        """
        with self._lock:
            if number in self._drops_in_doubt:
                self._put(keys.dropped_space_key(number), None, f"keeping space {number}")
                self._drops_in_doubt.discard(number)

    def finish_drop(self, number: int) -> None:
        """Note that nothing is stored of a dropped space any more. Raises StorageError."""
        with self._lock:
            self._put(keys.space_key(number), None, f"deleting the record of space {number}")
            self._records.pop(number, None)

    def _in_order(self) -> list[SpaceRecord]:
        return sorted(self._records.values(), key=lambda space: space.number)
