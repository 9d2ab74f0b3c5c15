"""Paths on the command line, and the data folder without one."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from euclidesdb_server.__main__ import main
from euclidesdb_server.commands.configuration import configuration
from euclidesdb_server.errors import ConfigError
from tests.support.cases import each_as_subtest


@each_as_subtest(
    "arguments",
    [
        ("serve", "--data", "$HOME/data"),
        ("serve", "--models", "'models'"),
        ("serve", "-c", '"euclidesdb.conf"'),
        ("verify", "--data", ""),
        ("demo", "--output", "$HOME/demo.png"),
        ("demo", "--keep-data", "$HOME/demo"),
        ("model", "check", "$MODELS/a"),
        ("model", "export", "timm:resnet18", "${HOME}/a"),
    ],
)
def test_a_path_that_a_shell_would_have_changed_is_wrong_usage(arguments, capsys):
    assert main([*arguments]) == 2
    (given,) = {*arguments} & {part for part in arguments if not part or part[0] in "$'\""}
    assert f"{given!r}: " in capsys.readouterr().err


@pytest.fixture
def no_home(monkeypatch, tmp_path):
    assert tmp_path.is_dir()  # pytest names its folders after the user

    def unknown(_):
        raise KeyError("no such user")

    for variable in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("no_home")
def test_a_server_with_a_data_folder_needs_no_home_folder(tmp_path):
    assert configuration(None, data=tmp_path / "data").database.db_path == tmp_path / "data"


@pytest.mark.usefixtures("no_home")
def test_without_a_data_folder_and_a_home_folder_both_are_named():
    with pytest.raises(ConfigError, match="give --data, or set HOME"):
        configuration(None)


def test_the_data_folder_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Path(configuration(None).database.db_path).is_relative_to(tmp_path)
