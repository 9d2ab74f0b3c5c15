"""Configuration files: EuclidesDB's own, ours, and what is wrong with a wrong one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from euclidesdb_server.config.paths import given_path
from euclidesdb_server.config.server import (
    Config,
    DatabaseConfig,
    IndexConfig,
    ModelsConfig,
    ServerConfig,
    default_config,
    load_config,
    override,
)
from euclidesdb_server.engines.registry import create_engine, engine_names
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.values.metric import L2, Metric, MetricKind
from tests.support.cases import each_as_subtest

EUCLIDESDB_SAMPLE = """\
[SERVER]
address = 127.0.0.1:50000 ; address where the server will listen
log_file_path = logs/euclidesdb.log ; log file
search_engine = exact_disk ; annoy, faiss or exact_disk

[models]
dir_path = /models ; where the models are

[DATABASE]
DB_PATH = ./database ; created where there is none

[faiss]
metric = inner_product ; l2 or inner_product
index_type = Flat ; see the wiki of faiss

[annoy]
tree_factor = 3 ; trees for each dimension

[exact_disk]
pnorm = 1
normalize = true
"""

LEAST = "[models]\ndir_path = models\n[database]\ndb_path = data\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "euclidesdb.conf"
    file.write_text(text, encoding="utf-8")
    return file


def load(folder: Path, text: str) -> Config:
    return load_config(write(folder, text), engine_names())


def test_a_configuration_file_of_euclidesdb_means_what_it_meant(tmp_path):
    config = load(tmp_path, EUCLIDESDB_SAMPLE)
    assert config.server.address == "127.0.0.1:50000"
    assert config.server.log_file_path == tmp_path / "logs" / "euclidesdb.log"
    assert config.server.search_engine == "exact_disk"
    assert config.models.dir_path == Path("/models")
    assert config.database.db_path == tmp_path / "database"
    assert config.file == tmp_path / "euclidesdb.conf"


def test_the_sections_of_euclidesdbs_engines_mean_what_they_meant(tmp_path):
    config = load(tmp_path, EUCLIDESDB_SAMPLE)
    engines = {
        name: create_engine(name, section, file=config.file)
        for name, section in config.engines.items()
    }
    assert engines["faiss"].metric.kind is MetricKind.INNER_PRODUCT
    assert engines["faiss"].build_options["index_type"] == "Flat"
    assert engines["exact_disk"].metric == Metric(MetricKind.LP, p=1, normalized=True)
    assert engines["annoy"].build_options["tree_factor"] == 3


def test_the_least_file_gives_every_default(tmp_path):
    config = load(tmp_path, LEAST)
    assert config == Config(
        models=ModelsConfig(dir_path=tmp_path / "models"),
        database=DatabaseConfig(db_path=tmp_path / "data"),
        server=ServerConfig(),
        index=IndexConfig(),
        engines={},
        file=tmp_path / "euclidesdb.conf",
    )
    assert (config.server.search_engine, config.database.sync) == ("annoy", True)
    assert create_engine("exact", {}, file=None).metric == L2


def test_our_own_keys_are_read_with_their_types(tmp_path):
    config = load(
        tmp_path,
        "[models]\ndir_path = m\nnames = a, b\nworker_threads = 2\nstart_timeout = 1.5\n"
        "[database]\ndb_path = d\nsync = no\nkeep_payloads = off\n"
        "[server]\nthreads = 12\nallow_remote_shutdown = no\nmax_top_k = 5\n"
        "[index]\ncompact_rows = 7\nmerge_factor = 3\n",
    )
    assert (config.models.names, config.models.worker_threads) == ("a, b", 2)
    assert config.models.start_timeout == 1.5
    assert (config.database.sync, config.database.keep_payloads) == (False, False)
    assert (config.server.threads, config.server.max_top_k) == (12, 5)
    assert config.server.allow_remote_shutdown is False
    assert config.index == IndexConfig(7, 3)


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "configuration").mkdir()
    (tmp_path / "elsewhere").mkdir()
    file = write(tmp_path / "configuration", LEAST.replace("= data", "= ../data"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load_config(file, engine_names())
    assert config.models.dir_path == tmp_path / "configuration" / "models"
    assert config.database.db_path == tmp_path / "data"


@each_as_subtest(
    ("added", "says"),
    [
        ("[sever]\naddress = x:1\n", r"unknown section \[sever\].*server, models, database"),
        ("[server]\nadress = x:1\n", r"\[server\] has no key 'adress'; its keys are address"),
        ("[server]\nthreads = many\n", r"\[server\] threads = 'many'"),
        ("[server]\nthreads = 1\n", r"\[server\] threads = '1'"),
        ("[server]\nmax_top_k = 0\n", r"\[server\] max_top_k = '0'"),
        ("[server]\nshutdown_grace = -1\n", r"\[server\] shutdown_grace = '-1'"),
        ("[server]\nallow_remote_shutdown = perhaps\n", r"allow_remote_shutdown = 'perhaps'"),
        ("[index]\nmax_deleted_share = 2\n", r"\[index\] max_deleted_share = '2'"),
        ("[index]\ncompact_rows = 1.5\n", r"\[index\] compact_rows = '1.5'"),
    ],
)
def test_an_error_names_file_section_and_key(tmp_path, added, says):
    with pytest.raises(ConfigError, match=says) as raised:
        load(tmp_path, LEAST + added)
    assert str(raised.value).startswith(str(tmp_path / "euclidesdb.conf"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[database]\ndb_path = data\n", r"\[models\] dir_path"),
        ("[models]\ndir_path = models\n", r"\[database\] db_path"),
        ("dir_path = models\n", "not an INI file"),
        (LEAST + "[models]\ndir_path = again\n", "not an INI file"),
        (LEAST + "db_path = again\n", "not an INI file"),
        (LEAST + "no value\n", "not an INI file"),
    ],
)
def test_an_incomplete_or_malformed_file_is_refused(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, text)


def test_one_section_in_two_cases_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has two sections \[SERVER\]"):
        load(tmp_path, LEAST + "[server]\nthreads = 12\n[SERVER]\nmax_top_k = 5\n")


@pytest.mark.parametrize(
    ("section", "key"),
    [("faiss", "index_typ"), ("annoy", "tree_factory"), ("exact_disk", "norm"), ("exact", "p")],
)
def test_an_unknown_key_of_an_engine_is_named_with_its_section(tmp_path, section, key):
    config = load(tmp_path, LEAST + f"[{section}]\n{key} = 1\n")
    with pytest.raises(ConfigError, match=rf"euclidesdb\.conf: \[{section}\] has no key '{key}'"):
        create_engine(section, config.engines[section], file=config.file)


def test_an_unknown_engine_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(
        ConfigError, match=r"search_engine = 'fais' is not one of annoy, exact, .*faiss"
    ):
        create_engine("fais", {}, file=tmp_path / "euclidesdb.conf")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*nothing\.conf"):
        load_config(tmp_path / "nothing.conf", engine_names())
    (tmp_path / "latin.conf").write_bytes(b"[models]\ndir_path = caf\xe9\n")
    with pytest.raises(ConfigError, match=r"cannot read .*latin\.conf"):
        load_config(tmp_path / "latin.conf", engine_names())


def test_a_byte_order_mark_and_percent_signs_are_accepted(tmp_path):
    config = load(tmp_path, "\ufeff" + LEAST.replace("= data", "= 100%data"))
    assert config.database.db_path == tmp_path / "100%data"


def test_a_semicolon_within_a_value_is_part_of_it(tmp_path):
    assert load(tmp_path, LEAST.replace("= data", "= a;b")).database.db_path == tmp_path / "a;b"


def test_without_a_file_search_is_exact_on_the_loopback_address(tmp_path):
    config = default_config(models=tmp_path / "m", names="digits", data=tmp_path / "d")
    assert config.server.search_engine == "exact"
    assert config.server.address == "127.0.0.1:50000"
    assert (config.models.dir_path, config.models.names) == (tmp_path / "m", "digits")


def test_the_command_line_goes_before_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load(tmp_path, LEAST + "[server]\naddress = a:1\nthreads = 12\n")
    changed = override(config, address="b:2", data=Path("d"), models=Path("m"))
    assert (changed.server.address, changed.server.threads) == ("b:2", 12)
    assert changed.database.db_path == tmp_path / "d"
    assert changed.models.dir_path == tmp_path / "m"
    assert override(config, address=None, data=None, models=None) == config


HOME_CASES = [
    ("~/models", "models"),
    ("~", "."),
    ("~/caf\u00e9/a b's", "caf\u00e9/a b's"),
]


@each_as_subtest(("given", "expected"), HOME_CASES)
def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, given, expected):
    with monkeypatch.context() as patched:
        patched.setenv("HOME", str(tmp_path / "home"))
        config = load(tmp_path, LEAST.replace("= models", f"= {given}"))
        assert config.models.dir_path == tmp_path / "home" / expected
        assert given_path(given) == tmp_path / "home" / expected


def test_the_path_of_a_unix_socket_is_a_path_like_others(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = load(tmp_path, LEAST + "[server]\naddress = unix:run/a.sock\n")
    assert config.server.address == f"unix:{tmp_path}/run/a.sock"
    config = load(tmp_path, LEAST + "[server]\naddress = unix:~/a.sock\n")
    assert config.server.address == f"unix:{tmp_path}/home/a.sock"
    changed = override(config, address="unix:a.sock", data=None, models=None)
    assert changed.server.address == "unix:a.sock"
    with pytest.raises(ConfigError, match=r"\[server\] address = '\$RUN/a.sock'"):
        load(tmp_path, LEAST + "[server]\naddress = unix:$RUN/a.sock\n")


@each_as_subtest(
    ("given", "says"),
    [
        ("$HOME/data", "environment variables are not expanded here"),
        ("a/${NAME}", "environment variables are not expanded here"),
        ('"data"', "quotes are not removed here"),
        ("'data'", "quotes are not removed here"),
        ("", "must not be empty"),
        ("~unknown-user/data", "there is no such home folder"),
    ],
)
def test_what_a_shell_would_have_changed_is_refused(tmp_path, given, says):
    with pytest.raises(ConfigError, match=says) as raised:
        load(tmp_path, LEAST.replace("= data", f"= {given}"))
    assert str(raised.value).startswith(
        f"{tmp_path}/euclidesdb.conf: [database] db_path = {given!r}: "
    )
    assert [file.name for file in tmp_path.iterdir()] == ["euclidesdb.conf"]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Path.resolve keeps a loop")
def test_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "data").symlink_to("data")
    with pytest.raises(ConfigError, match=r"\[database\] db_path = .*data' cannot be followed"):
        load(tmp_path, LEAST)
