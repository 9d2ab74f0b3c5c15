"""The defaults in the tables of configuration keys are those of the dataclasses."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from euclidesdb_server.config.server import SECTIONS
from euclidesdb_server.engines.registry import create_engine, engine_names
from euclidesdb_server.inference.model_folder import CONF_CLASSES
from tests.project.tree import ROOT

CONFIGURATION = ROOT / "docs" / "configuration.md"
MODELS = ROOT / "docs" / "models.md"
MADE_FROM_OTHERS = {"mean", "std", "tokenizer", "resize"}
"""Keys that share a row, or whose default depends on others."""


def rows(page: Path) -> dict[tuple[str, str], str]:
    """The default cell of each key, by section ("" in a table without sections) and key."""
    section = ""
    found = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) not in (3, 4):
            section = ""
            continue
        if len(cells) == 4:
            section = cells[0].strip("`") or section
        keys = re.findall(r"`([a-z_]+)`", cells[-3])
        defaults = cells[-1].split(", ")
        for number, key in enumerate(keys):
            one_each = len(defaults) == len(keys) > 1
            found[section, key] = defaults[number] if one_each else cells[-1]
    return found


def as_documented(value: Any) -> str:
    """A default as the tables write it."""
    if value in (None, "", ()):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def defaults(kind: type[Any]) -> dict[str, Any]:
    return {
        each.name: each.default
        for each in dataclasses.fields(kind)
        if each.init and each.default is not dataclasses.MISSING
    }


def written(cell: str) -> str:
    """The default itself, without what a cell adds in words."""
    return re.split(r"; ", cell.replace("`", ""))[0]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_defaults_of_the_configuration_are_true(section):
    documented = rows(CONFIGURATION)
    for key, value in defaults(SECTIONS[section]).items():
        cell = written(documented[section, key])
        if value in (None, ""):  # a rule, which the table has in words
            assert not re.fullmatch(r"[\d.]+|true|false", cell), key
        else:
            assert cell == as_documented(value), key


@pytest.mark.parametrize("name", engine_names())
def test_the_defaults_of_engines_are_true(name):
    engine: Any = create_engine(name, {}, file=None)
    documented = rows(CONFIGURATION)
    for key, value in defaults(engine.Options).items():
        assert written(documented[name, key]) == as_documented(value), key


@pytest.mark.parametrize("kind", CONF_CLASSES.values(), ids=lambda kind: kind.__name__)
def test_the_defaults_of_a_model_conf_are_true(kind):
    documented = rows(MODELS)
    for key, value in defaults(kind).items():
        if key not in MADE_FROM_OTHERS and key != "input":
            cell = written(documented["", key])
            if value or value is False or value == 0:
                assert cell == as_documented(value), key


def test_a_key_that_must_be_given_has_no_default():
    documented = rows(CONFIGURATION)
    for section, kind in SECTIONS.items():
        required = [
            each.name for each in dataclasses.fields(kind) if each.default is dataclasses.MISSING
            and each.default_factory is dataclasses.MISSING
        ]  # fmt: skip
        assert all(documented[section, key] == "" for key in required)
