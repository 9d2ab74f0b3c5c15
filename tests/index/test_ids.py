"""Ids of a segment's rows: packed, saved, and taken by row."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.index.ids import Ids

PLAIN = ["a", "item-12", "x" * 512, "", "z"]
ODD = ["naïve", "日本", "\0", "a b", "🙂" * 128]


@pytest.mark.parametrize("ids", [[], PLAIN, ODD, [*PLAIN, *ODD]])
def test_ids_come_back_as_they_were(tmp_path, ids):
    Ids.of(ids).save(tmp_path)
    for packed in (Ids.of(ids), Ids.load(tmp_path)):
        assert len(packed) == len(ids)
        assert packed.take(np.arange(len(ids))) == ids
        assert packed.take(np.array([], np.int64)) == []
        backwards = np.arange(len(ids))[::-1]
        assert packed.take(backwards) == ids[::-1]


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    Ids.of(PLAIN).save(tmp_path)
    (tmp_path / "ids.utf8").write_bytes(b"short")
    with pytest.raises(ValueError, match="does not fit"):
        Ids.load(tmp_path)
