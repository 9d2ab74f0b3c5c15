"""What would lose a part on its way is refused in the client, which names it."""

from typing import Any

import numpy as np
import pytest

import euclidesdb
from euclidesdb import NewItem
from tests.support.cases import each_as_subtest

MASKED = np.ma.masked_equal(np.array([[1.0, -999.0], [3.0, 4.0]]), -999.0)

KEYS = {
    "1": ({1: "a", "1": "b"}, "not 1, of type int"),
    "float": ({1.5: "a"}, "not 1.5, of type float"),
    "true": ({True: "a"}, "not True, of type bool"),
    "none": ({None: "a"}, "not None, of type NoneType"),
    "nested": ({"sizes": {40: 3}}, "not 40, of type int"),
    "in a list": ({"parts": [{"a": [({2: 3},)]}]}, "not 2, of type int"),
    "bytes": ({b"a": 1}, "under b'a': keys must be str"),
}


@each_as_subtest("name", KEYS)
def test_a_key_of_attributes_that_is_not_a_string_is_refused_and_named(db, server, name):
    attributes, text = KEYS[name]
    calls = (
        lambda: db.add("a", attributes=attributes, vectors={"m": [1.0]}),
        lambda: db.add_vectors(["a"], [[1.0]], model="m", attributes=[attributes]),
    )
    for call in calls:
        with pytest.raises(TypeError, match=text) as caught:
            call()
        assert "attributes" in str(caught.value)
    assert not any(server.requests.values())


@pytest.mark.usefixtures("server")
def test_a_refused_key_costs_its_own_item_of_a_bulk_add(db):
    keys: dict[str, Any] = {"good": "a", "bad": 7}
    items = [
        euclidesdb.NewItem(name, vectors={"m": [1.0]}, attributes={key: 1})
        for name, key in keys.items()
    ]
    (refused,) = db.add_many(items)
    assert refused.id == "bad"
    assert "not 7, of type int" in str(refused.error)


def test_keys_of_a_subclass_of_str_stay(db, server):
    db.add("a", attributes={np.str_("brand"): {"deep": [1]}}, vectors={"m": [1.0]})
    assert server.requests["AddItem"][0].attributes_json == '{"brand": {"deep": [1]}}'


def test_attributes_that_contain_themselves_are_refused(db):
    attributes: dict[str, object] = {}
    attributes["self"] = attributes
    with pytest.raises(ValueError, match="Circular reference"):
        db.add("a", attributes=attributes, vectors={"m": [1.0]})


def test_attributes_that_are_nested_too_deeply_are_refused_and_named(db, server):
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    attributes = {"brand": "acme", "tree": nested}
    message = r"^attributes of 'a' must not be nested as deeply as \[+\.\.\.\]+ under 'tree'$"
    with pytest.raises(ValueError, match=message):
        db.add("a", attributes=attributes, vectors={"m": [1.0]})
    (refused,) = db.add_many([NewItem("a", attributes=attributes, vectors={"m": [1.0]})])
    assert "under 'tree'" in str(refused.error)
    with pytest.raises(ValueError, match=r"^attributes\[0\] must not be nested"):
        db.add_vectors(["a"], [[1.0]], model="m", attributes=[attributes])
    assert not any(server.requests.values())


@each_as_subtest(
    ("call", "name"),
    [
        (lambda db: db.add("a", vectors={"m": MASKED[0]}), "the vector of model 'm'"),
        (lambda db: db.add("a", tensor=MASKED, models=["m"]), "tensor"),
        (lambda db: db.add_vectors(["a", "b"], MASKED, model="m"), "vectors"),
        (lambda db: db.add_vectors(["a", "b"], list(MASKED), model="m"), "vectors"),
        (lambda db: db.find_similar(vector=MASKED[0], model="m"), "vector"),
        (lambda db: db.find_similar_many(vectors=MASKED, model="m"), "vectors"),
    ],
    ids=["vector", "tensor", "vectors", "rows", "query", "queries"],
)
def test_a_masked_array_is_refused_and_named(db, server, call, name):
    with pytest.raises(ValueError, match=f"^{name} is a masked array: the mask would be lost"):
        call(db)
    assert not any(server.requests.values())


def test_an_array_whose_mask_hides_nothing_is_sent(db, server):
    db.add("a", vectors={"m": np.ma.masked_array([1.0, 2.0])})
    assert len(server.requests["AddItem"]) == 1
