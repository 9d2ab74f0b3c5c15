"""The README is true: every setting stands in it, and its samples run."""

from __future__ import annotations

import configparser
import dataclasses
import re
from pathlib import Path

import pytest

from euclidesdb_server.config.server import SECTIONS, load_config
from euclidesdb_server.engines.registry import create_engine, engine_names
from euclidesdb_server.inference.model_conf import KINDS, ImageConf
from euclidesdb_server.inference.model_folder import read_model_folder
from tests.support.images import noise
from tests.support.servers import start_server

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def documented_keys() -> set[str]:
    rows = [line for line in README.splitlines() if line.startswith("|")]
    return {key for row in rows for key in re.findall(r"`([a-z_]+)`", row.rsplit("|", 3)[0])}


@pytest.mark.parametrize(
    "kind", [*SECTIONS.values(), *KINDS.values()], ids=lambda kind: kind.__name__
)
def test_every_setting_stands_in_the_readme(kind):
    assert {field.name for field in dataclasses.fields(kind)} <= documented_keys()


@pytest.mark.parametrize("name", engine_names())
def test_every_option_of_an_engine_stands_in_the_readme(name):
    options = type(create_engine(name, {}, file=None)).Options
    assert {field.name for field in dataclasses.fields(options)} <= documented_keys()


def test_the_readmes_configuration_is_one(tmp_path):
    (sample,) = [block for block in code_blocks("ini") if "[server]" in block]
    file = tmp_path / "euclidesdb.conf"
    file.write_text(sample)
    config = load_config(file, engine_names())
    assert config.server.search_engine == "faiss"
    assert config.database.db_path == tmp_path / "data"


def test_the_readmes_model_conf_names_only_keys_there_are():
    sample, _ = [block for block in code_blocks("ini") if "[model]" in block]
    parser = configparser.ConfigParser()
    parser.read_string(sample)
    assert set(parser["model"]) <= {field.name for field in dataclasses.fields(ImageConf)}


def test_the_readmes_space_of_vectors_is_one(tmp_path):
    _, sample = [block for block in code_blocks("ini") if "[model]" in block]
    (tmp_path / "model.conf").write_text(sample)
    folder = read_model_folder(tmp_path)
    assert (folder.conf.name, folder.conf.feature_dim) == ("products", 384)
    assert (folder.engine.name, folder.engine.build_options["index_type"]) == ("faiss", "HNSW32")


def test_the_readmes_client_samples_run(tmp_path, monkeypatch, capsys):
    single, many = code_blocks("python")
    for name in ("shoe.png", "boot.png"):
        noise(0, size=8, mode="L").save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with start_server(
        tmp_path / "data", ROOT / "models", models_config={"names": "digits"}
    ) as server:
        exec(single.replace("localhost:50000", server.address), {})
        assert capsys.readouterr().out == "sku-1 0.0 {'brand': 'acme'}\n"
        exec(many.replace("localhost:50000", server.address), {})
    refused, *answers = capsys.readouterr().out.splitlines()
    assert refused.startswith("nowhere.png FileNotFoundError(")
    assert [answer.split(",")[0] for answer in answers] == [f"('v{row}'" for row in range(100)]
