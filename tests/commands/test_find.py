"""`euclidesdb find`: its queries, its tables and JSON, and the picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import euclidesdb
from euclidesdb_server.commands import contact_sheet
from tests.support.images import encoded, noise

WHERE = ("--where", 'set == "find"')


@pytest.fixture(scope="module", autouse=True)
def items(shared_server):
    with euclidesdb.Client(shared_server) as db:
        for number in range(8):
            attributes = {"set": "find", "parity": number % 2}
            image = noise(100 + number, 8, "L")
            db.add(f"find-{number}", image=image, models=["digits"], attributes=attributes)
        vectors = {"given": [0, 0, 0]}
        db.add("find-text", text="one two " * 99, models=["words"])
        db.add("find-vector", vectors=vectors, attributes={"set": "find"})


@pytest.fixture
def query(tmp_path):
    path = tmp_path / "query.png"
    path.write_bytes(encoded(noise(103, 8, "L")))
    return path


def objects(ran):
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def test_an_image_finds_itself_first(command, query):
    ran = command("find", "--image", query, "--model", "digits", *WHERE, "-k", "3")
    head, columns, first, *_ = ran.out.splitlines()
    assert head == "digits: 3 items, by l2 distance"
    assert columns.split() == ["distance", "id", "label", "set", "parity"]
    assert first.split()[:3] == ["1", "0.0000", "find-3"]
    first, *others = objects(command("find", "--image", query, *WHERE, "--json"))
    assert (first["model"], first["rank"], first["id"], first["metric"]) == (
        "digits", 1, "find-3", "l2"
    )  # fmt: skip
    assert first["distance"] == 0
    assert 0 < first["confidence"] <= 1
    assert first["attributes"] == {"set": "find", "parity": 1}
    assert len(others) == 7


def test_predictions_are_shown_as_in_lists(command, db, query):
    show = ("--show", "digits.label,parity", "--show", "digits.confidence")
    ran = command("find", "--image", query, "--model", "digits", *WHERE, "-k", "2", *show)
    _, columns, first, *_ = ran.out.splitlines()
    assert columns.split() == [
        "distance", "id", "label", "digits.label", "parity", "digits.confidence"
    ]  # fmt: skip
    listed = objects(command("list", "--where", 'id() == "find-3"', *show, "--json"))[0]["show"]
    assert first.split()[-3:] == [str(each) for each in listed.values()]
    found = objects(command("find", "--image", query, *WHERE, "-k", "1", *show, "--json"))
    assert found[0]["show"] == listed
    # what another model predicts
    db.add("find-both", image=noise(103, 8, "L"), models=["digits"], vectors={"given": [9, 9, 9]})
    given = command("find", "--id", "find-both", "--model", "given", "-k", "1", *show, "--json")
    assert objects(given)[0]["show"].keys() == listed.keys()
    db.remove("find-both")
    ran = command("find", "--id", "find-0", "--show", "a,,b")
    assert (ran.code, ran.out) == (2, "")


def test_an_item_a_vector_and_examples_are_queries(command, db, tmp_path):
    by_id = objects(command("find", "--id", "find-0", *WHERE, "-k", "4", "--json"))
    assert "find-0" not in [each["id"] for each in by_id]
    np.save(tmp_path / "a.npy", np.ones((1, 3)))
    given = ("--vector", tmp_path / "a.npy", "--model", "given")
    (found,) = objects(command("find", *given, *WHERE, "--json"))
    assert (found["id"], found["label"], found["confidence"]) == ("find-vector", None, None)
    assert found["distance"] == pytest.approx(3**0.5)
    examples = ("--like", "find-0", "--like", "find-1", "--unlike", "find-2")
    found = objects(command("find", *examples, *WHERE, "--json"))
    ids = ["find-0", "find-1", "find-2"]
    assert not {*ids} & {each["id"] for each in found}
    expected = db.find_similar(
        examples=euclidesdb.Examples(
            [euclidesdb.Example(id=each) for each in ids[:2]], [euclidesdb.Example(id=ids[2])]
        ),
        model="digits",
        filter=WHERE[1],
    )["digits"]
    assert [each["id"] for each in found] == [*expected.ids]


def test_results_are_limited_grouped_and_diverse(command):
    given = ("find", "--id", "find-0", *WHERE, "--json")
    grouped = objects(command(*given, "--group-by", "parity"))
    assert sorted(each["group"] for each in grouped) == [0, 1]
    everything = objects(command(*given))
    limit = everything[2]["distance"]
    assert len(objects(command(*given, "--max-distance", limit, "--exact"))) == 3
    diverse = objects(command(*given, "--diversity", "1", "-k", "3"))
    assert [each["id"] for each in diverse] != [each["id"] for each in everything[:3]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--id", "missing"), "'missing'"),
        (("--id", "find-0", "--model", "missing"), "'missing'"),
        (("--text", "one", "--model", "digits"), "digits"),
    ],
)
def test_errors_are_one_line(command, arguments, expected):
    ran = command("find", *arguments)
    assert (ran.code, ran.out) == (1, "")
    (line,) = ran.err.splitlines()
    assert expected in line


def test_a_vector_needs_a_model(command, tmp_path):
    np.save(tmp_path / "q.npy", np.zeros(3))
    ran = command("find", "--vector", tmp_path / "q.npy")
    assert (ran.code, ran.out) == (2, "")
    assert "--vector needs one --model" in ran.err


def test_a_file_that_has_no_vector_is_refused(command, tmp_path):
    (tmp_path / "a.npy").write_text("no")
    assert "not a .npy file" in command("find", "--vector", tmp_path / "a.npy").err
    np.save(tmp_path / "b.npy", np.ones((2, 3)))
    assert "(2, 3)" in command("find", "--vector", tmp_path / "b.npy").err


def test_the_picture_shows_the_query_and_its_neighbors(command, query, tmp_path):
    given = ("find", "--image", query, *WHERE, "--model", "digits")
    ran = command(*given, "--picture", tmp_path / "out.png")
    assert ran.code == 0
    assert ran.err == f"drawn: {tmp_path}/out.png\n"
    with Image.open(tmp_path / "out.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    tile = contact_sheet.SIZE + contact_sheet.GAP
    left, top = contact_sheet.MARGIN, contact_sheet.HEADER + contact_sheet.HEADING
    frame = tuple(bytes.fromhex(contact_sheet.LIKE[1:]))
    assert tuple(pixels[top, left]) == frame
    shown = [pixels[top:, left + column * tile :] for column in (0, 1, 5)]
    inside = [each[8 : contact_sheet.SIZE - 8, 8 : contact_sheet.SIZE - 8] for each in shown]
    assert all(each.std() > 30 for each in inside)  # noise, not a blank tile
    assert np.abs(inside[0].mean() - inside[1].mean()) < 5  # the same image
    assert pixels.shape[1] == 2 * left + contact_sheet.COLUMNS * tile - contact_sheet.GAP


def test_the_picture_shows_texts_and_examples(command, tmp_path):
    for arguments in (
        ("--like", "find-0", "--unlike", "find-1", "--attribute", "parity", *WHERE),
        ("--id", "find-vector"),
        ("--text", "one two three", "--model", "words"),
    ):
        file = tmp_path / "out.jpg"
        assert command("find", *arguments, "--picture", file).code == 0
        with Image.open(file) as picture:
            assert picture.format == "JPEG"
            assert min(picture.size) > 300


@pytest.mark.parametrize("name", ["out.nothing", "missing/out.png"])
def test_a_picture_that_cannot_be_written_is_an_error(command, query, tmp_path, name):
    ran = command("find", "--image", query, *WHERE, "--picture", tmp_path / name)
    assert ran.code == 1
    (line,) = ran.err.splitlines()
    assert "cannot write" in line


def test_a_sheet_draws_odd_contents():
    deep = Image.fromarray(np.linspace(0, 60_000, 64).reshape(8, 8).astype(np.uint16))
    contents = [
        None,
        "a text " * 200,
        "x" * 5000,
        b"not an image",
        encoded(deep),
        encoded(noise(1, 300, "RGBA")),
        encoded(Image.new("P", (3000, 2))),
        "日本語のテキスト",
    ]
    tiles = [
        contact_sheet.Tile(each, "a/very/long/path/" * 9 + "name.png", "0.1", more="more")
        for each in contents
    ]
    sheet = contact_sheet.contact_sheet("Title " * 99, [contact_sheet.Section("one", tiles)] * 2)
    assert sheet.mode == "RGB"
    assert sheet.width < 1300
    assert np.asarray(sheet).std() > 10
