"""Disk and memory of real servers, next to the formulas of docs/sizing.md.

    python benchmarks/sizing.py [--rows 20000] [--only disk memory unindexed workers]

Disk is the size of all files once everything is one segment and the server was started again.
Memory is what the server has for itself (`private`: without the pages of mapped files, which the
system can take back), after that start and some searches.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from served_vectors import MODEL, SPACE, clustered, index_all
from server_observer import memory_of
from size_formulas import Item, predicted, with_index

import euclidesdb
from euclidesdb_server.demo.digits import split_digits
from euclidesdb_server.demo.server_process import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
MIB = float(1 << 20)
PER_CALL = 5000
CONFIG = """
[models]
dir_path = {models}
names = {names}
[database]
db_path = data
write_buffer_kib = 256
[server]
search_engine = {engine}
[index]
idle_seconds = 1
recall_interval = 0
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A space of ready-made vectors. engine: as docs/sizing.md writes it."""

    engine: str
    dim: int
    options: dict[str, str] = field(default_factory=dict)
    attributes: bool = True
    metadata: int = 0

    def item(self, rows: int) -> Item:
        """What the formulas are given."""
        samples = [attributes_of(row) for row in range(1000)] if self.attributes else [{}]
        item = Item(
            dim=self.dim,
            id=len(id_of(0)),
            metadata=self.metadata,
            attributes=round(np.mean([len(json.dumps(each)) for each in samples]))
            if self.attributes
            else 0,
            fields=len(samples[0]),
            strings=round(np.mean([_length(each) for each in samples])),
            trees=int(self.options.get("trees", 0)),
            rows=rows,
        )
        return with_index(item, self.engine)


CASES = (
    Case("exact", 64, attributes=False),
    Case("exact", 384, metadata=100),
    Case("faiss HNSW32", 128, {"index_type": "HNSW32"}),
    Case("faiss IVF...,PQ16", 128, {"index_type": "IVF128,PQ16"}),
    Case("annoy", 128, {"trees": "32"}),
)


def id_of(row: int) -> str:
    """The id of an item."""
    return f"item-{row:08}"


def attributes_of(row: int) -> dict[str, Any]:
    """Attributes as a shop might have them."""
    chance = random.Random(row)  # noqa: S311  # not a secret
    return {
        "brand": f"brand-{chance.randrange(500)}",
        "price": round(chance.uniform(1, 500), 2),
        "stock": chance.randrange(1000),
        "title": " ".join(chance.choice(WORDS) for _ in range(6)),
    }


WORDS = ("red", "blue", "wooden", "steel", "chair", "table", "lamp", "large", "small", "light")


def _length(attributes: dict[str, Any]) -> int:
    return sum(len(value) for value in attributes.values() if isinstance(value, str))


@contextmanager
def serving(folder: Path, engine: str, sections: str, models: str) -> Iterator[ServerProcess]:
    """A server in `folder`; a second one has the data of the first."""
    names = "digits" if models != "models" else ""
    config = CONFIG.format(engine=engine, models=models, names=names) + sections
    (folder / "euclidesdb.conf").write_text(config)
    process = ServerProcess(
        data=folder / "data", log=folder / "log", config=folder / "euclidesdb.conf"
    )
    with process as server:
        server.start()
        yield server
        server.stop()


def load(server: ServerProcess, case: Case, rows: int) -> None:
    """Add the rows, and have them built into one segment."""
    add(server, case, 0, rows)
    index_all(server)


def add(server: ServerProcess, case: Case, first: int, last: int) -> None:
    """Add the rows of these numbers."""
    with euclidesdb.Client(server.address, timeout=600) as db:
        for start in range(first, last, PER_CALL):
            numbers = range(start, min(start + PER_CALL, last))
            refused = db.add_vectors(
                list(map(id_of, numbers)),
                clustered(len(numbers), start, dim=case.dim),
                model=SPACE,
                attributes=list(map(attributes_of, numbers)) if case.attributes else None,
                metadata=[bytes(np.random.default_rng(n).bytes(case.metadata)) for n in numbers]
                if case.metadata
                else None,
            )
            if refused:
                raise SystemExit(f"refused: {refused[0]}")


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def row(what: str, measured: float, formula: float, unit: str) -> None:
    """Print a row of the table."""
    print(f"| {what} | {measured:,.0f} {unit} | {formula:,.0f} {unit} | "
          f"{formula / measured:.2f} |", flush=True)  # fmt: skip


def measure(case: Case, rows: int, parts: list[str]) -> None:
    """Disk and memory of a space."""
    item = case.item(rows)
    engine = case.engine.split()[0]
    section = "".join(f"{key} = {value}\n" for key, value in case.options.items())
    section = f"[{engine}]\n{section}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "models" / SPACE
        model.mkdir(parents=True)
        (model / "model.conf").write_text(MODEL.format(name=SPACE, dim=case.dim))
        with serving(folder, engine, section, "models") as server:
            load(server, case, rows)
            time.sleep(2)  # files of columns are written in the background
        title = f"{case.engine}, {case.dim} numbers" + (", attributes" if case.attributes else "")
        with serving(folder, engine, section, "models") as server:
            search(server, case)
            found = memory_of(server.pid)
        if "disk" in parts:
            for place in ("leveldb", "segments", "columns"):
                bytes_each = size(folder / "data" / place) / rows
                row(f"{title}: `{place}`", bytes_each, predicted(place, item), "bytes an item")
        if "memory" in parts and found is not None:
            formula = predicted("base", item) + predicted("private", item) * rows
            row(f"{title}: server, private", found.private / MIB, formula / MIB, "MiB")
            files = found.resident - found.private
            print(f"| {title}: server, mapped files | {files / MIB:,.0f} MiB | | |")


def search(server: ServerProcess, case: Case) -> None:
    """Search with and without a filter."""
    with euclidesdb.Client(server.address, timeout=100) as db:
        for query in clustered(200, 7, dim=case.dim):
            db.find_similar(vector=query, model=SPACE, top_k=10)
        if case.attributes:
            for price in range(20):
                db.find_similar(vector=query, model=SPACE, filter={"price": {"$lt": price * 20}})


def measure_unindexed(rows: int) -> None:
    """The memory that rows take which are in no index yet."""
    case = Case("exact", 64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "models" / SPACE
        model.mkdir(parents=True)
        (model / "model.conf").write_text(MODEL.format(name=SPACE, dim=case.dim))
        with serving(folder, "exact", "compact_rows = 100000000\n", "models") as server:
            private = []
            for start, stop in ((0, 2000), (2000, 2000 + rows)):
                add(server, case, start, stop)
                search(server, case)
                found = memory_of(server.pid)
                private.append(0 if found is None else found.private)
    each = (private[1] - private[0]) / rows
    row("rows without an index, 64 numbers", each, predicted("unindexed", case.item(rows)), "bytes")


def measure_images(parts: list[str]) -> None:
    """Disk of images with their predictions, and the memory of the worker of their model."""
    split = split_digits()
    digits = [*split.added, *split.held_out]
    payload = round(np.mean([len(digit.png) for digit in digits]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder, "exact", "", str(ROOT / "models")) as server:
            with euclidesdb.Client(server.address, timeout=100) as db:
                (info,) = db.models()
                refused = db.add_many(
                    [
                        euclidesdb.NewItem(id_of(row), image=digit.png, models=["digits"])
                        for row, digit in enumerate(digits)
                    ]
                )
                if refused:
                    raise SystemExit(f"refused: {refused[0]}")
                db.count('digits.label == "7"')
            workers = psutil.Process(server.pid).children(recursive=True)
            private = [memory_of(worker.pid) for worker in workers]
        item = Item(
            dim=info.feature_dim,
            predictions=info.prediction_dim,
            payload=payload,
            id=len(id_of(0)),
        )
        if "disk" in parts:
            measured = size(folder / "data" / "leveldb") / len(digits)
            row("digits, images: `leveldb`", measured, predicted("leveldb", item), "bytes an item")
        if "workers" in parts:
            largest = max(each.private for each in private if each is not None)
            weights = (ROOT / "models" / "digits" / "digits.pt").stat().st_size
            formula = predicted("worker", replace(item, weights=weights))
            row("digits: worker, private", largest / MIB, formula / MIB, "MiB")


def main() -> None:
    """Measure, and print the results as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    kinds = ("disk", "memory", "unindexed", "workers")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only", nargs="+", choices=kinds, default=list(kinds))
    chosen = parser.parse_args()
    print(f"{chosen.rows:,} items\n\n| what | measured | formula | ratio |\n|---|---|---|---|")
    if {"disk", "memory"} & set(chosen.only):
        for case in CASES:
            measure(case, chosen.rows, chosen.only)
    if "unindexed" in chosen.only:
        measure_unindexed(chosen.rows)
    if {"disk", "workers"} & set(chosen.only):
        measure_images(chosen.only)


if __name__ == "__main__":
    main()
