"""What holds for all commands: JSON, and errors in one line whatever is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from euclidesdb_server.commands.command_line import command_line
from tests.project.test_documentation import commands
from tests.support.processes import failed_start

COMMANDS = dict(commands(command_line()))
WITHOUT_JSON = {
    "serve",
    "model export",
    "key create",
    "key revoke",
    "demo",
    "demo-text",
    "completion",
}
"""They run on, or print nothing that a program would read."""
SURROGATE = "\udcff"  # a byte that is not UTF-8, on a command line

# files in the working folder: folder/, text.txt, empty, broken.png
BAD: dict[str, list[tuple[str, ...]]] = {
    "serve": [("-c", "missing.conf"), ("-c", "folder"), ("--data", "text.txt")],
    "add": [
        ("missing",),
        ("text.txt",),
        ("empty.csv",),
        ("broken.csv",),
        ("broken.jsonl", "--model", "digits"),
        ("folder", "--model", "missing"),
        ("broken.png", "--model", "digits"),
        (SURROGATE,),
    ],
    "get": [("missing",), ("",), ("x" * 600,), (SURROGATE,), ("missing", "--payload", "folder")],
    "update": [
        ("missing", "--set", "a=1"),
        (SURROGATE, "--set", "a=1"),
        ("missing", "--merge", "[" * 9999),
        ("--where", "a b", "--set", "a=1"),
        ("--where", "id() == 'missing'", "--set", "a=1"),
    ],
    "remove": [("missing",), (SURROGATE,), ("--where", "a ="), ("--where", "")],
    "count": [("--where", "("), ("--where", "a == " + "9" * 5000), ("--where", SURROGATE)],
    "list": [("--order-by", ""), ("--limit", "-1"), ("--where", "a < true"), ("--show", ",")],
    "summarize": [("--by", ""), ("--max-values", "0"), ("--by", "digits@0f3a.label")],
    "find": [
        ("--id", "missing"),
        ("--image", "text.txt"),
        ("--image", "folder"),
        ("--vector", "text.txt", "--model", "given"),
        ("--id", "missing", "--picture", "folder/out.gif.unknown"),
        ("--text", SURROGATE),
        ("--text", "a", "--model", "missing"),
        ("--like", "missing", "--unlike", "missing", "--model", "digits"),
        ("--text", "a", "--max-distance", "nan", "--model", "words"),
    ],
    "embed": [
        ("missing",),
        ("digits", "--where", "a ="),
        ("digits", "--state", "odd"),
        (SURROGATE,),
    ],
    "jobs": [("--cancel", "missing"), ("--address", "127.0.0.1:1")],
    "export": [("--to", "a.csv"), ("--to", "folder/none/a.jsonl"), ("--to", SURROGATE)],
    "import": [("missing.npz",), ("text.txt",), ("broken.jsonl",), ("folder",)],
    "models": [("--address", "127.0.0.1:1"), ("--address", "")],
    "health": [("missing",), (SURROGATE,), ("-c", "missing.conf"), ("--address", "127.0.0.1:1")],
    "stats": [("--address", "unix:missing"), ("--address", "a b c")],
    "top": [("--once", "--address", "127.0.0.1:1"), ("--interval", "0")],
    "model check": [("missing",), ("text.txt",), ("folder",)],
    "model compare": [("missing", "folder", "--items", "folder")],
    "model export": [("missing/model", "text.txt")],
    "model load": [("missing",), ("../x",), ("",)],
    "model reload": [("missing",), (SURROGATE,)],
    "model unload": [("missing",)],
    "model drop": [("missing@0f3a",), ("digits",)],
    "key create": [("a b", "--role", "read"), ("a", "--role", "none"), ("a", "--role", "read")],
    "key list": [
        ("--keys-file", "text.txt"),
        ("--keys-file", "folder"),
        ("--keys-file", "missing"),
    ],
    "key revoke": [("a", "--keys-file", "missing"), ("a", "--keys-file", "folder")],
    "backup": [
        ("missing/none/b", "--address", "127.0.0.1:1"),
        ("text.txt",),
        ("folder", "--keep", "0"),
        ("nothing://x",),
        ("",),
    ],
    "backups": [("missing",), ("text.txt",), ("folder",)],
    "verify-backup": [("missing",), ("text.txt",), ("folder", "--backup", "x"), (SURROGATE,)],
    "restore": [
        ("missing", "--database-path", "new"),
        ("folder", "--database-path", "folder"),
        ("folder",),
    ],
    "verify": [("--data", "missing"), ("--data", "text.txt"), ("--data", "folder")],
    "demo": [("--items", "1"), ("--output", "folder/none/a.png", "--items", "0")],
    "demo-text": [("--nothing",)],
    "completion": [("tcsh",)],
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text.txt").write_text("not what is wanted\n")
    Path("empty.csv").touch()
    Path("broken.csv").write_bytes(b"id,text\na,\xff\n")
    Path("broken.jsonl").write_text('{"id": "a"\n[1]\n')
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def test_every_command_prints_json():
    without = {
        name
        for name, command in COMMANDS.items()
        if not any("--json" in option.opts for option in command.params)
    }
    assert without == WITHOUT_JSON


def test_every_command_is_tried_with_bad_input():
    assert BAD.keys() == COMMANDS.keys()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [(name, arguments) for name, cases in BAD.items() for arguments in cases],
    ids=ascii,
)
def test_bad_input_is_an_error_without_a_traceback(command, name, arguments):
    if name == "serve":  # it blocks the signals of its process
        code, err = failed_start(*arguments)
    else:
        code, _, err = command(*name.split(), *arguments)
    assert code in (1, 2)
    assert err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("euclidesdb")]
    assert len(lines) <= 1 or name == "import"  # which lists what was refused
    assert max(map(len, err.splitlines())) < 1000


@pytest.mark.parametrize("name", ["count", "stats", "models", "list", "verify"])
def test_an_error_with_json_is_on_standard_error(command, name):
    server = ("--data", "missing") if name == "verify" else ("--address", "127.0.0.1:1")
    ran = command(name, *server, "--json")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("euclidesdb: ")


def test_models_are_changed_with_json(command):
    loaded = json.loads(command("model", "reload", "given", "--json").out)
    assert (loaded["name"], loaded["state"]) == ("given", "ready")
