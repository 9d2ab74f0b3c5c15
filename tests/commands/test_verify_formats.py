"""`euclidesdb verify` reads the formats that a server reads, and refuses others by name."""

from __future__ import annotations

import shutil

import msgpack
import plyvel
import pytest

from euclidesdb_server.__main__ import main
from euclidesdb_server.store import FeatureStore, keys
from euclidesdb_server.store.layout import STORE_FOLDER
from tests.store.test_upgrade import FORMAT_1


@pytest.fixture
def data(tmp_path):
    return shutil.copytree(FORMAT_1, tmp_path / "data")


def test_a_store_of_format_1_is_sound_and_stays_as_it_is(data, capsys):
    assert main(["verify", "--data", str(data)]) == 0
    assert "10 items with 9 vectors in 2 spaces: all is well" in capsys.readouterr().out
    with FeatureStore(data / STORE_FOLDER) as store:
        assert store.item("1234").current_label > 0
    assert main(["verify", "--data", str(data)]) == 0
    assert "10 items with 9 vectors in 2 spaces: all is well" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--repair"]])
def test_a_store_of_a_later_format_is_refused_and_untouched(data, capsys, options):
    def change(database):
        database.put(keys.DATABASE, msgpack.packb([3]))
        database.put(b"\x7fof a later format", b"")
        return [*database]

    with plyvel.DB(str(data / STORE_FOLDER)) as database:
        before = change(database)
    assert main(["verify", "--data", str(data), *options]) == 1
    assert "has format 3, but this server reads format 2" in capsys.readouterr().err
    with plyvel.DB(str(data / STORE_FOLDER)) as database:
        assert [*database] == before
