"""Every engine of `engine_cases`, by library, with the segments that its tests share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import pytest

from euclidesdb_server.engines import SearchEngine, Segment
from euclidesdb_server.values.arrays import Matrix
from euclidesdb_server.values.metric import Metric
from tests.engines.engine_cases import CASES, ROWS, Case, clustered, near


@dataclass(frozen=True, slots=True)
class Subject:
    """A segment under test, with the rows that it holds and queries near them."""

    name: str
    case: Case
    segment: Segment
    vectors: Matrix
    queries: Matrix

    @property
    def metric(self) -> Metric:
        return self.case.engine.metric


@pytest.fixture(scope="session", autouse=True)
def one_faiss_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(scope="session", params=["exact", "exact_disk", "annoy", "faiss"])
def cases(request: pytest.FixtureRequest) -> dict[str, Case]:
    """The configurations of one library's engine, by name."""
    return {name: case for name, case in CASES.items() if name.partition("-")[0] == request.param}


@pytest.fixture(scope="session")
def engines(cases: dict[str, Case]) -> dict[str, SearchEngine]:
    return {name: case.engine for name, case in cases.items()}


@pytest.fixture(scope="session")
def saved_and_loaded_segments(
    cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Subject, Subject]]:
    """Each engine's segment after it was saved, and as loaded from disk."""
    pairs = []
    for name, case in cases.items():
        vectors = clustered(ROWS, case.engine.metric)
        queries = near(vectors, case.engine.metric)
        folder = tmp_path_factory.mktemp("segment")
        built = case.engine.build(vectors)
        built.save(folder)
        pairs.append(
            (
                Subject(f"{name}, saved", case, built, vectors, queries),
                Subject(f"{name}, loaded", case, case.engine.load(folder), vectors, queries),
            )
        )
    return pairs


@pytest.fixture(scope="session")
def subjects(saved_and_loaded_segments: list[tuple[Subject, Subject]]) -> list[Subject]:
    """Each engine's segment as freshly built and as loaded from disk."""
    # Saving changes some segments (exact_disk, annoy), so the built one is built again.
    return [
        subject
        for saved, loaded in saved_and_loaded_segments
        for subject in (
            Subject(
                saved.name.replace(", saved", ", built"),
                saved.case,
                saved.case.engine.build(saved.vectors),
                saved.vectors,
                saved.queries,
            ),
            loaded,
        )
    ]
