"""`euclidesdb add`: files, folders, patterns and tables; what fails, and Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import euclidesdb
from euclidesdb_server.commands.add import chosen_models
from tests.support.images import encoded, noise

DIGIT = encoded(noise(0, 8, "L"))


@pytest.fixture
def photos(tmp_path):
    """A folder with images in two folders, and other files."""
    folder = tmp_path / "photos"
    for name in ("cats/1.png", "cats/2.png", "dogs/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(noise(len(name), 8, "L")))
    for name in ("cats/notes.txt", ".hidden.png", "README.md", "data.bin"):
        (folder / name).write_text("not an image")
    return folder


def counts(ran):
    """What --json reports without the errors."""
    report = json.loads(ran.out)
    return report["added"], report["skipped"], report["failed"]


def test_a_folder_is_added_with_ids_relative_to_it(command, db, photos):
    ran = command(
        "add", photos, "--id-prefix", "folder/", "--folder-attribute", "kind", "--set", "batch=7"
    )
    assert ran == (0, "3 items added\n", "")
    names = ("cats/1.png", "cats/2.png", "dogs/1.png")
    found = db.get_many(f"folder/{name}" for name in names)
    assert [item.attributes for item in found.values()] == [
        {"kind": "cats", "batch": 7}, {"kind": "cats", "batch": 7}, {"kind": "dogs", "batch": 7}
    ]  # fmt: skip
    assert {item.models for item in found.values()} == {("digits",)}


def test_files_and_patterns_are_added_with_their_paths_as_ids(command, db, photos, monkeypatch):
    monkeypatch.chdir(photos)
    assert counts(command("add", "cats/1.png", "**/[0-9].png", "--json")) == (3, 0, 1)
    names = ["cats/1.png", "cats/2.png", "dogs/1.png"]
    assert [*db.get_many(names)] == names


def test_items_that_are_stored_already_are_counted_as_such(command, photos):
    first = command("add", photos / "dogs", "--id-prefix", "again/")
    assert first.out == "1 item added\n"
    again = command("add", photos / "dogs", "--id-prefix", "again/", "--set", "new=1")
    assert again.out == "0 items added, 1 stored already and brought up to date\n"
    report = json.loads(command("add", photos / "dogs", "--id-prefix", "again/", "--json").out)
    assert (report["added"], report["updated"], report["unchanged"]) == (0, 0, 1)
    unchanged = command("add", photos / "dogs", "--id-prefix", "again/")
    assert unchanged.out == "0 items added, 1 stored already and unchanged\n"


def test_existing_items_are_skipped(command, db, photos):
    where = ("--id-prefix", "skip/", "--json")
    (photos / "cats" / "2.png").rename(photos / "later.png")
    db.add("skip/dogs/1.png", vectors={"given": [1, 2, 3]})
    assert counts(command("add", photos, *where, "--skip-existing")) == (2, 1, 0)
    assert db.get("skip/dogs/1.png").models == ("given",)
    assert counts(command("add", photos, *where)) == (0, 0, 0)
    assert db.get("skip/dogs/1.png").models == ("digits", "given")


def test_a_csv_table_is_added_with_its_columns_as_attributes(command, db, tmp_path):
    (tmp_path / "shoe.png").write_bytes(DIGIT)
    rows = [
        ("sku", "photo", "price", "code", "sold", "note"),
        ("csv-1", "shoe.png", "10", "007", "true", 'a "quoted", note'),
        ("csv-2", "shoe.png", "1.5", "12", "", ""),
        ("csv-3", "missing.png", "3", "", "", ""),
        ("csv-4", "shoe.png", "3"),
        ("csv-1", "shoe.png", "", "", "", ""),
    ]
    with (tmp_path / "shoes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    given = ("--id-column", "sku", "--image-column", "photo", "--keep-text", "code")
    ran = command("add", tmp_path / "shoes.csv", *given, "--model", "digits")
    assert (ran.code, ran.out) == (1, "2 items added, 3 could not be added\n")
    assert [line.strip() for line in ran.err.splitlines()] == [
        f"{tmp_path}/shoes.csv:5: 3 cells for 6 columns",
        "csv-1: another item has the same id; see --id-prefix",
        f"csv-3: [Errno 2] No such file or directory: '{tmp_path}/missing.png'",
    ]
    assert db.get("csv-1").attributes == {
        "price": 10, "code": "007", "sold": True, "note": 'a "quoted", note'
    }  # fmt: skip
    assert db.get("csv-2").attributes == {"price": 1.5, "code": "12"}


def test_json_lines_are_added_and_wrong_ones_listed(command, db, tmp_path):
    (tmp_path / "a.png").write_bytes(DIGIT)
    (tmp_path / "broken.png").write_bytes(b"not an image")
    lines = [
        json.dumps({"id": "json-1", "image": "a.png", "tags": ["x"], "size": {"w": 1.5}}),
        "",
        "{",
        "[1]",
        '{"id": "json-2", "image": "a.png", "price": NaN}',
        '{"id": "json-3"}',
        '{"id": true, "image": "a.png"}',
        '{"id": "json-4", "image": "broken.png"}',
        '{"id": 5, "image": "https://example.org/a.png"}',
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    ran = command("add", tmp_path / "rows.jsonl", "--json")
    report = json.loads(ran.out)
    assert (ran.code, report["added"], report["failed"]) == (1, 1, 7)
    reasons = {each["id"].removeprefix(f"{tmp_path}/"): each for each in report["errors"]}
    assert [*reasons] == [f"rows.jsonl:{line}" for line in (3, 4, 5, 6, 7)] + ["json-4", "5"]
    assert "NaN is not JSON" in reasons["rows.jsonl:5"]["message"]
    assert "at column 1" in reasons["rows.jsonl:3"]["message"]
    assert "column 'id': the id must be" in reasons["rows.jsonl:7"]["message"]
    assert reasons["json-4"]["reason"] == "undecodable_input"
    assert "is a URL" in reasons["5"]["message"]
    assert db.get("json-1").attributes == {"tags": ["x"], "size": {"w": 1.5}}


def test_a_parquet_table_may_hold_the_images_themselves(command, db, tmp_path):
    table = pa.table(
        {
            "id": ["parquet-1", "parquet-2"],
            "image": [{"bytes": DIGIT, "path": None}, {"bytes": None, "path": "a.png"}],
            "label": [3, None],
        }
    )
    (tmp_path / "a.png").write_bytes(DIGIT)
    pq.write_table(table, tmp_path / "images.parquet")
    assert command("add", tmp_path / "images.parquet").code == 0
    assert db.get("parquet-1", include_payload=True).image == DIGIT
    assert db.get("parquet-1").attributes == {"label": 3}
    assert db.get("parquet-2").attributes == {}


def test_a_parquet_table_names_pyarrow_if_it_is_missing(command, tmp_path, monkeypatch):
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ran = command("add", tmp_path / "a.parquet")
    assert ran.code == 1
    assert "pip install pyarrow" in ran.err


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "name,photo\na,b\n", "there is no column 'id'; name that of the ids"),
        ("a.csv", "id,photo\na,b\n", "there is no column 'image' or 'text'"),
        ("a.csv", "id,id\na,b\n", "two columns have the same name"),
        ("a.csv", "", "the table has no rows"),
        ("a.tsv", "id\timage\n", "the table has no rows"),
        ("a.jsonl", "{", "not valid JSON"),
        ("a.jsonl", "\udcff", "the table is not UTF-8: invalid start byte at byte 0"),
        ("a.parquet", "no", "the table cannot be read on"),
        ("a.txt", "hello", "say --text lines or --text files"),
        ("empty/a.bin", "", "there are no images in"),
        ("missing", None, "does not exist"),
    ],
)
def test_what_cannot_be_added_is_refused_before_anything_is(
    command, tmp_path, name, text, expected
):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    ran = command("add", path.parent if "/" in name else path)
    assert (ran.code, ran.out) == (2 if name == "a.txt" else 1, "")
    (line,) = ran.err.splitlines()
    assert expected in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--model", "nothing"),
            "no model 'nothing': the server has digits, given, words",
        ),
        (("--model", "given"), "model 'given' takes vector, and the items are image"),
        (("--text", "files", "--model", "digits"), "'digits' takes image, and the items are text"),
    ],
)
def test_models_that_do_not_fit_are_named_before_anything_is_added(
    command, photos, arguments, expected
):
    ran = command("add", photos, *arguments)
    assert (ran.code, ran.out) == (1, "")
    assert expected in ran.err


KNOWN = [
    euclidesdb.ModelInfo(name, state, "", kind, 2, 0, "f", "exact", "l2", 0, (), False)
    for name, state, kind in (
        ("old@f", "superseded", "image"),
        ("one", "ready", "image"),
        ("two", "loading", "image"),
        ("three", "ready", "image"),
        ("words", "quarantined", "text"),
    )
]


def test_a_url_is_refused_as_such(command):
    ran = command("add", "https://example.com/shoe.jpg", "--model", "digits")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "euclidesdb: 'https://example.com/shoe.jpg' is a URL; download it first, and add the file\n"
    )


def test_without_a_name_the_only_model_of_the_kind_is_taken():
    assert chosen_models(KNOWN[:2], (), {"image"}, all_models=False) == {"image": ["one"]}
    with pytest.raises(click.ClickException, match="takes text is ready"):
        chosen_models(KNOWN, (), {"text"}, all_models=False)
    with pytest.raises(click.ClickException, match=r"name one or more of one, two, three by --mo"):
        chosen_models(KNOWN, (), {"image"}, all_models=False)
    assert chosen_models(KNOWN, (), {"image"}, all_models=True) == {"image": ["one", "three"]}
    assert chosen_models(KNOWN, ("three",), {"image"}, all_models=False) == {"image": ["three"]}


def test_model_and_all_models_exclude_each_other(command, photos):
    ran = command("add", photos, "--model", "digits", "--all-models")
    assert (ran.code, ran.out) == (2, "")
    assert "give --model or --all-models" in ran.err


def test_texts_are_added_by_file_and_by_line(command, db, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("one two\n\n  three\n")
    (texts / "b.md").write_bytes(b"\xff")
    (texts / "c.png").write_bytes(DIGIT)
    ran = command("add", texts, "--text", "lines")
    assert (ran.code, ran.out) == (1, "2 items added, 1 could not be added\n")
    assert ran.err == "  b.md: is not UTF-8: invalid start byte at byte 0\n"
    assert db.get("a.txt:3", include_payload=True).text == "three"
    assert counts(command("add", texts / "a.txt", "--text", "files", "--json")) == (1, 0, 0)
    item = db.get(f"{texts}/a.txt", include_payload=True)
    assert (item.text, item.models) == ("one two\n\n  three\n", ("words",))


def test_ctrl_c_stops_and_says_how_to_go_on(shared_server, db, tmp_path):
    count = 100_000
    (tmp_path / "a.png").write_bytes(DIGIT)
    with (tmp_path / "many.jsonl").open("w") as stream:
        for number in range(count):
            row = {"id": f"many-{number}", "image": "a.png", "many": number}
            stream.write(json.dumps(row) + "\n")
    arguments = ["add", str(tmp_path / "many.jsonl"), "--address", shared_server]
    with subprocess.Popen(
        [sys.executable, "-m", "euclidesdb_server", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        while not (added := db.count("exists(many)")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=100)
    added = db.count("exists(many)")
    assert process.returncode == 130
    assert out == f"{added:,} items added\n"
    assert 0 < added < count
    assert "--skip-existing" in error
    assert "Traceback" not in error
