"""The two tables of input kinds, the server's and the worker's, name the same kinds."""

from __future__ import annotations

from typing import Any, Literal, get_type_hints

from euclidesdb_server.inference.input_kinds import INPUT_KINDS, TextConf
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.worker.inputs import INPUT_CLASSES

BASE: dict[str, Any] = {"name": "any", "filename": "any.pt", "feature_dim": 1}
REQUIRED: dict[str, Any] = {"tensor": {"input_shape": ("2", "*")}}


def conf_of(kind):
    return INPUT_KINDS[kind](**BASE | REQUIRED.get(kind, {}), input=kind)


def test_each_kind_has_a_class_on_both_sides():
    assert INPUT_KINDS.keys() == INPUT_CLASSES.keys()


def test_each_conf_names_the_kind_that_it_stands_under():
    for kind, conf in INPUT_KINDS.items():
        assert get_type_hints(conf)["input"] == Literal[kind], kind


def test_only_the_kinds_whose_items_differ_in_cost_tell_it():
    costs = {kind: conf_of(kind).item_cost for kind in INPUT_KINDS}
    text = costs.pop("text")
    assert text is not None
    assert text(Payload("text", b"four")) == 4
    assert issubclass(INPUT_KINDS["text"], TextConf)
    assert [*costs.values()] == [None, None]
