"""Every engine of `engine_cases`, with the vectors and segments that its tests share."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import pytest

from euclidesdb_server.engines import SearchEngine, Segment
from euclidesdb_server.values.arrays import Matrix
from tests.engines.engine_cases import CASES, ROWS, Case, clustered, near


@pytest.fixture(scope="session", autouse=True)
def one_faiss_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(scope="session", params=CASES.values(), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="session")
def engine(case: Case) -> SearchEngine:
    return case.engine


@pytest.fixture(scope="session")
def vectors(engine: SearchEngine) -> Matrix:
    return clustered(ROWS, engine.metric)


@pytest.fixture(scope="session")
def queries(engine: SearchEngine) -> Matrix:
    return near(clustered(ROWS, engine.metric), engine.metric)


@pytest.fixture(scope="session")
def both(
    engine: SearchEngine, vectors: Matrix, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Segment, Segment]:
    folder = tmp_path_factory.mktemp("segment")
    built = engine.build(vectors)
    built.save(folder)
    return built, engine.load(folder)


@pytest.fixture(scope="session")
def segments(engine: SearchEngine, vectors: Matrix, both) -> dict[str, Segment]:
    """The same segment freshly built and loaded from disk."""
    # Saving changes some segments (exact_disk, annoy), so the built one is built again.
    return {"built": engine.build(vectors), "loaded": both[1]}
