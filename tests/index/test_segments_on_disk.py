"""A segment that is whole and fits is used after a restart; any other is dropped and rebuilt."""

from __future__ import annotations

import json
import shutil
import threading
import zlib
from collections.abc import Callable

import pytest

from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.index.segment_files import LABELS, MANIFEST
from tests.index.fake_engines import GatedEngine, GatedOptions

ANSWER = [("new", 0.0), ("b", 2.0), ("c", 3.0)]


@pytest.fixture
def indexed(place):
    """A segment of three rows, one of which is gone by now; one unindexed row."""
    for name, position in (("a", 1), ("b", 2), ("c", 3)):
        place.add(name, position, 0)
    place.space.compact()
    place.remove("a")
    place.add("new", 0, 0)
    assert place.generations() == ["1"]
    assert place.found(0, 0) == ANSWER
    return place


def edit_manifest(place, change: Callable[[dict], None]) -> None:
    """Change the manifest, with a checksum that fits."""
    file = place.segments / "1" / MANIFEST
    manifest = json.loads(file.read_text())
    del manifest["crc32"]
    change(manifest)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    manifest["crc32"] = zlib.crc32(text.encode())
    file.write_text(json.dumps(manifest))


def check_replaced(place) -> None:
    """After a restart the segment is replaced from the store, and can be built again."""
    place.engine = type(place.engine)(place.engine.options)
    place.reopen()
    assert place.space.backlog()[1] == 0
    assert "1" not in place.generations()
    assert place.found(0, 0) == ANSWER
    place.space.compact()
    assert place.space.backlog() == (0, 3)
    assert place.found(0, 0) == ANSWER
    place.reopen()
    assert place.space.backlog() == (0, 3)
    assert place.found(0, 0) == ANSWER


def test_a_segment_survives_a_restart_and_is_not_rebuilt(indexed):
    indexed.engine = GatedEngine()
    indexed.reopen()
    assert indexed.engine.builds == 0
    assert indexed.generations() == ["1"]
    assert indexed.space.backlog() == (2, 3)  # the unindexed row and the deleted one
    assert indexed.found(0, 0) == ANSWER


def test_only_the_newest_generation_is_left_after_a_compaction(indexed):
    for _ in range(2):
        indexed.space.compact()
        (left,) = indexed.generations()
        assert left == str(indexed.space.segments[0].record.generation)


def test_a_segment_that_the_store_does_not_name_is_never_used(indexed):
    """It was left by an interrupted build, or by a store that has been restored since."""
    shutil.copytree(indexed.segments / "1", indexed.segments / "2")
    indexed.reopen()
    assert indexed.generations() == ["1"]
    assert indexed.found(0, 0) == ANSWER


def test_a_segment_in_the_place_of_the_one_that_the_store_names_is_not_used(indexed):
    edit_manifest(indexed, lambda manifest: manifest.update(up_to_label=4))
    check_replaced(indexed)


def test_a_store_that_was_restored_uses_the_segments_of_its_time(place):
    for index in range(3):
        place.add(f"early {index}", index, 0)
    place.space.compact()
    place.close()
    shutil.copytree(place.folder / "leveldb", place.folder / "backup")
    place._open()
    place.remove("early 0")
    place.add("late", 9, 0)
    place.space.compact()
    place.close()
    shutil.rmtree(place.folder / "leveldb")
    (place.folder / "backup").rename(place.folder / "leveldb")
    place._open()
    expected = [f"early {index}" for index in range(3)]
    assert place.names() == expected
    place.add("other", 5, 0)  # takes the label that "late" had
    place.space.compact()
    assert place.names() == [*expected, "other"]
    place.reopen()
    assert place.names() == [*expected, "other"]


@pytest.mark.parametrize("name", ["vectors.json", LABELS, "ids.utf8", "ids.i64"])
@pytest.mark.parametrize("how", ["flipped", "cut short", "missing"])
def test_a_segment_with_a_damaged_file_is_dropped(indexed, name, how):
    file = indexed.segments / "1" / name
    content = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "cut short":
        file.write_bytes(content[:-1])
    else:
        content[-1] ^= 0x10
        file.write_bytes(content)
    check_replaced(indexed)


@pytest.mark.parametrize("how", ["cut short", "missing"])
def test_a_segment_without_all_of_its_vectors_is_dropped(indexed, how):
    file = indexed.segments / "1" / "vectors.f32"
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    check_replaced(indexed)


def test_vectors_are_verified_after_the_start_and_rebuilt_from_the_store(indexed, caplog):
    file = indexed.segments / "1" / "vectors.f32"
    content = bytearray(file.read_bytes())
    content[5] ^= 0x10
    file.write_bytes(content)
    indexed.reopen()
    assert indexed.space.status().verifying
    indexed.space.rewriter.verify(threading.Event())
    assert not indexed.space.status().verifying
    assert "damaged" in caplog.text
    assert indexed.found(0, 0) == ANSWER
    assert indexed.generations() == ["2"]
    indexed.space.compact()
    assert indexed.space.backlog() == (0, 3)
    indexed.reopen()
    assert indexed.found(0, 0) == ANSWER


def test_damaged_vectors_are_not_merged_into_a_new_segment(indexed):
    file = indexed.segments / "1" / "vectors.f32"
    content = bytearray(file.read_bytes())
    content[5] ^= 0x10
    file.write_bytes(content)
    indexed.reopen()
    indexed.space.compact()
    assert indexed.found(0, 0) == ANSWER


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"crc32": 0}', "null"])
def test_a_segment_with_a_damaged_manifest_is_dropped(indexed, content):
    (indexed.segments / "1" / MANIFEST).write_text(content)
    check_replaced(indexed)


def test_a_segment_without_a_manifest_is_dropped(indexed):
    (indexed.segments / "1" / MANIFEST).unlink()
    check_replaced(indexed)


def test_another_engine_serves_until_its_segment_is_replaced(indexed):
    indexed.engine = ExactEngine()
    indexed.reopen()
    assert indexed.space.backlog() == (2, 3)
    assert indexed.space.segments[0].outdated
    assert indexed.found(0, 0) == ANSWER
    indexed.space.compact()
    assert not indexed.space.segments[0].outdated
    assert indexed.found(0, 0) == ANSWER


def test_other_build_options_serve_until_the_segment_is_replaced(indexed):
    indexed.engine = GatedEngine(GatedOptions(trees=10))
    indexed.reopen()
    assert indexed.space.segments[0].outdated
    assert indexed.engine.builds == 0
    assert indexed.found(0, 0) == ANSWER
    indexed.engine = GatedEngine()  # as it was: nothing has been lost
    indexed.reopen()
    assert not indexed.space.segments[0].outdated
    assert indexed.found(0, 0) == ANSWER


@pytest.mark.parametrize("metric", ["inner_product", "cosine"])
def test_under_another_metric_rows_are_compared_until_the_segment_is_replaced(indexed, metric):
    expected = {
        "inner_product": [("c", -3.0), ("b", -2.0), ("new", 0.0)],
        "cosine": [("b", 0.0), ("c", 0.0), ("new", 1.0)],
    }[metric]
    indexed.engine = GatedEngine(GatedOptions(metric, trees=1))
    indexed.reopen()
    assert indexed.found(1, 0) == expected
    indexed.space.compact()
    assert indexed.found(1, 0) == expected
    indexed.reopen()
    assert indexed.space.backlog() == (0, 3)
    assert indexed.found(1, 0) == expected
    indexed.engine = GatedEngine()
    indexed.reopen()
    assert indexed.found(0, 0) == ANSWER


@pytest.mark.parametrize(("built", "configured"), [("l2", "cosine"), ("cosine", "l2")])
def test_an_index_of_a_metric_that_scales_its_rows_outlives_a_mistake(indexed, built, configured):
    indexed.engine = GatedEngine(GatedOptions(built))
    indexed.reopen()
    indexed.space.compact()
    before = indexed.found(1, 0)
    (generation,) = indexed.generations()
    indexed.engine = GatedEngine(GatedOptions(configured))
    indexed.reopen()
    assert indexed.space.segments[0].outdated
    indexed.remove("b")
    indexed.add("d", 5, 0)
    during = indexed.names(1, 0)
    indexed.reopen()
    assert indexed.names(1, 0) == during
    assert indexed.generations() == [generation]
    indexed.engine = GatedEngine(GatedOptions(built))
    indexed.reopen()
    assert indexed.engine.builds == 0
    assert not indexed.space.segments[0].outdated
    assert [each for each in indexed.found(1, 0) if each[0] != "d"] == [
        each for each in before if each[0] != "b"
    ]
    assert not (indexed.segments / generation / "rescaled").exists()


def test_another_model_version_has_its_own_space(indexed):
    indexed.fingerprint = "version 2"
    indexed.reopen()
    assert indexed.found(0, 0) == []
    indexed.fingerprint = "version 1"
    indexed.reopen()
    assert indexed.space.backlog() == (2, 3)
    assert indexed.found(0, 0) == ANSWER


def test_what_an_interrupted_build_left_is_deleted(indexed):
    shutil.copytree(indexed.segments / "1", indexed.segments / "2.tmp")
    indexed.reopen()
    assert indexed.generations() == ["1"]
    assert indexed.found(0, 0) == ANSWER


def test_a_build_starts_over_after_an_interruption(indexed):
    (indexed.segments / "2.tmp").mkdir()
    (indexed.segments / "2.tmp" / "vectors.f32").write_bytes(b"half")
    (indexed.segments / "2.tmp" / "other").write_bytes(b"half")
    indexed.space.compact()
    (left,) = indexed.generations()
    assert not (indexed.segments / left / "other").exists()
    assert indexed.found(0, 0) == ANSWER


def test_a_segments_folder_that_is_gone_costs_only_the_index(indexed):
    shutil.rmtree(indexed.folder / "segments")
    indexed.reopen()
    assert indexed.found(0, 0) == ANSWER
