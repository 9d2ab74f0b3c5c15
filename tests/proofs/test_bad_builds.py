"""Builds go wrong in a served database, in every way and at every step of the builder process.

Meanwhile every search finds what brute force finds, the status says why the index is not built,
and when nothing goes wrong any more, it is built without being asked for.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import euclidesdb
from euclidesdb_server.index import compactor
from tests.builder.bad_engines import python_path
from tests.proofs import failing_engine
from tests.support.disk_faults import DiskFaults
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

MODEL = "vectors"
DIM = 8
TOP_K = 5000
"""All there are."""
FLUSHED = 20
"""Unindexed rows that are built into a segment."""
HANG_TIMEOUT = 5.0
"""Seconds after which a build counts as hung, where some do."""

STATUS_OF_FAILURES = {
    "aborts": "SIGABRT",
    "damages a file after its report": "what has been written cannot be used: ",
    "hangs": "it did not end within 5 s",
    "leaves the process": "which is not a segment",
    "cuts a file off after its report": "the build process reported the files",
    "is killed": "SIGKILL",
    "raises": "no such tree",
    "computes for ever": "it did not end within 5 s",
    "takes all memory": "there is not enough memory",
    "saves a truncated file": "5 bytes, but",
    "cannot load": "not a forest",
    "aborts in a search": "SIGABRT",
    "answers too little": "instead of",
    "ignores masks": "rows that are not there or not allowed",
    "finds rows that are not there": "rows that are not there or not allowed",
}
"""What goes wrong, and what the status says of it."""
SHORT_SHARE = 2


class Items:
    """Items of a server, written and searched by a client, and kept here.

    reasons: why builds failed, as the server reported.
    """

    def __init__(self, client: euclidesdb.Client) -> None:
        self._client = client
        self._chance = np.random.default_rng(7)
        self._numbers = itertools.count()
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}
        self.reasons: set[str] = set()

    def add(self, count: int) -> None:
        """New items."""
        self._write([f"item {next(self._numbers)}" for _ in range(count)])

    def change(self) -> None:
        """Replace some items, and remove others."""
        names = self._chance.permutation([*self._vectors])[:5].tolist()
        self._write(names[:3])
        for name in names[3:]:
            self._client.remove(name)
            del self._vectors[name]

    def index(self) -> euclidesdb.IndexInfo:
        (model,) = self._client.models()
        assert model.index is not None
        if model.index.failure:
            self.reasons.add(model.index.failure)
        return model.index

    def wait(self, condition: Callable[[euclidesdb.IndexInfo], object], what: str) -> None:
        """Until then, every search finds what brute force finds."""

        def holds() -> object:
            self.check()
            return condition(self.index())

        wait_for(holds, what)

    def check(self) -> None:
        query = self._chance.standard_normal(DIM).astype(np.float32)
        found = self._client.find_similar(vector=query, model=MODEL, top_k=TOP_K)[MODEL]
        distances = {
            name: float(np.linalg.norm(vector - query)) for name, vector in self._vectors.items()
        }
        # by distance: two may be so close that rounding decides which is first
        assert dict(zip(found.ids, found.distances, strict=True)) == pytest.approx(distances, 1e-5)
        assert len(found.ids) == len(distances)
        assert [*found.distances] == sorted(found.distances)

    def _write(self, names: list[str]) -> None:
        made = self._chance.standard_normal((len(names), DIM)).astype(np.float32)
        assert not self._client.add_vectors(names, made, model=MODEL)
        self._vectors.update(zip(names, made, strict=True))


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serves items; `wait` calls of the compactor are short."""
    monkeypatch.setattr(compactor, "FIRST_RETRY", 0.2)
    monkeypatch.setattr(compactor, "TICK", 0.05)
    models = save_vector_space(tmp_path / "models", MODEL, feature_dim=DIM).parent

    @contextmanager
    def served(engine: str, options: dict[str, str], *, hangs: bool) -> Iterator[Items]:
        timeout = HANG_TIMEOUT if hangs else 100.0
        data = tmp_path / "data" / f"{hangs}"
        index = {"compact_rows": FLUSHED, "merge_factor": 2, "build_timeout": timeout}
        with (
            start_server(
                data,
                models,
                engine=engine,
                engines={engine: options},
                server={"max_top_k": TOP_K},
                index=index,
            ) as server,
            euclidesdb.Client(server.address) as client,
        ):
            yield Items(client)

    return served


def is_built(index: euclidesdb.IndexInfo) -> bool:
    return not index.failure and not index.building and index.unindexed_rows < FLUSHED


def reasons_of_failures(
    items: Items, break_builds: Callable[[], object], repair_builds: Callable[[], object]
) -> set[str]:
    """Write while builds fail, then let them succeed; returns why they failed, if they did."""
    items.reasons.clear()
    break_builds()
    items.add(FLUSHED)
    items.wait(lambda index: index.failure or is_built(index), "a failed build")
    items.change()
    items.add(2)
    items.check()
    repair_builds()
    items.wait(is_built, "an index")
    assert items.index().indexed_rows > 0
    return {*items.reasons}


def prove_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve, failures: list[str]
) -> None:
    failing_engine.install(tmp_path / "installed")
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    monkeypatch.setenv("PYTHONPATH", python_path())
    file = tmp_path / "failure"
    file.write_text("")
    for hangs in (False, True):
        chosen = [
            failure
            for failure in failures
            if ("it did not end" in STATUS_OF_FAILURES[failure]) == hangs
        ]
        if not chosen:
            continue
        with serve("failing", {"failure": str(file)}, hangs=hangs) as items:
            for failure in chosen:
                reasons = reasons_of_failures(
                    items, partial(file.write_text, failure), partial(file.write_text, "")
                )
                status = STATUS_OF_FAILURES[failure]
                assert any(status in reason for reason in reasons), (failure, reasons)


def test_a_build_that_goes_wrong_is_visible_harmless_and_repeated(tmp_path, monkeypatch, serve):
    prove_failures(tmp_path, monkeypatch, serve, [*STATUS_OF_FAILURES][:SHORT_SHARE])


@pytest.mark.long
def test_a_build_may_go_wrong_in_any_way(tmp_path, monkeypatch, serve):
    prove_failures(tmp_path, monkeypatch, serve, [*STATUS_OF_FAILURES])


def prove_failing_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve, fault: str, steps: list[int]
) -> Counter[str]:
    """Have the builder process killed, hang, or find a full disk, in one call after another."""
    faults = DiskFaults(tmp_path / "data", tmp_path / "control")
    for name, value in faults.environment.items():
        monkeypatch.setenv(name, value)  # of child processes: this one, the server, runs already
    failed: Counter[str] = Counter()
    break_in: dict[str, Callable[[int], None]] = {
        "killed": faults.kill_in,
        "hangs": faults.hang_in,
        "full": faults.fill,
    }
    with serve("faiss", {"index_type": "HNSW8"}, hangs=fault == "hangs") as items:

        def repair_builds() -> None:
            faults.spare()
            faults.make_room()

        for step in steps:
            break_builds = partial(break_in[fault], step)
            reasons = reasons_of_failures(items, break_builds, repair_builds)
            if faults.fault:
                failed[re.sub(r"\d+", "N", faults.fault)] += 1
                says = {
                    "killed": "SIGKILL",
                    "hangs": "did not end within",
                    "full": "No space|SIGBUS",
                }
                assert any(re.search(says[fault], reason) for reason in reasons), reasons
    print(f"{fault} in {failed.total()} builds:\n" + "\n".join(map(str, failed.most_common())))
    return failed


@pytest.mark.parametrize(("fault", "steps"), [("killed", [1]), ("full", [5])])
def test_a_builder_process_may_fail_at_any_step(tmp_path, monkeypatch, serve, fault, steps):
    failed = prove_failing_steps(tmp_path, monkeypatch, serve, fault, steps)
    assert failed.total() == len(steps)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("fault", "step"), [("killed", 1), ("full", 1), ("hangs", 3)])
def test_a_builder_process_may_fail_at_every_step(tmp_path, monkeypatch, serve, fault, step):
    failed = prove_failing_steps(tmp_path, monkeypatch, serve, fault, [*range(1, 60, step)])
    assert failed.total() > 10
    assert all("segments/N/N.tmp" in where for where in failed)
