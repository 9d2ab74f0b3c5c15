"""LevelDB's MANIFEST: a log of changes to the set of tables and logs that hold the database.

Each record is a VersionEdit (LevelDB's db/version_edit.cc). LevelDB syncs a record before it
deletes a file that the record makes obsolete, and syncs the folder before the record, so a file
that the last whole record needs is there, after any power cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from euclidesdb_server.store.log_format import read_records


class _Tag(IntEnum):
    """The kinds of fields in a VersionEdit; these numbers never change."""

    COMPARATOR = 1
    LOG_NUMBER = 2
    NEXT_FILE = 3
    LAST_SEQUENCE = 4
    COMPACT_POINTER = 5
    DELETED_FILE = 6
    NEW_FILE = 7
    PREVIOUS_LOG = 9


@dataclass(slots=True)
class Manifest:
    """What the whole records of a MANIFEST say.

    log_number: logs with at least this number hold what the tables do not; 0: any log may.
    previous_log: one more log to read; 0: none. (Only very old versions of LevelDB set it.)
    logged_sequence: the sequence number of the last write when `log_number` was set. The log of
        that number begins with that of the next write, or an earlier one.
    next_file: the number of the next file. tables: the numbers of the tables in use.
    end: of the last whole record, in bytes; problem: why there are none, or one has no meaning.
    """

    log_number: int = 0
    previous_log: int = 0
    logged_sequence: int = 0
    next_file: int = 0
    tables: set[int] = field(default_factory=set)
    end: int = 0
    problem: str | None = None


def read_manifest(data: bytes) -> Manifest:
    """Read a MANIFEST, up to its first record that is not whole or has no meaning."""
    manifest = Manifest()
    for record in read_records(data):
        if not record.whole:
            break
        try:
            _apply(record.content, manifest)
        except (ValueError, IndexError) as error:
            manifest.problem = f"the record at byte {record.start} cannot be parsed: {error}"
            return manifest
        manifest.end = record.end
    if not manifest.next_file:
        manifest.problem = "it has no whole record that names the files of the database"
    return manifest


def _apply(edit: bytes, manifest: Manifest) -> None:
    """Change `manifest` as a VersionEdit says. Raises ValueError, IndexError."""
    fields = _Fields(edit)
    last_sequence, log_number = 0, None
    deleted, added = set[int](), set[int]()
    while fields.left():
        match tag := fields.number():
            case _Tag.COMPARATOR:
                fields.skip_bytes()
            case _Tag.LOG_NUMBER:
                log_number = fields.number()
            case _Tag.NEXT_FILE:
                manifest.next_file = fields.number()
            case _Tag.LAST_SEQUENCE:
                last_sequence = fields.number()
            case _Tag.COMPACT_POINTER:
                fields.number()  # level
                fields.skip_bytes()
            case _Tag.DELETED_FILE:
                fields.number()  # level
                deleted.add(fields.number())
            case _Tag.NEW_FILE:
                fields.number()  # level
                added.add(fields.number())
                fields.number()  # size
                fields.skip_bytes()  # smallest key
                fields.skip_bytes()  # largest key
            case _Tag.PREVIOUS_LOG:
                manifest.previous_log = fields.number()
            case _:
                raise ValueError(f"unknown tag {tag}")
    # a table that moves to another level is deleted and added
    manifest.tables = (manifest.tables - deleted) | added
    if log_number is not None and (log_number != manifest.log_number or not log_number):
        manifest.log_number, manifest.logged_sequence = log_number, last_sequence


class _Fields:
    """The fields of a VersionEdit, read one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def left(self) -> bool:
        return self._position < len(self._data)

    def number(self) -> int:
        """A varint: seven bits a byte, least significant first."""
        value = shift = 0
        while True:
            byte = self._data[self._position]
            self._position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def skip_bytes(self) -> None:
        length = self.number()
        self._position += length
        if self._position > len(self._data):
            raise ValueError("a key extends beyond its end")
