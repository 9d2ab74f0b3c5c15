"""`get`, `update`, `remove`, `count`, `list`, `summarize`, `models` and `stats`."""

from __future__ import annotations

import json

import pytest

import euclidesdb
from tests.support.images import encoded, noise

DIGIT = encoded(noise(0, 8, "L"))


def objects(ran):
    """The JSON objects that a command printed, one on each line."""
    return [json.loads(line) for line in ran.out.splitlines()]


@pytest.fixture(scope="module", autouse=True)
def items(shared_server):
    with euclidesdb.Client(shared_server) as db:
        for number in range(5):
            color = "red" if number % 2 else "blue"
            db.add(
                f"item-{number}",
                image=noise(number, 8, "L"),
                models=["digits"],
                attributes={"price": number, "color": color, "set": "items"},
            )
        db.add("odd\x1b[31m", vectors={"given": [1, 2, 3]}, attributes={"name": "\x07\u202eb"})


def test_get_shows_items_and_names_those_that_are_missing(command):
    ran = command("get", "item-1", "missing", "item-2")
    assert ran.code == 1
    assert ran.out.splitlines()[:3] == ["item-1", "    models  digits", "    price   1"]
    assert ran.err == "euclidesdb: there is no item 'missing'\n"


def test_get_prints_json(command):
    ran = command("get", "item-1", "item-2", "--json", "--predictions")
    first, second = objects(ran)
    assert (ran.code, first["id"], second["id"]) == (0, "item-1", "item-2")
    assert first["attributes"] == {"price": 1, "color": "red", "set": "items"}
    assert (first["metadata"], first["models"]) == ("", ["digits"])
    assert len(first["predictions"]["digits"]) == 10
    assert "vectors" not in first


def test_get_writes_the_image(command, tmp_path):
    assert command("get", "item-0", "--payload", tmp_path / "a.png").code == 0
    assert (tmp_path / "a.png").read_bytes() == encoded(noise(0, 8, "L"), compress_level=1)
    ran = command("get", "item-0", "--payload", tmp_path / "missing" / "a.png")
    assert ran.code == 1
    assert "cannot write" in ran.err
    assert "no image, text or tensor" in command("get", "odd\x1b[31m", "--payload", "a").err


@pytest.mark.parametrize(
    "arguments",
    [("get", "odd\x1b[31m"), ("list", "--where", "exists(name)"), ("get", "x\x1by", "odd\x1b[31m")],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_stored_cannot_control_the_terminal(command, arguments, as_json):
    ran = command(*arguments, *["--json"] * as_json)
    printed = ran.out + ran.err
    assert "odd" in printed
    assert all(each.isprintable() or each == "\n" for each in printed)


def test_update_changes_attributes(command, db):
    db.add("change", vectors={"given": [1, 2, 3]}, attributes={"a": 1, "size": {"w": 1, "h": 2}})
    arguments = ("--set", "size.w=3", "--set", "b=x", "--set", 'c="7"', "--remove", "a")
    ran = command("update", "change", *arguments, "--merge", '{"size": {"d": 4}}', "--json")
    attributes = {"size": {"w": 3, "h": 2, "d": 4}, "b": "x", "c": "7"}
    assert objects(ran) == [{"id": "change", "attributes": attributes}]
    assert db.get("change").attributes == attributes
    ran = command("update", "change", "--replace", '{"only": null}')
    assert ran == (0, 'change  {"only": null}\n', "")
    ran = command("update", "missing", "--set", "a=1")
    assert (ran.code, ran.out) == (1, "")
    assert "'missing'" in ran.err


def test_remove_by_id_names_those_that_are_missing(command, db):
    db.add("gone", vectors={"given": [1, 2, 3]})
    ran = command("remove", "gone", "missing", "--dry-run", "--json")
    fields = {"removed": 1, "missing": ["missing"], "errors": [], "dry_run": True}
    assert (ran.code, objects(ran)) == (1, [fields])
    ran = command("remove", "gone", "missing")
    assert ran == (1, "1 item removed\n", "euclidesdb: there is no item 'missing'\n")
    assert not db.exists("gone")


def test_remove_by_filter_asks_first(command, db, monkeypatch):
    for number in range(3):
        db.add(f"old-{number}", vectors={"given": [1, 2, number]}, attributes={"old": True})
    where = ("remove", "--where", "old == True")
    assert command(*where, "--dry-run").out == "3 items would be removed\n"
    ran = command(*where)  # standard input is not a terminal
    assert (ran.code, ran.out) == (2, "")
    assert "3 items would be removed; say --yes" in ran.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, code in (("n", 1), ("y", 0)):
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda _, answer=answer: answer)
        assert command(*where).code == code
    assert db.count("old == True") == 0
    assert command(*where, "--yes").out == "0 items removed\n"


def test_count_counts(command):
    assert command("count", "--where", 'set == "items"').out == "5\n"
    where = ("--where", 'set == "items" and price < 2')
    assert objects(command("count", *where, "--json")) == [{"count": 2}]


@pytest.mark.parametrize("name", ["count", "list", "summarize", "find", "remove"])
def test_an_error_of_a_filter_points_at_the_column(command, name):
    more = ("--id", "item-1") if name == "find" else ()
    ran = command(name, "--where", "price < ", *more)
    assert ran.code == 1
    assert ran.err.startswith("euclidesdb: invalid syntax (column 8 of the filter)\n")


def test_list_is_a_table_in_order(command):
    where = ("list", "--where", 'set == "items"')
    ran = command(*where, "--order-by", "price", "--descending", "--limit", "2")
    assert ran.out.splitlines() == [
        "id      models  price  color  set",
        "item-4  digits  4      blue   items",
        "item-3  digits  3      red    items",
    ]
    assert ran.err == "these are the first 2; --limit 0 lists all\n"
    ran = command(*where, "--attribute", "price", "--limit", "5")
    assert ran.out.splitlines()[:2] == ["id      models  price", "item-0  digits  0"]
    assert ran.err == ""
    assert [each["id"] for each in objects(command(*where, "--limit", "0", "--json"))] == [
        f"item-{number}" for number in range(5)
    ]
    assert command("list", "--where", "nothing == 1").out == ""


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_list_without_items_says_so(command, json_option):
    ran = command("list", "--where", "price > 1e9", *json_option)
    assert (ran.code, ran.out, ran.err) == (0, "", "there are no such items\n")


def test_summarize_counts_and_summarizes(command):
    where = ("summarize", "--where", 'set == "items"', "--by", "color", "--numbers", "price")
    ran = command(*where)
    assert ran.code == 0
    assert ran.out.splitlines()[:4] == [
        "5 items",
        "",
        "color  items",
        f"blue       3  {'█' * 30}",
    ]
    assert "price      5    0       2     2    4" in ran.out
    (summary,) = objects(command(*where, "--json"))
    values = [{"value": "blue", "count": 3}, {"value": "red", "count": 2}]
    assert summary["counts"] == {"color": {"values": values, "other": 0, "missing": 0}}
    assert (summary["count"], summary["numbers"]["price"]["mean"]) == (5, 2)


def test_models_lists_the_models(command):
    heads, *rows = command("models").out.splitlines()
    assert heads.split()[:5] == ["model", "state", "items", "input", "dim"]
    assert [(cells[:2], cells[3:5]) for cells in map(str.split, rows)] == [
        (["digits", "ready"], ["image", "64"]),
        (["given", "ready"], ["vector", "3"]),
        (["words", "ready"], ["text", "6"]),
    ]
    first, *_ = objects(command("models", "--json"))
    assert (first["name"], first["state"], first["labels"][3]) == ("digits", "ready", "3")


def test_models_fit_into_a_terminal_of_80_columns(command, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("models", "stats"):
        lines = command(name).out.splitlines()
        assert max(map(len, lines)) <= 80
        assert any("digits  ready" in line for line in lines)


def test_stats_is_an_overview(command, db):
    ran = command("stats")
    assert ran.out.startswith(f"{db.count():,} items")
    (stats,) = objects(command("stats", "--json"))
    assert stats["items"] == db.count()
    assert [model["name"] for model in stats["models"]] == ["digits", "given", "words"]


def test_models_are_changed_by_commands(command):
    ran = command("model", "reload", "missing")
    assert ran.code == 1
    assert "'missing'" in ran.err
    assert command("model", "reload", "given").out.startswith("model 'given' is ready")


def test_a_misspelled_field_is_pointed_out_once(command):
    ran = command("count", "--where", "prise < 3")
    assert (ran.code, ran.out) == (0, "0\n")
    assert ran.err == "euclidesdb: no item has an attribute 'prise'; did you mean 'price'?\n"
    listed = command("list", "--order-by", "prise", "--limit", "2", "--json")
    assert listed.err.count("did you mean 'price'") == 1
    assert all(isinstance(each, dict) for each in objects(listed))


def test_list_shows_predictions(command, db):
    ran = command("list", "--show", "digits.label, digits.confidence,price", "--limit", "5")
    heads, *rows = [line.split() for line in ran.out.splitlines()]
    assert heads == ["id", "models", "digits.label", "digits.confidence", "price"]
    assert len(rows) == 5
    shown = [
        each["show"]
        for each in objects(command("list", "--show", "digits.label", "--limit", "0", "--json"))
    ]
    labels = [each["digits.label"] for each in shown if each["digits.label"] is not None]
    for label in {*labels}:
        assert db.count({"digits.label": label}) == labels.count(label)
    measures = "digits.confidence,digits.margin,digits.entropy,digits.top_labels"
    first, *_ = objects(command("list", "--show", measures, "--json"))
    confidence = first["show"]["digits.confidence"]
    assert db.count({"$id": first["id"], "digits.confidence": {"$gt": confidence - 1e-5}}) == 1
    assert len(first["show"]["digits.top_labels"]) == 5
    assert "predictions" not in first
    assert command("list", "--show", "price,,").code == 2


def test_update_changes_all_that_match(command, db):
    ids = [f"update-{number}" for number in range(5)]
    db.add_vectors(ids, [[1, 2, 3]] * 5, model="given", attributes=[{"u": n} for n in range(5)])
    where = ("--where", "u >= 2", "--set", "u=1", "--set", "done=true")
    dry_run = command("update", *where, "--dry-run")
    assert (dry_run.code, dry_run.out) == (0, "3 items would be updated\n")
    refused = command("update", *where)
    assert refused.code == 2
    assert "3 items would be updated; say --yes to update without asking" in refused.err
    assert objects(command("update", *where, "--yes", "--json")) == [
        {"updated": 3, "errors": [], "dry_run": False}
    ]
    assert db.count("u == 1 and done == true") == 3
    several = command("update", "update-0", "missing", "--set", "u=7")
    assert (several.code, several.out) == (1, "1 item updated\n")
    assert "there is no item 'missing'" in several.err
    assert command("update", "--set", "u=7").code == 2
    assert command("update", "a", "--where", "u == 1", "--set", "u=7").code == 2
    db.remove_many(ids)


def test_an_update_that_stops_says_how_to_go_on(command, db, monkeypatch):
    ids = [f"stop-{number}" for number in range(3)]
    db.add_vectors(ids, [[1, 2, 3]] * 3, model="given", attributes=[{"s": 1}] * 3)
    update, calls = euclidesdb.Client.update, []

    def interrupted(client, item_id, **change):
        calls.append(item_id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return update(client, item_id, **change)

    monkeypatch.setattr(euclidesdb.Client, "update", interrupted)
    ran = command("update", "--where", "s == 1", "--set", "t=1", "--yes")
    assert (ran.code, ran.out) == (130, "1 item updated\n")
    assert "to go on, run the same command" in ran.err
    db.remove_many(ids)
