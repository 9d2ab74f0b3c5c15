"""The command line itself: help, wrong usage, what is imported, and what is not installed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from euclidesdb_server.__main__ import main
from euclidesdb_server.commands.catalog import COMMANDS, extra_of
from tests.support.cases import each_as_subtest
from tests.support.images import encoded, noise

CLIENT_COMMANDS = [name for name, command in COMMANDS.items() if command.extra == "cli"]


def python(code, **environment):
    """What a new process prints."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_the_help_lists_every_command_and_imports_none(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    code = "import sys; from euclidesdb_server.__main__ import main; main(['--help'])"
    heavy = "('numpy', 'grpc', 'euclidesdb', 'euclidesdb_server.commands.find')"
    code += f"; print('imported:', [name for name in {heavy} if name in sys.modules])"
    assert python(code)[1].splitlines()[-1] == "imported: []"


@each_as_subtest("name", COMMANDS)
def test_every_command_has_a_help(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"Usage: euclidesdb {name}" in capsys.readouterr().out


@each_as_subtest("name", CLIENT_COMMANDS)
def test_a_command_for_a_running_server_imports_nothing_of_the_server(name):
    allowed = ("commands", "config", "errors", "__main__")
    code = (
        "import sys; from euclidesdb_server.__main__ import main; "
        f"main([{name!r}, '--address', '127.0.0.1:1', '--help']); "
        "print(sorted({each.split('.')[1] for each in sys.modules"
        f" if each.startswith('euclidesdb_server.')}} - set({allowed!r})),"
        " 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert python(code)[1].splitlines()[-1] == "[] False False"


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("euclidesdb ")


@each_as_subtest(
    ("arguments", "expected"),
    [
        (("nothing",), "euclidesdb: No such command 'nothing'"),
        (("count", "--nothing"), "euclidesdb count: No such option"),
        (("count", "more"), "euclidesdb count: Got unexpected extra argument (more)"),
        (("find", "-k", "0", "--id", "a"), "euclidesdb find: Invalid value for '-k'"),
        (("find",), "euclidesdb find: give one of --image, --text, --id and --vector"),
        (("find", "--id", "a", "--text", "b"), "not --text and --id; see euclidesdb find --help"),
        (("find", "--image", "missing.png"), "File 'missing.png' does not exist"),
        (("add",), "euclidesdb add: Missing argument 'PATHS...'"),
        (("update", "a"), "euclidesdb update: give --set, --merge and --remove as needed"),
        (("update", "a", "--set", "b"), "'b' is not of the form KEY=VALUE"),
        (("update", "a", "--merge", "[1]"), "'[1]' is not a JSON object"),
        (("remove",), "euclidesdb remove: give either ids or --where"),
        (("remove", "a", "--where", "b == 1"), "euclidesdb remove: give either ids or --where"),
        (("get", "a", "b", "--payload", "c"), "--payload writes that of a single ID"),
        (("model", "export", "a", "b", "--tower", "c"), "'c' is not one of 'image', 'text'"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_line_that_names_the_value(arguments, expected, capsys):
    assert main([*arguments]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert printed.out == ""
    assert expected in line


@pytest.mark.parametrize("arguments", [[], ["model"]], ids=["none", "of a group"])
def test_without_a_command_there_is_the_help(arguments, capsys):
    assert main(arguments) == 2
    assert "Commands:" in capsys.readouterr().err


@each_as_subtest(
    "arguments",
    [
        ("count",), ("list",), ("models",), ("remove", "a"), ("model", "unload", "a"),
    ],
    ids=str,
)  # fmt: skip
def test_without_a_server_it_says_what_to_check(arguments, capsys):
    assert main([*arguments, "--address", "127.0.0.1:1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("euclidesdb: no server answers at '127.0.0.1:1'. Check: the server runs")
    assert "EUCLIDESDB_ADDRESS" in line


def test_a_wrong_address_is_an_error(capsys, monkeypatch):
    monkeypatch.setenv("EUCLIDESDB_ADDRESS", "localhost:0")
    assert main(["count"]) == 1
    assert "'localhost:0'" in capsys.readouterr().err


WITHOUT = "import sys; sys.modules.update(dict.fromkeys({modules!r})); "
RUN = "from euclidesdb_server.__main__ import main; sys.exit(main({arguments!r}))"


@each_as_subtest(
    ("modules", "arguments", "expected"),
    [
        (["click"], ["find", "--id", "a"], "find needs 'click': pip install 'euclidesdb[cli]'"),
        (["torch"], ["model", "check", "a"], "model check needs 'torch': "),
        (["sklearn"], ["demo"], "pip install 'euclidesdb[demo]'"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_installed_is_named_with_its_extra(modules, arguments, expected):
    code, _, error = python(
        WITHOUT.format(modules=modules) + RUN.format(arguments=arguments), PYTHONWARNINGS="ignore"
    )
    assert code == 1
    (line,) = error.splitlines()
    assert expected in line


def test_with_the_client_alone_the_help_names_the_extras():
    missing = ["click", "tqdm", "PIL", "torch", "pyarrow", "plyvel", "platformdirs"]
    code, out, _ = python(WITHOUT.format(modules=missing) + RUN.format(arguments=["--help"]))
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "euclidesdb[cli]" in out


def test_the_extra_cli_is_enough_for_a_running_server(shared_server, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(noise(0, 8, "L")))
    missing = [
        "annoy",
        "faiss",
        "msgspec",
        "platformdirs",
        "plyvel",
        "pyarrow",
        "pydantic",
        "torch",
    ]
    file, sheet = str(tmp_path / "a.png"), str(tmp_path / "out.png")
    commands = [
        ["add", file],
        ["get", file],
        ["update", file, "--set", "a=1"],
        ["find", "--image", file, "--picture", sheet, "--model", "digits"],
        ["summarize", "--by", "a"],
        ["stats"],
        ["remove", file],
    ]
    run = "from euclidesdb_server.__main__ import main; sys.exit(any(map(main, {commands!r})))"
    code, _, error = python(
        WITHOUT.format(modules=missing) + run.format(commands=commands),
        EUCLIDESDB_ADDRESS=shared_server,
    )
    assert code == 0, error


@each_as_subtest(
    ("arguments", "expected"),
    [
        (["model", "export", "a"], ("model export", "export")),
        (["model", "check", "a"], ("model check", "server")),
        (["--address", "find"], ("find", "cli")),
        (["nothing"], ("COMMAND", "cli")),
    ],
    ids=str,
)
def test_a_command_line_names_its_extra(arguments, expected):
    assert extra_of(arguments) == expected


@each_as_subtest("shell", ["bash", "zsh", "fish"])
def test_a_script_completes_commands(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "_EUCLIDESDB_COMPLETE" in capsys.readouterr().out


def completions(words, capsys, monkeypatch):
    """What bash is offered after these words; the last one may be empty."""
    monkeypatch.setenv("_EUCLIDESDB_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert main([]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if line]


def test_files_are_completed(capsys, monkeypatch):
    for words in (("add", "ph"), ("find", "--image", "ph"), ("serve", "--data", "ph")):
        found = completions(["euclidesdb", *words], capsys, monkeypatch)
        assert found == ["file,ph"]


def test_models_of_the_server_are_completed(shared_server, capsys, monkeypatch):
    words = ["euclidesdb", "find", "--model", "d"]
    monkeypatch.setenv("EUCLIDESDB_ADDRESS", shared_server)
    assert completions(words, capsys, monkeypatch) == ["plain,digits"]
    monkeypatch.setenv("EUCLIDESDB_ADDRESS", "127.0.0.1:1")
    assert completions(words, capsys, monkeypatch) == []


def test_options_are_completed(capsys, monkeypatch):
    assert completions(["euclidesdb", "find", "--pi"], capsys, monkeypatch) == ["plain,--picture"]
