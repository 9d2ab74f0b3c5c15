"""The guide to engines names only what the engines accept."""

from __future__ import annotations

import re
from typing import Any

import pytest

from euclidesdb_server.engines.registry import create_engine, engine_names
from tests.project.tree import ROOT

PAGE = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
MEASURED = re.findall(r"^\| `(\w+)`(?: `([^`]+)`)? \| [01]\.\d+ \|", PAGE, re.MULTILINE)


def options(text: str) -> dict[str, str]:
    """The section of a row: "HNSW32 ef_search=64"."""
    words = text.split()
    pairs = (word.partition("=") if "=" in word else ("index_type", "=", word) for word in words)
    return {key: value for key, _, value in pairs}


@pytest.mark.parametrize(("engine", "text"), MEASURED, ids=str)
def test_a_measured_setting_is_one_that_the_engine_accepts(engine, text):
    created: Any = create_engine(engine, options(text), file=None)
    for key, value in options(text).items():
        assert str(getattr(created.options, key)).lower() == value.lower()


def test_every_engine_is_measured_on_both_kinds_of_data():
    measured = [engine for engine, _ in MEASURED]
    assert {engine: measured.count(engine) >= 2 for engine in engine_names()} == dict.fromkeys(
        engine_names(), True
    )
