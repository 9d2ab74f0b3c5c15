"""What a search returns of its results: payload, vectors, predictions, attributes, groups."""

from __future__ import annotations

import json

import numpy as np
import pytest

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.requests import (
    AddRequest,
    Conditions,
    Examples,
    FindRequest,
    ModelVector,
)
from euclidesdb_server.database.results import NeighborDetails
from euclidesdb_server.database.search_options import (
    Diversity,
    GroupBy,
    SearchOptions,
)
from euclidesdb_server.database.top_labels import top_labels
from euclidesdb_server.errors import ModelUnavailable, ReplyTooLarge, UndecodableInput
from euclidesdb_server.values.filters import (
    Attribute,
    Comparison,
    ItemId,
    Operator,
    Prediction,
    PredictionValue,
)
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.predicted import probabilities
from tests.support.assembled import CALL, Database, no_models, sample_image


@pytest.fixture
def images(embedding_database):
    """Items "0" to "5": images; "given" has a ready-made vector of `gray`."""
    for seed in range(6):
        embedding_database.add_image(str(seed), seed, "color", "gray")
    embedding_database.add("given", gray=[0.5, 0.5, 0.5, 0.5])
    return embedding_database


def find(database, query, model, top_k=100, **conditions):
    options = SearchOptions(**conditions.pop("options", {}))
    return database.near(query, model, top_k, options=options, **conditions)


def test_payload_vectors_and_predictions_are_those_that_are_stored(images):
    wanted = {"include_payload": True, "include_vectors": True, "include_predictions": True}
    found = find(images, "0", "gray", options=wanted)
    assert {neighbor.id for neighbor in found} == {"1", "2", "3", "4", "5", "given"}
    for neighbor in found:
        item, details = images.get(neighbor.id), neighbor.details
        (stored,) = [each for each in item.embeddings if each.model == "gray"]
        assert details.payload == item.payload
        assert details.vector.tolist() == stored.vector.tolist()
        assert (details.predictions is None) == (neighbor.id == "given")
        if stored.predictions is not None:
            assert details.predictions.tolist() == stored.predictions.tolist()
        assert (details.labels, details.group) == ((), None)


def test_nothing_is_returned_that_was_not_requested(images):
    assert all(each.details is None for each in find(images, "0", "gray"))
    assert all(each.details is None for each in find(images, "0", "gray", options={"offset": 1}))
    for neighbor in find(images, "0", "gray", options={"top_labels": 1}):
        assert neighbor.details == NeighborDetails(labels=neighbor.details.labels)
        assert len(neighbor.details.labels) == (neighbor.id != "given")


def test_the_most_probable_classes_are_returned(images):
    names = images.models.resolve("color").labels
    assert len(names) == 3
    for neighbor in find(images, "0", "color", options={"top_labels": 2}):
        (stored,) = [each for each in images.get(neighbor.id).embeddings if each.model == "color"]
        (shares,) = probabilities(stored.predictions[np.newaxis])
        best = np.argsort(-shares, kind="stable")[:2]
        assert [each.label for each in neighbor.details.labels] == [names[n] for n in best]
        assert [each.probability for each in neighbor.details.labels] == pytest.approx(
            shares[best].tolist()
        )


def test_logits_go_through_a_softmax():
    def shares(*values):
        return [
            each.probability
            for each in sorted(
                top_labels(np.array(values, np.float32), (), 9), key=lambda each: each.label
            )
        ]

    assert shares(0.25, 0.75) == [0.25, 0.75]
    assert shares(0.25, 0.7505) == pytest.approx([0.25, 0.7505])
    for logits in ([1.0, 2.0], [-0.5, 1.5], [0.2, 0.2], [1000.0, 999.0], [-1e38, 1e38]):
        values = np.array(logits) - max(logits)
        assert shares(*logits) == pytest.approx((np.exp(values) / np.exp(values).sum()).tolist())
    best = top_labels(np.array([0.5, 0.25, 0.25], np.float32), ("cat", "dog", "owl"), 9)
    assert [(each.label, each.probability) for each in best] == [
        ("cat", 0.5),
        ("dog", 0.25),
        ("owl", 0.25),
    ]
    unnamed = top_labels(np.array([0.25, 0.75], np.float32), (), 1)
    assert [(each.label, each.probability) for each in unnamed] == [("1", 0.75)]
    assert top_labels(np.empty(0, np.float32), (), 3) == ()


@pytest.mark.parametrize("names", [(), ("red", "green", "blue")])
@pytest.mark.parametrize("model", ["color", "gray"])
def test_results_are_grouped_by_the_label_that_a_model_predicts(images, model, names):
    def label(item_id):
        for each in images.get(item_id).embeddings:
            if each.model == "color":
                number = int(np.argmax(each.predictions))
                return names[number] if names else number
        return None

    order = images.ids("0", model)
    first = {}
    for item_id in order:
        first.setdefault(label(item_id), item_id)
    number = images.spaces["color"].record.number
    field = Prediction(number, PredictionValue.LABEL, names)
    found = find(images, "0", model, options={"group_by": GroupBy(field)})
    assert [each.id for each in found] == [*first.values()]
    assert [each.details.group for each in found] == [*first]


def test_examples_may_be_raw_items(images):
    def found(*positive, negative=()):
        request = FindRequest(
            [Examples(positive, negative)], ("color", "gray"), Conditions(10, include_self=True)
        )
        answers = images.features.find_similar(request, CALL)
        return [(each.id, each.distance) for answer in answers for each in answer.neighbors]

    image = sample_image
    assert found(image(0)) == found("0")
    assert found(image(0), "1", image(2)) == found("0", "1", "2")
    assert found(image(0), "1", negative=(image(3), "4")) == found("0", "1", negative=("3", "4"))


def test_a_raw_example_that_cannot_be_decoded_fails_its_query_alone(images):
    broken = Examples((sample_image(0),), ("1", Payload("image", b"no image")))
    request = FindRequest([broken, Examples(("0", "1"))], ("color",), Conditions(2))
    (answer,) = images.features.find_similar(request, CALL)
    failed, found = answer.answers
    assert isinstance(failed, UndecodableInput)
    assert "examples.negative[1]: " in str(failed)
    assert len(found) == 2
    assert not {"0", "1"} & {*found.ids}


def test_examples_choose_the_models_that_fit_them(images):
    def models(*queries):
        answers = images.features.find_similar(FindRequest(queries, (), Conditions(1)), CALL)
        return [answer.model for answer in answers]

    assert models(Examples(("0", "1"))) == ["color", "gray"]
    assert models(Examples(("0", "given"))) == ["gray"]
    assert models(Examples((sample_image(9),))) == ["color", "gray"]
    assert models(Examples(("0",), (sample_image(9),)), sample_image(8)) == ["color", "gray"]
    assert models(Examples(("0", "given")), Examples(("0",))) == ["color", "gray"]
    with pytest.raises(ModelUnavailable, match="no model that takes texts is ready"):
        models(Examples((Payload("text", b"a"),)))


SHOE = {
    "brand": "acme",
    "size": {"width": 3, "height": 10**30, "unit": {"name": "cm"}},
    "a.b": {"c": 1.50},
    "price": 7,
}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["brand"], {"brand": "acme"}),
        (["size.width", "size.height"], {"size": {"width": 3, "height": 10**30}}),
        (["size.unit.name", "price"], {"price": 7, "size": {"unit": {"name": "cm"}}}),
        (["size", "size.width"], {"size": SHOE["size"]}),
        (["a.b.c"], {"a.b": {"c": 1.5}}),
        (["a.b"], {"a.b": {"c": 1.5}}),
        (["size.depth", "brand.x", "missing", "."], {}),
    ],
)
@pytest.mark.parametrize("more", [{}, {"odd": "\ud800"}])
def test_only_the_attributes_named_are_returned(database, names, expected, more):
    text = json.dumps({**more, **SHOE})
    database.add("a", one=[1, 2], texts={"attributes_json": text})
    (found,) = find(database, [1, 2], "one", options={"attribute_names": tuple(names)})
    assert json.loads(found.attributes_json) == expected


def test_groups_are_told_apart_by_type_and_value(database):
    values = [
        ("one", "1"), ("int", 1), ("float", 1.0), ("true", True), ("half", 0.5), ("null", None),
        ("list", [1]), ("object", {"x": 1}), ("long", "x" * 500), ("longer", "x" * 501),
        ("longest", "x" * 500), ("big", 10**30), ("nested", "y"),
    ]  # fmt: skip
    for row, (name, value) in enumerate(values):
        text = json.dumps({"v": {"w": value}})
        database.add(name, one=[row, 0], texts={"attributes_json": text})
    found = find(database, [0, 0], "one", options={"group_by": GroupBy(Attribute("v.w"))})
    assert [(each.id, each.details.group) for each in found] == [
        ("one", "1"),
        ("int", 1),
        ("true", True),
        ("half", 0.5),
        ("null", None),
        ("long", "x" * 500),
        ("longer", "x" * 501),
        ("big", 1e30),
        ("nested", "y"),
    ]
    ids = find(database, [0, 0], "one", options={"group_by": GroupBy(ItemId())})
    assert [each.details.group for each in ids] == [name for name, _ in values]


def test_a_group_is_searched_for_until_enough_are_found(database):
    count = 3000
    texts = [json.dumps({"kind": "far" if row == count - 1 else "near"}) for row in range(count)]
    rows = [[row, 0] for row in range(count)]
    database.add_vectors("one", [str(row) for row in range(count)], rows, attributes_json=texts)
    found = find(database, [-1, 0], "one", 2, options={"group_by": GroupBy(Attribute("kind"))})
    assert [each.id for each in found] == ["0", str(count - 1)]


def test_items_that_are_removed_meanwhile_are_left_out_and_replaced(tmp_path, monkeypatch):
    with Database(tmp_path, no_models(tmp_path / "m"), {"one": 2}) as database:
        for row in range(20):
            database.add(str(row), one=[row, 0])
        store, features = database.store, database.features
        taken = store.snapshot

        def remove_first():
            for row in (0, 3, 4):
                if store.item(str(row)) is not None:
                    features.remove(str(row))
            return taken()

        monkeypatch.setattr(store, "snapshot", remove_first)
        options = {"include_vectors": True, "offset": 1}
        found = find(database, [-1, 0], "one", 3, options=options)
        assert [each.id for each in found] == ["1", "2", "5"]
        assert [each.details.vector.tolist() for each in found] == [[1, 0], [2, 0], [5, 0]]


def test_details_count_in_the_size_of_the_reply(tmp_path):
    limits = ServerConfig(max_reply_bytes=4096)
    with Database(tmp_path, no_models(tmp_path / "m"), {"one": 512}, limits=limits) as database:
        database.add_vectors("one", ["a", "b", "c"], np.zeros((3, 512)))
        query = [0.0] * 512
        assert len(find(database, query, "one", options={"include_predictions": True})) == 3
        assert len(find(database, query, "one", 1, options={"include_vectors": True})) == 1
        with pytest.raises(ReplyTooLarge, match="max_reply_bytes permits 4,096"):
            find(database, query, "one", 2, options={"include_vectors": True})
        text = json.dumps({"name": "x" * 3000})
        for name in "abc":
            vectors = {"one": ModelVector(np.zeros(512, np.float32))}
            database.features.add(AddRequest(name, vectors=vectors, attributes_json=text), CALL)
        named = find(database, query, "one", options={"attribute_names": ("other",)})
        assert [each.attributes_json for each in named] == ["{}"] * 3
        with pytest.raises(ReplyTooLarge):
            find(database, query, "one", options={"attribute_names": ("name",)})
        group = GroupBy(Attribute("name"), 2)
        with pytest.raises(ReplyTooLarge):
            find(database, query, "one", options={"group_by": group})


def test_diversity_prefers_what_is_unlike_the_results_before(database):
    for name, place in {"a": [1, 0], "a2": [1.01, 0], "b": [0, 1.2], "c": [-1.5, 0]}.items():
        database.add(name, one=place)

    def ids(weight, **options):
        diversity = Diversity(weight, **options)
        return database.ids([0, 0], "one", 3, options=SearchOptions(diversity=diversity))

    assert ids(0.0) == ["a", "a2", "b"]
    assert ids(0.5) == ["a", "c", "b"]
    assert ids(1.0) == ["a", "c", "b"]
    assert ids(0.5, candidates=3) == ["a", "b", "a2"]


def test_options_hold_among_the_items_that_match_a_filter(database):
    for row in range(30):
        text = json.dumps({"even": row % 2 == 0, "group": row // 10})
        database.add(str(row), one=[row, 0], texts={"attributes_json": text})

    def ids(query, top_k=100, *, include_self=False, **options):
        even = Comparison(Attribute("even"), Operator.EQUAL, True)
        conditions = Conditions(
            top_k, include_self=include_self, filter=even, options=SearchOptions(**options)
        )
        (answer,) = database.features.find_similar(FindRequest([query], ("one",), conditions), CALL)
        return answer.neighbors.ids

    assert ids("3", 3, offset=1) == ["4", "0", "6"]
    assert ids("3", 2, include_self=True) == ["2", "4"]
    assert ids("4", 2, include_self=True) == ["4", "2"]
    assert ids("3", exact=True, group_by=GroupBy(Attribute("group"))) == ["2", "10", "20"]
    assert ids("3", 3, diversity=Diversity(1.0, 15)) == ["2", "28", "14"]
    assert ids(Examples(("3", "4", "5")), 2) == ["2", "6"]
    assert ids(Examples(("3", "4", "5")), 3, include_self=True) == ["4", "2", "6"]
