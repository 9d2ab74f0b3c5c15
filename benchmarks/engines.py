"""Search engines and their options: recall, speed, memory and build time, as a Markdown table.

    python benchmarks/engines.py [--data clustered sentences] [--rows 50000] [--queries 300]

Each index is built, saved and loaded as the server does it, and searched for the nearest ten of one
vector at a time. Times are processor times of one thread, so what else the machine runs matters
little; those of searches are compared with a search by `exact` that is measured in turn with them.
Memory is what the process takes with the index loaded and searched, without the libraries:
`private` is its own, and `mapped` are pages of files, which the system can take back.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from served_vectors import Floats

from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.engines.vectors import save_vectors

TOP_K = 10
DIM = 128
ROUNDS = 5

SEARCH = """
import json, sys, time
from pathlib import Path
import numpy as np
from euclidesdb_server.engines.registry import create_engine
import faiss, annoy
faiss.omp_set_num_threads(1)

def memory():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if line[:3] == "Rss")
    return [int(lines[key].split()[0]) << 10 for key in ("RssAnon", "RssFile")]

name, options, folder, exact_folder, query_file, top_k, rounds = sys.argv[1:]
top_k, options = int(top_k), json.loads(options)
queries = np.load(query_file)
engine = create_engine(name, options, file=None)
exact_engine = create_engine("exact", {"metric": options.get("metric", "l2")}, file=None)
exact = exact_engine.load(Path(exact_folder))
engine.load(Path(folder)).search(queries[:1], top_k, None)  # its code is loaded
before = memory()
segment = engine.load(Path(folder))
found = [segment.search(query[np.newaxis], top_k, None)[1][0] for query in queries]
taken = [after - first for after, first in zip(memory(), before)]
true = [exact.search(query[np.newaxis], top_k, None)[1][0] for query in queries]
recall = float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, true)]))

def cost(searched):
    started = time.process_time()
    for query in queries:
        searched.search(query[np.newaxis], top_k, None)
    return (time.process_time() - started) / len(queries)

pairs = [(cost(segment), cost(exact)) for _ in range(int(rounds))]
print(json.dumps({
    "recall": recall, "seconds": min(own for own, _ in pairs),
    "speed": float(np.median([exact / own for own, exact in pairs])), "private": taken[0],
    "mapped": taken[1], "description": segment.description,
}))
"""

BUILD = """
import json, sys, time
from pathlib import Path
from euclidesdb_server.engines.registry import create_engine
from euclidesdb_server.engines.vectors import load_vectors
import faiss, annoy
name, options, folder = sys.argv[1:]
engine, vectors = create_engine(name, json.loads(options), file=None), load_vectors(Path(folder))
vectors.sum()
started = time.process_time()
engine.build(vectors, threads=1, folder=Path(folder)).save(Path(folder))
print(time.process_time() - started)
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """An engine with options; settings with the same build options share an index."""

    engine: str
    build: dict[str, str] = field(default_factory=dict)
    search: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = {key: value for key, value in self.build.items() if key != "metric"}
        name = shown.pop("index_type", "")
        options = [name] if name else []
        options += [f"{key}={value}" for key, value in (shown | self.search).items()]
        return f"`{self.engine}`" + (f" `{' '.join(options)}`" if options else "")


def settings(dim: int, rows: int, metric: str) -> list[Setting]:
    """What is compared, for vectors of that length."""
    lists = 1 << int(np.log2(4 * np.sqrt(rows)))
    codes, small = dim // 4, dim // 8

    def faiss(index_type: str, **search: int) -> Setting:
        build = {"index_type": index_type, "metric": metric}
        return Setting("faiss", build, {key: str(value) for key, value in search.items()})

    def annoy(trees: int, search_k: int = 0) -> Setting:
        build = {"metric": metric} | ({"trees": str(trees)} if trees else {})
        return Setting("annoy", build, {"search_k": str(search_k)} if search_k else {})

    return [
        Setting("exact", {"metric": metric}),
        Setting("exact_disk", {"normalize": "true"} if metric == "cosine" else {}),
        faiss("HNSW32"),
        faiss("HNSW32", ef_search=64),
        faiss("HNSW32", ef_search=256),
        faiss("HNSW16", ef_search=64),
        faiss("HNSW32_SQ8", ef_search=64),
        faiss(f"IVF{lists},Flat", nprobe=4),
        faiss(f"IVF{lists},Flat", nprobe=16),
        faiss(f"IVF{lists},Flat", nprobe=64),
        faiss(f"IVF{lists},SQ8", nprobe=16),
        faiss(f"IVF{lists},PQ{codes}", nprobe=16),
        faiss(f"IVF{lists},PQ{codes}", nprobe=16, rerank=16),
        faiss(f"IVF{lists},PQ{small}", nprobe=16),
        faiss(f"IVF{lists},PQ{small}", nprobe=16, rerank=16),
        faiss("SQ8"),
        faiss(f"PQ{small}", rerank=16),
        annoy(0),
        annoy(32),
        annoy(32, search_k=4000),
    ]


class Comparison:
    """Measures settings over the same vectors, in a folder that keeps the built indexes."""

    def __init__(self, folder: Path, vectors: Floats, queries: Floats, metric: str) -> None:
        self._folder = folder
        self._vectors = vectors
        self._built: dict[str, tuple[Path, float]] = {}
        self._queries = folder / "queries.npy"
        folder.mkdir()
        np.save(self._queries, queries)
        self._exact, _ = self._build(Setting("exact", {"metric": metric}))
        _, self._unit = self._build(Setting("faiss", {"index_type": "HNSW32", "metric": metric}))

    def measure(self, setting: Setting) -> str:
        """The row of the table of a setting."""
        folder, seconds = self._build(setting)
        rows = len(self._vectors)
        options = json.dumps(setting.build | setting.search)
        searched = _python(
            SEARCH, setting.engine, options, folder, self._exact, self._queries, TOP_K, ROUNDS
        )
        figures = json.loads(searched)
        index = [file for file in folder.iterdir() if file.name in ("index.faiss", "trees.annoy")]
        build = f"{seconds / self._unit:.2f}" if index else "0"
        cells = (
            f"{figures['recall']:.3f}",
            f"{figures['speed']:.1f}",
            f"{sum(file.stat().st_size for file in index) / rows:,.0f}",
            f"{max(0, figures['private']) / rows:,.0f}",
            f"{max(0, figures['mapped']) / rows:,.0f}",
            build,
        )
        return f"| {setting} | {' | '.join(cells)} |"

    @property
    def build_unit(self) -> float:
        """Seconds of processor time in which HNSW32 was built."""
        return self._unit

    def _build(self, setting: Setting) -> tuple[Path, float]:
        key = json.dumps([setting.engine, setting.build])
        if key not in self._built:
            folder = self._folder / str(len(self._built))
            folder.mkdir()
            save_vectors(folder, self._vectors)
            seconds = float(_python(BUILD, setting.engine, json.dumps(setting.build), folder))
            self._built[key] = folder, seconds
        return self._built[key]


def clustered(rows: int, queries: int) -> tuple[Floats, Floats]:
    """Vectors in clusters of 500, and queries from the same clusters."""
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((max(1, rows // 500), DIM), np.float32)
    members = centers[generator.integers(0, len(centers), rows + queries)]
    made = members + 0.5 * generator.standard_normal(members.shape, np.float32)
    return made[:rows], made[rows:]


def _python(code: str, *arguments: object) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        check=False, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def real_vectors(rows: int, queries: int, folder: Path) -> tuple[Floats, Floats]:
    """Embeddings of sentences, those of other sentences as queries."""
    from real_texts import embedded, sentences  # noqa: PLC0415  # imports torch

    made = normalized(embedded(sentences(rows + queries), folder / "model"))
    return made[:rows], made[rows:]


def main() -> None:
    """Measure, and print a table for each kind of data."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    kinds = ("clustered", "sentences")
    parser.add_argument("--data", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=300)
    chosen = parser.parse_args()
    for kind in chosen.data:
        with tempfile.TemporaryDirectory() as name:
            started = time.monotonic()
            if kind == "clustered":
                vectors, queries = clustered(chosen.rows, chosen.queries)
                metric = "l2"
            else:
                vectors, queries = real_vectors(chosen.rows, chosen.queries, Path(name))
                metric = "cosine"
            rows, dim = vectors.shape
            comparison = Comparison(Path(name, kind), vectors, queries, metric)
            print(f"\n{kind}: {rows:,} vectors of {dim}, metric {metric}; HNSW32 was built in "
                  f"{comparison.build_unit:.0f} s of processor time\n")  # fmt: skip
            print("| engine | recall@10 | queries/s, of exact | index, bytes | private memory, "
                  "bytes | mapped, bytes | build, of HNSW32 |\n|---|---|---|---|---|---|---|",
                  flush=True)  # fmt: skip
            for setting in settings(dim, rows, metric):
                print(comparison.measure(setting), flush=True)
            print(f"\nmeasured in {time.monotonic() - started:,.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
