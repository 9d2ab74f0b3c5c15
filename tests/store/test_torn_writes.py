"""A torn write at the end of LevelDB's log is cut off; damage before the end is not."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import plyvel
import pytest

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.log_format import BLOCK_SIZE, HEADER
from tests.support.leveldb_logs import fragment, log_of, replaced, write_batch
from tests.support.stores import copy_of_crashed

VALUES = [
    bytes([65 + n % 26]) * length for n, length in enumerate([10, 3000, 40_000, 5, 70_000, 9])
]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, list[int]]:
    """A LevelDB whose log holds records of one piece and of several, and where each ends."""
    folder = tmp_path_factory.mktemp("crashed")
    database = plyvel.DB(str(folder / "live"), create_if_missing=True)
    ends = []
    for number, value in enumerate(VALUES):
        database.put(b"%d" % number, value, sync=True)
        ends.append(log_of(folder / "live").stat().st_size)
    copy = copy_of_crashed(folder / "live", folder / "copy")
    database.close()
    return copy, ends


@pytest.fixture(scope="module")
def crashed(written) -> Path:
    return written[0]


@pytest.fixture(scope="module")
def ends(written) -> list[int]:
    return written[1]


def opened(crashed: Path, tmp_path: Path, log: bytes) -> list[int]:
    """Which writes are there, after the log has been replaced."""
    folder = replaced(crashed, tmp_path / "leveldb")
    log_of(folder).write_bytes(log)
    database = LevelDB(folder, sync=True)
    there = [n for n, value in enumerate(VALUES) if database.get(b"%d" % n) == value]
    missing = [n for n in range(len(VALUES)) if database.get(b"%d" % n) is None]
    database.close()
    assert sorted(there + missing) == [*range(len(VALUES))], "a value is wrong"
    return there


def refused(crashed: Path, tmp_path: Path, log: bytes) -> None:
    """The log is refused as damaged, by name, and nothing is cut off."""
    with pytest.raises(DataFolderError, match=rf"damaged: .*{log_of(crashed).name} at byte"):
        opened(crashed, tmp_path, log)
    assert log_of(tmp_path / "leveldb").read_bytes() == log


def test_garbage_behind_any_write_is_cut_off_and_kept(crashed, ends, tmp_path):
    log = log_of(crashed).read_bytes()
    chance = random.Random(0)
    for number, end in enumerate(ends):
        noise = chance.randbytes(chance.randint(1, 2 * BLOCK_SIZE))
        assert opened(crashed, tmp_path, log[:end] + noise) == [*range(number + 1)]
    kept = [*(tmp_path / "leveldb.torn").iterdir()]
    assert any(file.read_bytes() == noise for file in kept)


def test_a_last_write_whose_end_is_garbage_is_gone_and_those_before_are_there(
    crashed, ends, tmp_path
):
    log = log_of(crashed).read_bytes()
    chance = random.Random(1)
    for number in range(1, len(VALUES)):
        begin, end = ends[number - 1], ends[number]
        cut = chance.randint(begin + 1, end - 1)
        torn = log[:cut] + chance.randbytes(end - cut)
        assert opened(crashed, tmp_path, torn) == [*range(number)]


def test_a_last_write_of_which_any_part_is_missing_is_gone(crashed, ends, tmp_path):
    """Blocks of a file may reach the disk in any order."""
    log = log_of(crashed).read_bytes()[: ends[4]]
    for start in range(ends[3], ends[4], 9000):
        for end in (start + 4096, ends[4]):
            torn = log[:start] + bytes(min(end, ends[4]) - start) + log[end:]
            assert opened(crashed, tmp_path, torn) == [0, 1, 2, 3]


def test_a_last_write_whose_end_is_zeros_or_missing_is_gone(crashed, tmp_path):
    log = log_of(crashed).read_bytes()
    for cut in (len(log) - 1, len(log) - 5, len(log) - 15):
        assert opened(crashed, tmp_path, log[:cut]) == [*range(len(VALUES) - 1)]
        zeros = log[:cut] + bytes(len(log) - cut)
        assert opened(crashed, tmp_path, zeros) == [*range(len(VALUES) - 1)]


def test_damage_before_the_last_write_is_refused_and_nothing_is_cut(crashed, ends, tmp_path):
    log = log_of(crashed).read_bytes()
    for number in range(len(VALUES) - 1):
        begin = ends[number - 1] if number else 0
        header = range(begin, begin + HEADER.size)
        for position in (*header, (begin + ends[number]) // 2, ends[number] - 1):
            damaged = bytearray(log)
            damaged[position] ^= 0x10
            refused(crashed, tmp_path, bytes(damaged))


def test_damage_is_refused_though_the_last_write_is_torn(crashed, ends, tmp_path):
    log = log_of(crashed).read_bytes()[:-3]
    for number in range(len(VALUES) - 2):
        begin = ends[number - 1] if number else 0
        for position in range(begin, begin + HEADER.size + 1):
            damaged = bytearray(log)
            damaged[position] ^= 0x10
            refused(crashed, tmp_path, bytes(damaged))


def test_zeros_in_the_midst_are_damage_though_leveldb_passes_over_them(crashed, ends, tmp_path):
    log = log_of(crashed).read_bytes()
    for begin, end in pairwise([0, *ends[:-1]]):
        refused(crashed, tmp_path, log[:begin] + bytes(end - begin) + log[end:])


@pytest.mark.parametrize("padding", [50, 40_000])
def test_a_payload_that_holds_a_log_is_not_taken_for_later_writes(tmp_path, padding):
    """Whatever the power cut leaves of the write, and whatever sequence numbers it holds."""
    live = tmp_path / "live"
    with plyvel.DB(str(live), create_if_missing=True) as database:
        database.put(b"before", b"", sync=True)
        begin = log_of(live).stat().st_size
        foreign = fragment(write_batch(2, b"k", b"v")) + fragment(write_batch(3, b"k", b"v"))
        anything = fragment(b"a LevelDB log, as anybody may store one")
        database.put(b"payload", bytes(padding) + anything + foreign + b"x" * 300, sync=True)
        crashed = copy_of_crashed(live, tmp_path / "crashed")
    log = log_of(crashed).read_bytes()
    inside = log.index(foreign)
    cuts = {*range(inside, inside + len(foreign) + 1), *range(begin + 1, len(log), 311)}
    for cut in sorted(cuts):
        folder = replaced(crashed, tmp_path / "torn")
        log_of(folder).write_bytes(log[:cut])
        reopened = LevelDB(folder, sync=True)
        assert reopened.get(b"before") == b""
        assert reopened.get(b"payload") is None
        assert reopened.get(b"k") is None
        reopened.close()
