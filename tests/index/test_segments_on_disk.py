"""A segment that is whole and fits is used after a restart; any other is dropped and rebuilt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.index.segment_folder import LABELS, MANIFEST, manifest_checksum
from tests.index.fake_engines import GatedEngine

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


def edit_manifest(place, change: Callable[[dict], None], *, checksum: bool) -> None:
    """Change the manifest, with its checksum made to fit or not."""
    file = place.segments / "1" / MANIFEST
    manifest = json.loads(file.read_text())
    stored = manifest.pop("crc32")
    change(manifest)
    manifest["crc32"] = manifest_checksum(manifest) if checksum else stored
    file.write_text(json.dumps(manifest))


def check_dropped(place) -> None:
    """The segment is not used after a restart, answers are right, and a new one can be built."""
    place.reopen()
    assert place.space.backlog()[1] == 0
    assert place.generations() == []
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
    for expected in ("2", "3"):
        indexed.space.compact()
        assert indexed.generations() == [expected]


def test_the_newest_of_several_whole_generations_is_used(indexed):
    shutil.copytree(indexed.segments / "1", indexed.folder / "old")
    indexed.space.compact()
    shutil.copytree(indexed.folder / "old", indexed.segments / "1")
    indexed.reopen()
    assert indexed.generations() == ["2"]
    assert indexed.space.backlog() == (0, 3)
    assert indexed.found(0, 0) == ANSWER


def test_an_older_intact_generation_is_used_if_the_newest_is_damaged(indexed):
    shutil.copytree(indexed.segments / "1", indexed.segments / "2")
    (indexed.segments / "2" / LABELS).write_bytes(b"")
    indexed.reopen()
    assert indexed.generations() == ["1"]
    assert indexed.found(0, 0) == ANSWER


@pytest.mark.parametrize("name", ["vectors.f32", "vectors.json", LABELS])
@pytest.mark.parametrize("how", ["flipped", "cut short", "missing"])
def test_a_segment_with_a_damaged_file_is_dropped(indexed, name, how):
    file = indexed.segments / "1" / name
    content = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "cut short":
        file.write_bytes(content[:-1])
    else:
        content[5] ^= 0x10
        file.write_bytes(content)
    check_dropped(indexed)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"crc32": 0}', "null"])
def test_a_segment_with_a_damaged_manifest_is_dropped(indexed, content):
    (indexed.segments / "1" / MANIFEST).write_text(content)
    check_dropped(indexed)


def test_a_segment_without_a_manifest_is_dropped(indexed):
    (indexed.segments / "1" / MANIFEST).unlink()
    check_dropped(indexed)


def test_a_manifest_that_fails_its_checksum_is_not_believed(indexed):
    edit_manifest(indexed, lambda manifest: manifest.update(up_to_label=99), checksum=False)
    check_dropped(indexed)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 1),
        ("format", 3),
        ("space", 7),
        ("model", "another"),
        ("fingerprint", "another"),
        ("dim", 3),
        ("engine", "another"),
        ("build_options", {"trees": 3}),
        ("metric", "cosine"),
    ],
)
def test_a_segment_of_something_else_is_dropped(indexed, key, value):
    edit_manifest(indexed, lambda manifest: manifest.update({key: value}), checksum=True)
    check_dropped(indexed)


def test_a_manifest_whose_checksum_fits_is_used(indexed):
    """What the tests above rely on."""
    edit_manifest(indexed, lambda _: None, checksum=True)
    indexed.reopen()
    assert indexed.space.backlog() == (2, 3)


def test_another_engine_drops_the_segment(indexed):
    indexed.engine = ExactEngine()
    check_dropped(indexed)


def test_other_build_options_drop_the_segment(indexed):
    indexed.engine = GatedEngine(trees=10)
    check_dropped(indexed)


def test_another_metric_drops_the_segment(indexed):
    indexed.engine = GatedEngine("inner_product")
    indexed.reopen()
    assert indexed.generations() == []
    assert indexed.found(1, 0) == [("c", -3.0), ("b", -2.0), ("new", 0.0)]


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
    assert indexed.generations() == ["2"]
    assert not (indexed.segments / "2" / "other").exists()
    assert indexed.found(0, 0) == ANSWER


def test_a_segments_folder_that_is_gone_costs_only_the_index(indexed):
    shutil.rmtree(indexed.folder / "segments")
    indexed.reopen()
    assert indexed.found(0, 0) == ANSWER
