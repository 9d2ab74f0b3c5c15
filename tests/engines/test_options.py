"""A section of the configuration, all strings, becomes an engine's options."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from euclidesdb_server.engines.annoy import AnnoyEngine
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.engines.exact_disk import ExactDiskEngine
from euclidesdb_server.engines.faiss import FaissEngine
from tests.support.cases import each_as_subtest


@each_as_subtest(
    ("engine", "section"),
    [
        (ExactEngine, {"metric": "cosine"}),
        (ExactDiskEngine, {"pnorm": "1.5", "normalize": "true"}),
        (ExactDiskEngine, {"pnorm": "inf"}),
        (
            FaissEngine,
            {"metric": "inner_product", "index_type": "IVF4,Flat", "nprobe": "2", "rerank": "3"},
        ),
        (
            AnnoyEngine,
            {"tree_factor": "3", "trees": "0", "search_k": "100", "metric": "l2", "rerank": "2"},
        ),
    ],
)
def test_strings_become_options(engine, section):
    options = TypeAdapter(engine.Options).validate_python(section)
    for key, text in section.items():
        value = getattr(options, key)
        assert type(value) is type(getattr(engine.Options(), key))
        assert str(value).casefold() == text.casefold()
    assert engine(options).name == engine.name


@each_as_subtest(
    ("engine", "section"),
    [
        (ExactEngine, {"metric": "lp"}),
        (ExactDiskEngine, {"pnorm": "0.5"}),
        (ExactDiskEngine, {"pnorm": "nan"}),
        (FaissEngine, {"nprobe": "-1"}),
        (FaissEngine, {"rerank": "-1"}),
        (AnnoyEngine, {"tree_factor": "0"}),
        (AnnoyEngine, {"metric": "inner_product"}),
    ],
)
def test_invalid_values_are_refused(engine, section):
    with pytest.raises(ValidationError):
        TypeAdapter(engine.Options).validate_python(section)
