"""Ids of a segment's rows: packed, saved, and taken by row."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from euclidesdb_server.index.ids import ROWS_AT_A_TIME, Ids, IdWriter

PLAIN = ["a", "item-12", "x" * 512, "", "z"]
ODD = ["naïve", "日本", "\0", "a b", "🙂" * 128]


def save(ids: Ids, folder: Path) -> None:
    with IdWriter(folder) as writer:
        writer.append(ids)


@pytest.mark.parametrize("ids", [[], PLAIN, ODD, [*PLAIN, *ODD]])
def test_ids_come_back_as_they_were(tmp_path, ids):
    save(Ids.of(ids), tmp_path)
    for packed in (Ids.of(ids), Ids.load(tmp_path)):
        assert len(packed) == len(ids)
        assert packed.take(np.arange(len(ids))) == ids
        assert packed.take(np.array([], np.int64)) == []
        backwards = np.arange(len(ids))[::-1]
        assert packed.take(backwards) == ids[::-1]
        assert [packed.at(row) for row in range(len(ids))] == ids


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    save(Ids.of(PLAIN), tmp_path)
    (tmp_path / "ids.utf8").write_bytes(b"short")
    with pytest.raises(ValueError, match="does not fit"):
        Ids.load(tmp_path)


def test_ids_of_chosen_rows_are_written(tmp_path):
    ids = [*PLAIN, *ODD] * (ROWS_AT_A_TIME // 8)
    rows = np.flatnonzero(np.random.default_rng(0).random(len(ids)) < 0.5)
    with IdWriter(tmp_path) as writer:
        writer.append(Ids.of(ids), rows)
        writer.append(Ids.of(PLAIN))
    expected = [ids[row] for row in rows] + PLAIN
    loaded = Ids.load(tmp_path)
    assert loaded.take(np.arange(len(loaded))) == expected


def test_ids_that_are_an_int32_are_those_that_the_old_api_can_return():
    border = [-(1 << 31) - 1, -(1 << 31), (1 << 31) - 1, 1 << 31, 0, -1, 7, 10, 9_999_999_999]
    odd = ["-0", "00", "01", "+1", "-", "", "1 ", " 1", "1a", "\u0661", "12345678901", "--1"]
    ids = [*map(str, border), *odd, *PLAIN, *ODD]
    decimal = re.compile(r"0|-?[1-9][0-9]{0,9}")
    expected = [
        decimal.fullmatch(item_id) is not None and -(1 << 31) <= int(item_id) < 1 << 31
        for item_id in ids
    ]
    assert Ids.of(ids).int32_rows().tolist() == expected
    assert not Ids.of(["", ""]).int32_rows().any()
    assert Ids.of([]).int32_rows().tolist() == []
