"""A backup is restored elsewhere and answers alike; many share a place, and old ones are pruned."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import euclidesdb
from euclidesdb_server.__main__ import main
from euclidesdb_server.backup.errors import BackupError
from euclidesdb_server.backup.make import make_backup
from euclidesdb_server.backup.manifest import BackupManifest, manifest_of
from euclidesdb_server.backup.repository import Repository
from tests.backup.conftest import answers_of, backed_up, fill, serve
from tests.support.waiting import wait_for


def test_a_restored_server_gives_the_same_answers(command, source, tmp_path):
    with euclidesdb.Client(source.address) as client:
        expected = answers_of(client)
    made = backed_up(command("backup", tmp_path / "place", "--json"))
    assert made["models"].keys() == {"digits", "given"}
    ran = command(
        "restore",
        tmp_path / "place",
        "--database-path",
        tmp_path / "new" / "data",
        "--models-path",
        tmp_path / "new" / "models",
    )
    assert (ran.code, ran.err) == (0, "")
    assert f"backup {made['id']} is restored" in ran.out
    assert "[faiss] index_type = HNSW8" in ran.out
    assert main(["verify", "--data", str(tmp_path / "new" / "data")]) == 0
    with (
        serve(tmp_path / "new" / "data", tmp_path / "new" / "models") as server,
        euclidesdb.Client(server.address) as client,
    ):
        assert answers_of(client) == expected


def test_files_that_did_not_change_are_stored_once(command, tmp_path):
    first = backed_up(command("backup", tmp_path, "--json"))
    again = backed_up(command("backup", tmp_path, "--json"))
    assert first["new_files"] > 5
    assert (again["new_files"], again["new_bytes"]) == (0, 0)
    assert again["id"] > first["id"]
    ran = command("backups", tmp_path, "--json")
    listed = [json.loads(line) for line in ran.out.splitlines()]
    assert [each["id"] for each in listed] == [first["id"], again["id"]]
    ran = command("backups", tmp_path)
    assert [line.split()[0] for line in ran.out.splitlines()] == ["id", first["id"], again["id"]]
    ran = command("verify-backup", tmp_path, "--json")
    assert (json.loads(ran.out)["backups"], json.loads(ran.out)["problems"]) == (2, [])
    ran = command("verify-backup", tmp_path)
    assert (ran.code, ran.out.startswith("2 backups with ")) == (0, True)
    assert ran.out.endswith("all is well\n")


def test_each_backup_is_of_its_moment_and_old_ones_are_pruned(models, tmp_path, capsys):
    place = tmp_path / "place"
    expected = {}
    with serve(tmp_path / "data", models) as server:
        with euclidesdb.Client(server.address) as client:
            fill(client)
            for number in range(3):
                client.add(f"later {number}", vectors={"given": [number] * 8})
                expected[number] = answers_of(client)
                assert main(["backup", str(place), "--address", server.address]) == 0
        ids = listed_ids(place, capsys)
        command = ["backup", str(place), "--keep", "3", "--address", server.address]
        assert main(command) == 0
    assert "deleted 1 earlier backup\n" in capsys.readouterr().out
    assert listed_ids(place, capsys)[:2] == ids[1:]
    assert main(["verify-backup", str(place)]) == 0
    target = tmp_path / "restored"
    command = ["restore", str(place), "--backup", ids[1], "--database-path", str(target)]
    assert main(command) == 0
    with serve(target, models) as server, euclidesdb.Client(server.address) as client:
        assert answers_of(client) == expected[1]


def test_a_version_that_is_dropped_during_a_backup_is_in_it(models, tmp_path):
    own = shutil.copytree(models, tmp_path / "models")
    conf = own / "given" / "model.conf"
    place = str(tmp_path / "place")
    with serve(tmp_path / "data", own) as server, euclidesdb.Client(server.address) as client:
        fill(client)
        (fingerprint,) = (each.fingerprint for each in client.models() if each.name == "given")
        conf.write_text(conf.read_text() + "version = 2\n")
        client.reload_model("given")
        earlier = f"given@{fingerprint}"
        expected = client.find_similar(vector=[1.0] * 8, model=earlier, top_k=50)[earlier]

        def drop(done: int, _: int) -> None:
            if not done:
                client.drop_model_version(earlier)
                wait_for(lambda: not (tmp_path / "data/segments/2").exists(), "the drop")

        with Repository(place, create=True) as repository:
            make_backup(client, repository, report=drop)
        assert earlier not in {each.name for each in client.models()}
    assert main(["restore", place, "--database-path", str(tmp_path / "new")]) == 0
    with serve(tmp_path / "new", own) as server, euclidesdb.Client(server.address) as client:
        found = client.find_similar(vector=[1.0] * 8, model=earlier, top_k=50)[earlier]
        assert (found.ids, found.distances.tolist()) == (expected.ids, expected.distances.tolist())


def listed_ids(place: Path, capsys) -> list[str]:
    capsys.readouterr()
    assert main(["backups", str(place), "--json"]) == 0
    return [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]


def test_contents_that_no_backup_needs_are_deleted_by_the_next_one(command, tmp_path):
    assert command("backup", tmp_path).code == 0
    left = tmp_path / "objects" / "ab" / ("ab" + 62 * "0")
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"of a backup that was interrupted")
    (tmp_path / "incoming").mkdir(exist_ok=True)
    (tmp_path / "incoming" / "3").write_bytes(b"not complete")
    ran = command("verify-backup", tmp_path)
    assert (ran.code, ran.out.splitlines()[0][:20]) == (0, "1 file of no backup:")
    assert command("backup", tmp_path).code == 0
    assert not left.exists()
    assert not (tmp_path / "incoming").exists()


def test_damage_is_named_by_file(command, tmp_path):
    made = backed_up(command("backup", tmp_path / "place", "--json"))
    manifest = json.loads((tmp_path / "place" / "backups" / f"{made['id']}.json").read_text())
    files = {file["path"]: file["sha256"] for file in manifest["files"]}
    damaged, missing = files["models/digits/digits.pt"], files["data/leveldb/CURRENT"]
    content = place_of(tmp_path / "place", damaged)
    content.write_bytes(content.read_bytes()[:-1] + b"!")
    place_of(tmp_path / "place", missing).unlink()
    ran = command("verify-backup", tmp_path / "place")
    assert ran.code == 1
    assert f"{content} is damaged: models/digits/digits.pt" in ran.out
    assert f"{missing} is missing: data/leveldb/CURRENT" in ran.out
    target = tmp_path / "new"
    ran = command("restore", tmp_path / "place", "--database-path", target / "data")
    assert ran.code == 1
    assert "data/leveldb/CURRENT" in ran.err
    assert not target.exists()
    # what is missing is stored again, what is damaged is of the same size: it is not
    assert command("backup", tmp_path / "place").code == 0
    ran = command(
        "restore", tmp_path / "place", "--database-path", target / "data", "--models-path", target
    )
    assert (ran.code, "digits.pt" in ran.err) == (1, True)
    assert not (target / "data" / "leveldb").exists()


def place_of(place: Path, sha256: str) -> Path:
    return place / "objects" / sha256[:2] / sha256


def test_a_damaged_list_of_files_is_reported_and_nothing_is_deleted(command, tmp_path):
    made = backed_up(command("backup", tmp_path, "--json"))
    manifest = tmp_path / "backups" / f"{made['id']}.json"
    objects = sorted((tmp_path / "objects").rglob("*"))
    manifest.write_bytes(manifest.read_bytes().replace(b"CURRENT", b"CURRENZ"))
    for name in (("verify-backup", tmp_path), ("backups", tmp_path)):
        ran = command(*name)
        assert (ran.code, f"{manifest} is damaged" in ran.out + ran.err) == (1, True)
    ran = command("backup", tmp_path)
    assert (ran.code, f"nothing was deleted: {manifest} is damaged" in ran.err) == (1, True)
    assert {*objects} <= {*(tmp_path / "objects").rglob("*")}
    assert command("backup", tmp_path, "--keep", 2).code == 0
    assert command("verify-backup", tmp_path).code == 0


def test_places_and_backups_that_are_not_there_are_named(command, tmp_path):
    for name in ("backups", "verify-backup"):
        ran = command(name, tmp_path)
        assert (ran.code, "has no backups: it has no euclidesdb-backups.json" in ran.err) == (
            1,
            True,
        )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    ran = command("backup", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]
    assert (ran.code, f"{tmp_path / 'mine'} is not empty, and not a place of" in ran.err) == (
        1,
        True,
    )
    made = backed_up(command("backup", tmp_path / "place", "--json"))
    ran = command(
        "restore", tmp_path / "place", "--backup", "20200101T000000Z", "--database-path", "x"
    )
    assert f"has no backup '20200101T000000Z'; it has {made['id']}" in ran.err
    ran = command("backup", "no-such-protocol://x")
    assert (ran.code, "no-such-protocol://x: " in ran.err) == (1, True)


def test_a_newer_format_is_refused_by_name(command, tmp_path):
    assert command("backup", tmp_path).code == 0
    (tmp_path / "euclidesdb-backups.json").write_text('{"format": 2}')
    for ran in (command("backup", tmp_path), command("backups", tmp_path)):
        assert (ran.code, "has format 2, but this program reads format 1" in ran.err) == (1, True)


@pytest.mark.parametrize("what", ["a file", "another database", "the models are others"])
def test_nothing_that_is_there_is_overwritten(command, tmp_path, what):
    assert command("backup", tmp_path / "place").code == 0
    data, models = tmp_path / "data", tmp_path / "models"
    if what == "a file":
        data.touch()
        message = f"{data} is not a folder"
    elif what == "another database":
        (data / "leveldb").mkdir(parents=True)
        message = f"{data} is not empty: it has leveldb"
    else:
        (models / "digits").mkdir(parents=True)
        message = f"{models / 'digits'} exists, and is not that of the backup"
    ran = command("restore", tmp_path / "place", "--database-path", data, "--models-path", models)
    assert (ran.code, message in ran.err) == (1, True)
    assert not [*tmp_path.rglob("restoring.tmp")]


def test_models_that_are_there_already_are_kept(command, models, tmp_path):
    assert command("backup", tmp_path / "place").code == 0
    copy = shutil.copytree(models, tmp_path / "models")
    inode = (copy / "digits" / "digits.pt").stat().st_ino
    ran = command(
        "restore", tmp_path / "place", "--database-path", tmp_path / "data", "--models-path", copy
    )
    assert (ran.code, ran.err) == (0, "")
    assert (copy / "digits" / "digits.pt").stat().st_ino == inode


def test_a_second_backup_into_a_place_leaves_the_one_that_runs_alone(tmp_path):
    with Repository(str(tmp_path), create=True) as running:
        file = running.storage.incoming / "file"
        file.write_bytes(b"content")
        with pytest.raises(BackupError, match="another process is writing a backup there"):
            Repository(str(tmp_path), create=True)
        running.add_object(file, "ab" * 32)
        assert running.objects() == {"ab" * 32: 7}


def test_what_a_killed_backup_has_stored_is_synced_by_the_next_one(tmp_path, monkeypatch):
    with Repository(str(tmp_path), create=True) as killed:
        file = killed.storage.incoming / "file"
        file.write_bytes(b"content")
        killed.add_object(file, "ab" * 32)
    synced: list[Path] = []
    monkeypatch.setattr("euclidesdb_server.backup.storage.sync", synced.append)
    with Repository(str(tmp_path), create=True) as following:
        following.add_backup(BackupManifest("20260131T235959Z", "", (), (), {}, ()))
    assert {tmp_path, tmp_path / "objects", tmp_path / "objects" / "ab"} <= {*synced}


@pytest.mark.parametrize(
    "changed",
    [
        {"files": [{"path": 1, "size": 1, "sha256": "0" * 64}]},
        {"files": [{"path": "data/a", "size": "1", "sha256": "0" * 64}]},
        {"files": [{"path": "data/a", "size": -1, "sha256": "0" * 64}]},
        {"files": [{"path": "data/a", "size": 1, "sha256": None}]},
        {"files": [{"path": "data/restoring.tmp/a", "size": 1, "sha256": "0" * 64}]},
        {"files": [{"path": "data/\ud800", "size": 1, "sha256": "0" * 64}]},
        {"models": [{"name": "a", "folder": 1, "fingerprint": ""}]},
        {"id": 1},
        {"search": []},
        {"search": {"key": 1}},
        {"warnings": None},
        {"warnings": [1]},
    ],
)
def test_a_list_of_files_with_unexpected_values_is_refused(changed):
    manifest = BackupManifest("20260131T235959Z", "", (), (), {}, ())
    fields = {**json.loads(manifest.to_bytes()), **changed}
    del fields["sha256"]
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    fields["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(BackupError, match=r"the list (is damaged|names a file)"):
        manifest_of(json.dumps(fields).encode(), "the list")


@pytest.mark.parametrize("data", [b"[" * 200_000, b"[]", b"1", b'{"sha256": 1}', b"\xff"])
def test_what_is_not_a_list_of_files_is_refused(data):
    with pytest.raises(BackupError, match="the list is damaged"):
        manifest_of(data, "the list")
