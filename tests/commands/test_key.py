"""`euclidesdb key`, and commands that talk to a server with API keys."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from euclidesdb_server.__main__ import main
from euclidesdb_server.access.api_keys import KeySet
from euclidesdb_server.access.key_file import read_keys
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space


def test_a_key_is_printed_once_and_only_its_digest_is_kept(tmp_path, capsys):
    file = tmp_path / "keys.json"
    assert main(["key", "create", "app", "--role", "write", "--keys-file", str(file)]) == 0
    key = capsys.readouterr().out.strip()
    assert key not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KeySet(read_keys(file)).find(key.encode()).name == "app"
    assert main(["key", "list", "--json", "--keys-file", str(file)]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["role"]) == ("app", "write")
    assert listed["id"] in key
    assert main(["key", "revoke", "app", "--keys-file", str(file)]) == 0
    assert read_keys(file) == ()


def test_a_name_is_used_once_and_is_safe_to_print(tmp_path, capsys):
    file = tmp_path / "keys.json"
    create = ["key", "create", "--role", "read", "--keys-file", str(file)]
    assert main([*create, "app"]) == 0
    before = file.read_bytes()
    assert main([*create, "app"]) == 1
    assert "'app' already" in capsys.readouterr().err
    for name in ("a\nb", "\x1b[31m", "", "a" * 65, "../x", "a b"):
        assert main([*create, name]) == 2
    assert file.read_bytes() == before
    assert main(["key", "revoke", "other", "--keys-file", str(file)]) == 1
    assert "no API key named 'other'" in capsys.readouterr().err


def test_a_key_goes_to_a_file_of_its_owner_alone(tmp_path, capsys):
    file, output = tmp_path / "keys.json", tmp_path / "secret"
    create = ["key", "create", "--role", "read", "--keys-file", str(file), "--output", str(output)]
    assert main([*create, "one"]) == 0
    assert capsys.readouterr().out == ""
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert KeySet(read_keys(file)).find(output.read_bytes().strip()).name == "one"
    assert main([*create, "two"]) == 1  # it replaces no file
    assert [key.name for key in read_keys(file)] == ["one"]


def test_the_file_of_keys_is_that_of_the_configuration(tmp_path, capsys):
    conf = tmp_path / "a.conf"
    conf.write_text("[auth]\nkeys_file = k.json\n[models]\ndir_path = m\n[database]\ndb_path = d\n")
    assert main(["key", "create", "app", "--role", "read", "-c", str(conf)]) == 0
    assert [key.name for key in read_keys(tmp_path / "k.json")] == ["app"]
    assert main(["key", "list"]) == 2
    assert "one of --config and --keys-file" in capsys.readouterr().err


def test_keys_that_are_made_at_the_same_moment_are_all_kept(tmp_path):
    file = tmp_path / "keys.json"

    def create(number):
        command = [sys.executable, "-m", "euclidesdb_server", "key", "create", f"k{number}"]
        return subprocess.run(
            [*command, "--role", "read", "--keys-file", str(file)], capture_output=True, check=True
        )

    with ThreadPoolExecutor(4) as pool:
        [*pool.map(create, range(6))]
    assert {key.name for key in read_keys(file)} == {f"k{number}" for number in range(6)}
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    """The address of a server with API keys, and a file with a key of the role read."""
    keys, secret = tmp_path / "keys.json", tmp_path / "secret"
    create = ["key", "create", "app", "--role", "read", "--keys-file", str(keys)]
    assert main([*create, "--output", str(secret)]) == 0
    save_vector_space(tmp_path / "models")
    monkeypatch.delenv("EUCLIDESDB_API_KEY", raising=False)
    with start_server(tmp_path / "data", tmp_path / "models", auth={"keys_file": keys}) as server:
        yield server.address, secret


def test_a_command_takes_the_key_from_a_file_or_the_environment(guarded, capsys, monkeypatch):
    address, secret = guarded
    models = ["models", "--address", address]
    assert main(models) == 1
    error = capsys.readouterr().err
    assert "--api-key-file" in error
    assert "EUCLIDESDB_API_KEY" in error
    assert main([*models, "--api-key-file", str(secret)]) == 0
    monkeypatch.setenv("EUCLIDESDB_API_KEY", secret.read_text())
    assert main(models) == 0
    assert main(["remove", "x", "--yes", "--address", address]) == 1
    assert "requires the role write" in capsys.readouterr().err
    assert main([*models, "--api-key-file", str(secret) + "none"]) == 1
    assert "cannot read" in capsys.readouterr().err
    assert main([*models, "--tls-ca", str(secret) + "none"]) == 1
    assert "cannot read" in capsys.readouterr().err
