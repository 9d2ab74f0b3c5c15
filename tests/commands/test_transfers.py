"""`export` and `import`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.support.images import encoded, noise


@pytest.fixture(autouse=True)
def items(db):
    db.add("t-image", image=encoded(noise(0, 8, "L")), models=["digits"], attributes={"t": 1})
    db.add("t-vector", vectors={"given": [1, 2, 3]}, attributes={"t": 2}, metadata=b"m")


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl"])
def test_what_is_exported_can_be_imported(command, db, tmp_path, ending):
    file = tmp_path / f"items.{ending}"
    ran = command("export", "--to", file, "--where", "exists(t)", "--payloads")
    assert ran == (0, f"2 items written to {file}\n", "")
    before = [db.get(each, include_payload=True) for each in ("t-image", "t-vector")]
    db.remove_many(["t-image", "t-vector"])
    assert command("import", file) == (0, "2 items imported\n", "")
    after = [db.get(each, include_payload=True) for each in ("t-image", "t-vector")]
    for one, other in zip(before, after, strict=True):
        assert (one.id, one.attributes, one.metadata) == (
            other.id,
            other.attributes,
            other.metadata,
        )
        assert (one.image, one.models) == (other.image, other.models)


def test_results_are_printed_as_json(command, tmp_path):
    file = tmp_path / "own.npz"
    vectors = np.array([[1, 2, 3], [1, 2, np.inf], [4, 5, 6]])
    np.savez(file, ids=["own-1", "own-\x1b", "own-3"], embedding=vectors)
    ran = command("import", file, "--vectors", "embedding", "given", "--json")
    (error,) = json.loads(ran.out)["errors"]
    assert (ran.code, json.loads(ran.out)["imported"]) == (1, 2)
    assert (error["position"], error["id"], error["reason"]) == (1, "own-\x1b", "invalid_request")
    ran = command("import", file, "--vectors", "embedding", "given")
    assert (ran.code, ran.out) == (
        1,
        "2 items imported: 0 new, 2 stored already and unchanged\n",
    )
    assert ran.err.startswith(f"euclidesdb: {file}: item 1 (own-\\x1b): ")
    target = tmp_path / "out.npz"
    ran = command(
        "export",
        "--to",
        target,
        "--where",
        'startswith(id(), "own-1")',
        "--model",
        "given",
        "--json",
    )
    assert json.loads(ran.out) == {"exported": 1, "file": str(target)}


def test_files_that_cannot_be_used_are_named(command, tmp_path):
    for arguments, message in (
        (("export", "--to", tmp_path / "items.csv"), "must end with one of"),
        (("export", "--to", tmp_path / "missing" / "items.jsonl"), "No such file"),
        (("export", "--to", tmp_path / "items.npz", "--payloads"), "cannot hold payloads"),
        (("export", "--to", tmp_path / "items.npz", "--model", "nobody"), "nobody"),
        (("import", tmp_path / "missing.npz"), "missing.npz: No such file or directory\n"),
        (("import", tmp_path / "missing.parquet"), "missing.parquet: No such file or directory\n"),
        (("import", tmp_path / "rows.csv"), "`euclidesdb add` runs a model over the rows"),
        (("import", tmp_path / "folder.parquet"), "folder.parquet"),
    ):
        (tmp_path / "folder.parquet").mkdir(exist_ok=True)
        ran = command(*arguments)
        assert (ran.code, ran.out) == (1, "")
        assert message in ran.err
        assert "Traceback" not in ran.err
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    ran = command("import", tmp_path / "broken.parquet")
    assert (ran.code, ran.out) == (1, "")
