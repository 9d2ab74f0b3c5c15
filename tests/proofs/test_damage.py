"""Files are damaged in every way: a start then works rightly, or refuses; nothing is ever wrong.

Where a start works, every item is as it was, or the state is an earlier one (a log cut short
after a crash, which LevelDB cannot tell from one that was never written further). And whatever
made something unreadable, `euclidesdb verify` reports, and `--repair` mends.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plyvel
import pytest

from euclidesdb_server.__main__ import main
from euclidesdb_server.errors import CorruptRecord, DatabaseError, DataFolderError, UnknownItem
from euclidesdb_server.store.leveldb_folder import OPTIONS, WRITE_BUFFER_BYTES
from tests.support.assembled import Database, no_models

BUFFERS = (64 << 10, WRITE_BUFFER_BYTES)
ITEMS = 300
REMOVED, UPDATED = range(0, ITEMS, 10), range(5, ITEMS, 10)


def vector(number: int, version: int) -> list[float]:
    return [float(number), float(version)]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory) -> dict[int, Path]:
    """By the size of LevelDB's write buffer, a folder as `fill` makes it."""
    return {
        buffer: fill(tmp_path_factory.mktemp(f"whole-{buffer}") / "data", buffer)
        for buffer in BUFFERS
    }


@pytest.fixture
def buffer() -> int:
    return WRITE_BUFFER_BYTES


@pytest.fixture
def whole(wholes, buffer) -> Path:
    return wholes[buffer]


def fill(folder: Path, buffer: int) -> Path:
    """A data folder with tables, a log, a segment, and items that were updated and removed."""
    with opened(folder, buffer) as database:
        chance = random.Random(0)
        for first in range(0, ITEMS, 50):
            numbers = range(first, first + 50)
            database.add_vectors(
                "one",
                [f"{number}" for number in numbers],
                [vector(number, 0) for number in numbers],
                metadata=[chance.randbytes(700) for _ in numbers],
            )
        database.spaces["one"].compact()
        for number in UPDATED[: len(UPDATED) // 2]:
            database.add(f"{number}", one=vector(number, 1))
        for number in REMOVED[: len(REMOVED) // 2]:
            database.features.remove(f"{number}")
    options = {**OPTIONS, "write_buffer_size": buffer}
    raw = plyvel.DB(str(folder / "leveldb"), **options)
    if buffer == WRITE_BUFFER_BYTES:
        raw.compact_range()  # what there is goes to tables; the rest stays in the log
    raw.close()
    with opened(folder, buffer) as database:
        for number in UPDATED[len(UPDATED) // 2 :]:
            database.add(f"{number}", one=vector(number, 1))
        for number in REMOVED[len(REMOVED) // 2 :]:
            database.features.remove(f"{number}")
    return folder


def opened(folder: Path, buffer: int = WRITE_BUFFER_BYTES) -> Database:
    folder.mkdir(exist_ok=True)
    models = no_models(folder.parent / "models")
    return Database(folder, models, {"one": 2}, sync=True, write_buffer_bytes=buffer)


def check(folder: Path, *, earlier: bool) -> None:
    """All that is answered is right; AssertionError otherwise.

    earlier: the last writes may be missing. Raises CorruptRecord where something is unreadable.
    """
    with opened(folder) as database:
        database.spaces["one"].rewriter.verify(
            threading.Event()
        )  # as a server does in the background
        found = {}
        for number in range(ITEMS):
            try:
                (values,) = database.vectors(f"{number}").values()
            except UnknownItem:
                continue
            found[f"{number}"] = values
        for number in range(ITEMS):
            possible: list[list[float] | None] = [None] if number in REMOVED else []
            if number in UPDATED:
                possible.append(vector(number, 1))
            if (number not in UPDATED and number not in REMOVED) or earlier:
                possible.append(vector(number, 0))
            assert found.get(f"{number}") in possible, number
        searched = {n.id: n.distance for n in database.near([0, 0], "one", 1000)}
        assert searched == pytest.approx(
            {name: float(np.linalg.norm(values)) for name, values in found.items()}
        )


def flip(content: bytes, chance: random.Random) -> bytes:
    position = chance.randrange(len(content))
    return content[:position] + bytes([content[position] ^ 0x20]) + content[position + 1 :]


def zero(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    length = min(len(content) - start, chance.randint(1, 600))
    return content[:start] + bytes(length) + content[start + length :]


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def lengthen(content: bytes, chance: random.Random) -> bytes:
    return content + chance.randbytes(chance.randint(1, 5000))


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes] | None] = {
    "flipped": flip,
    "zeroed": zero,
    "cut": cut,
    "longer": lengthen,
    "deleted": None,
}
FILES = {
    "log": "leveldb/*.log",
    "log after a crash": "leveldb/*.log",
    "table": "leveldb/*.ldb",
    "manifest": "leveldb/MANIFEST-*",
    "manifest after a crash": "leveldb/MANIFEST-*",
    "current": "leveldb/CURRENT",
    "note": "leveldb/CLOSED",
    "segment manifest": "segments/1/*/manifest.json",
    "segment labels": "segments/1/*/labels.i64",
    "segment ids": "segments/1/*/ids.utf8",
    "segment offsets": "segments/1/*/ids.i64",
    "segment vectors": "segments/1/*/vectors.f32",
    "segment shape": "segments/1/*/vectors.json",
}


def damaged(whole: Path, folder: Path, file: str, how: str, chance: random.Random) -> Path:
    """A copy with one file damaged; returns that file."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    if "after a crash" in file:
        (folder / "leveldb/CLOSED").unlink()
    victim = chance.choice(sorted(folder.glob(FILES[file])))
    change = DAMAGE[how]
    if change is None:
        victim.unlink()
    else:
        victim.write_bytes(change(victim.read_bytes(), chance))
    return victim


@pytest.mark.parametrize("rounds", [1, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("file", "buffer"),
    [
        *((file, WRITE_BUFFER_BYTES) for file in FILES),
        *((file, min(BUFFERS)) for file, path in FILES.items() if path.startswith("leveldb/")),
    ],
)
@pytest.mark.timeout(0)
def test_damage_is_refused_or_does_no_harm(whole, tmp_path, file, rounds, capsys, subtests):
    for how in DAMAGE:
        with subtests.test(how):
            check_damage(whole, tmp_path, file, how, rounds, capsys)


def check_damage(whole, tmp_path, file, how, rounds, capsys):
    chance = random.Random(f"{file} {how}")
    for _ in range(rounds):
        folder = tmp_path / "data"
        victim = damaged(whole, folder, file, how, chance)
        spoilt = tmp_path / "spoilt"
        shutil.rmtree(spoilt, ignore_errors=True)
        shutil.copytree(folder, spoilt)
        # without the note of an orderly close, LevelDB cannot know how long its log was
        earlier = file == "log after a crash" and how != "deleted"
        try:
            check(folder, earlier=earlier)
        except (DataFolderError, CorruptRecord) as refusal:
            message = str(refusal)
            if file.startswith("segment") or file == "note":
                raise
            if victim.name not in message and "run `euclidesdb verify`" not in message:
                raise
            capsys.readouterr()
            assert main(["verify", "--data", str(spoilt)]) == 1, victim
            assert "problems" in capsys.readouterr().out
        else:
            assert file != "log" or how == "longer" or earlier
    if file.startswith("segment"):
        assert main(["verify", "--data", str(spoilt)]) == 1
        assert main(["verify", "--data", str(spoilt), "--repair"]) == 0
        check(spoilt, earlier=False)


def test_verify_reports_an_intact_folder(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "data")
    assert main(["verify", "--data", str(tmp_path / "data")]) == 0
    assert capsys.readouterr().out == "270 items with 270 vectors in 1 spaces: all is well\n"
    check(tmp_path / "data", earlier=False)


def test_verify_leaves_a_folder_alone_that_a_server_has_open(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "data")
    with opened(tmp_path / "data"):
        assert main(["verify", "--data", str(tmp_path / "data"), "--repair"]) == 1
    assert "in use by a running server" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_table_is_named_and_a_repair_keeps_all_that_can_be_read(
    whole, tmp_path, capsys, seed
):
    chance = random.Random(seed)
    folder = tmp_path / "data"
    shutil.copytree(whole, folder)
    table = max(folder.glob("leveldb/*.ldb"), key=lambda file: file.stat().st_size)
    content = bytearray(table.read_bytes())
    content[chance.randrange(len(content) // 2)] ^= 0x40
    table.write_bytes(content)
    assert main(["verify", "--data", str(folder)]) == 1
    assert table.name in capsys.readouterr().out
    assert main(["verify", "--data", str(folder), "--repair"]) == 0
    assert "the records that could not be kept" in capsys.readouterr().out
    assert main(["verify", "--data", str(folder)]) == 0
    (aside,) = folder.glob("damaged-*")
    assert (aside / "leveldb" / table.name).read_bytes() == content
    with opened(folder) as database:
        kept = {neighbor.id for neighbor in database.near([0, 0], "one", 1000)}
        for name in kept:
            (values,) = database.vectors(name).values()
            assert values in (vector(int(name), 0), vector(int(name), 1))
        assert len(kept) > 100
        database.add("new", one=[1, 1])


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST-*"])
def test_a_store_that_cannot_be_opened_is_repaired_from_its_tables_and_log(whole, tmp_path, name):
    folder = tmp_path / "data"
    shutil.copytree(whole, folder)
    for file in folder.glob(f"leveldb/{name}"):
        file.unlink()
    with pytest.raises(DatabaseError):
        check(folder, earlier=False)
    assert main(["verify", "--data", str(folder), "--repair"]) == 0
    assert main(["verify", "--data", str(folder)]) == 0
    check(folder, earlier=False)


def test_a_repair_that_was_interrupted_between_its_renames_is_finished(whole, tmp_path, capsys):
    folder = tmp_path / "data"
    shutil.copytree(whole, folder)
    (folder / "leveldb").rename(folder / "leveldb.repaired")
    with pytest.raises(DataFolderError, match=r"a repair of .* was interrupted"):
        opened(folder)
    assert main(["verify", "--data", str(folder), "--repair"]) == 0
    assert "finished an earlier repair" in capsys.readouterr().out
    check(folder, earlier=False)
