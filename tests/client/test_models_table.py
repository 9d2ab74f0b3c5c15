"""`Client.models()` prints as a table, and is one."""

from __future__ import annotations

import euclidesdb

MODELS = euclidesdb.Models(
    [
        euclidesdb.ModelInfo(
            "digits", "ready", "", "image", 64, 10, "0f3a", "exact", "l2", 1500, ("0", "1"), False
        ),
        euclidesdb.ModelInfo(
            "<b>odd", "quarantined", "it is\x1b[2J odd", "text", 3, 0, "1b", "", "", 0, (), False
        ),
    ]
)


def test_they_print_as_a_table():
    assert repr(MODELS).splitlines() == [
        "2 models",
        "  name    state        input  dim  items  metric  engine",
        "  digits  ready        image   64  1,500  l2      exact",
        "  <b>odd  quarantined  text     3      0",
    ]
    assert repr(MODELS[:1]).startswith("1 model\n")
    assert repr(euclidesdb.Models()) == "0 models"


def test_they_are_a_tuple_still():
    assert tuple(MODELS) == MODELS
    assert [model.name for model in MODELS] == ["digits", "<b>odd"]


def test_a_notebook_shows_nothing_that_is_markup():
    html = MODELS._repr_html_()
    assert "digits" in html
    assert "&lt;b&gt;odd" in html
    assert "<b>odd" not in html
    assert "\x1b" not in html


def test_they_are_a_table_for_pandas():
    frame = MODELS.to_pandas()
    assert frame["name"].tolist() == ["digits", "<b>odd"]
    assert frame["items"].tolist() == [1500, 0]
    assert frame["labels"][0].tolist() == ["0", "1"]
    assert MODELS.to_arrow()["recall"].to_pylist() == [None, None]
