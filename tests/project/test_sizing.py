"""The formulas of docs/sizing.md predict what small databases take."""

from __future__ import annotations

import importlib.util
import json
import sys
from contextlib import suppress

import numpy as np
import pytest

import euclidesdb
from tests.project.tree import ROOT
from tests.support.images import encoded, noise
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

ROWS, DIM = 2000, 96
TOLERANCE = 0.25
METADATA = 40
WRITE_BUFFER_KIB = 64


@pytest.fixture(scope="module")
def sizes():
    """benchmarks/size_formulas.py, which is in no package."""
    spec = importlib.util.spec_from_file_location(
        "size_formulas", ROOT / "benchmarks" / "size_formulas.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def attributes_of(row: int) -> dict[str, object]:
    return {"brand": f"brand-{row % 50}", "price": row / 7, "stock": row * 31 % 1000, "new": True}


def disk_use(folder, part: str) -> float:
    """Bytes of a part of the data folder for each item."""
    files = (file for file in (folder / part).rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files) / ROWS


def load(folder, engine: str, options: dict[str, str]) -> None:
    """A server with the rows, indexed and written to disk, and then stopped."""
    save_vector_space(folder / "models", feature_dim=DIM)
    config = {"compact_rows": ROWS, "recall_interval": 0}
    with (
        start_server(
            folder / "data", folder / "models", engine=engine, engines={engine: options},
            index=config, database={"write_buffer_kib": WRITE_BUFFER_KIB},
        ) as server,
        euclidesdb.Client(server.address, timeout=100) as db,
    ):  # fmt: skip
        generator = np.random.default_rng(0)
        assert not db.add_vectors(
            [f"item-{row}" for row in range(ROWS)],
            generator.standard_normal((ROWS, DIM), np.float32),
            model="given",
            attributes=[attributes_of(row) for row in range(ROWS)],
            metadata=[generator.bytes(METADATA) for _ in range(ROWS)],
        )
        db.count({"brand": "brand-1"})
        wait_for(lambda: db.models()[0].index.segments == 1, "the index")
        wait_for(lambda: [*(folder / "data" / "columns").glob("*.arrow")], "the columns")
        wait_for(lambda: log_bytes(folder / "data") < WRITE_BUFFER_KIB << 10, "LevelDB's flush")


def log_bytes(data) -> int:
    """Of LevelDB's logs. One whose rows are in tables, too, is deleted a moment later."""
    with suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in (data / "leveldb").glob("*.log"))
    return 1 << 40


@pytest.mark.parametrize(
    ("engine", "options", "named"),
    [
        ("exact", {}, "exact"),
        ("faiss", {"index_type": "HNSW32"}, "faiss HNSW32"),
        ("annoy", {"trees": "10"}, "annoy"),
    ],
)
def test_the_disk_that_vectors_take_is_predicted(sizes, tmp_path, engine, options, named):
    load(tmp_path, engine, options)
    attributes = [attributes_of(row) for row in range(ROWS)]
    item = sizes.Item(
        dim=DIM,
        id=9,
        attributes=round(np.mean([len(json.dumps(each)) for each in attributes])),
        metadata=METADATA,
        fields=4,
        strings=8,
        trees=int(options.get("trees", 0)),
    )
    item = sizes.with_index(item, named)
    for part in ("leveldb", "segments", "columns"):
        ratio = sizes.predicted(part, item) / disk_use(tmp_path / "data", part)
        assert ratio == pytest.approx(1, abs=TOLERANCE), part


def test_the_disk_that_images_and_predictions_take_is_predicted(sizes, tmp_path, tiny_models):
    images = [encoded(noise(row, size=16)) for row in range(300)]
    with (
        start_server(
            tmp_path / "data", tiny_models, database={"write_buffer_kib": WRITE_BUFFER_KIB}
        ) as server,
        euclidesdb.Client(server.address, timeout=100) as db,
    ):  # fmt: skip
        items = [
            euclidesdb.NewItem(f"item-{row}", image=image, models=["tiny"])
            for row, image in enumerate(images)
        ]
        assert not db.add_many(items)
    item = sizes.Item(dim=12, predictions=3, payload=np.mean([*map(len, images)]), id=8)
    used = disk_use(tmp_path / "data", "leveldb") * ROWS / len(images)
    assert sizes.predicted("leveldb", item) / used == pytest.approx(1, abs=TOLERANCE)


def test_every_row_of_bytes_is_a_formula(sizes):
    cells = [
        row.split("|")[2].strip()
        for row in sizes.PAGE.read_text(encoding="utf-8").splitlines()
        if row.startswith("|") and "dim" in row and "| meaning |" not in row
    ]
    shown = {formula.text for formula in sizes.formulas()}
    item = sizes.Item(dim=8, predictions=3, payload=5)
    assert all(formula.bytes_for(item) >= 0 for formula in sizes.formulas())
    assert {cell.strip("`") for cell in cells if "*" in cell} <= shown
