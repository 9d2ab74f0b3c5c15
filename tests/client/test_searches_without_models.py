"""A search that names no model is one call; the real server chooses the models."""

import numpy as np
import pytest

import euclidesdb
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

IMAGES = [encoded(noise(seed)) for seed in range(3)]
TENSOR = np.zeros((3, 4, 4), np.float32)
VECTOR = [1.0, 2.0, 3.0]


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    save_model(models, "tiny", worker="shared")
    save_model(models, "gray", worker="shared", image_mode="L", feature_dim=4)
    save_model(models, "liar", worker="shared", feature_dim=512)  # quarantined
    save_vector_space(models, "given")
    with (
        start_server(tmp_path_factory.mktemp("data"), models) as server,
        euclidesdb.Client(server.address) as db,
    ):
        db.add("both", image=IMAGES[0], models=["tiny", "gray"])
        db.add("tiny only", image=IMAGES[1], models=["tiny"])
        db.add("given only", vectors={"given": VECTOR})
        yield db


def test_an_image_is_searched_with_every_ready_model_of_images(db):
    found = db.find_similar(image=IMAGES[0], top_k=1)
    assert {model: neighbors.ids for model, neighbors in found.items()} == {
        "gray": ("both",),
        "tiny": ("both",),
    }


def test_many_images_are_searched_with_every_ready_model_of_images(db):
    answers = db.find_similar_many(images=IMAGES, top_k=1)
    assert [(set(answer), answer.error) for answer in answers] == [({"gray", "tiny"}, None)] * 3
    assert [answer["tiny"].ids for answer in answers[:2]] == [("both",), ("tiny only",)]


@pytest.mark.parametrize(("kind", "value"), [("text", "a text"), ("tensor", TENSOR)])
def test_a_raw_item_that_no_ready_model_takes_is_refused(db, kind, value):
    with pytest.raises(euclidesdb.ModelUnavailable, match=f"no model that takes {kind}s is ready"):
        db.find_similar(**{kind: value})
    with pytest.raises(euclidesdb.ModelUnavailable, match=f"no model that takes {kind}s is ready"):
        db.find_similar_many(**{f"{kind}s": [value]})


@pytest.mark.parametrize(
    ("item_id", "models"),
    [("both", {"gray", "tiny"}), ("tiny only", {"tiny"}), ("given only", {"given"})],
)
def test_a_stored_item_is_searched_with_the_models_that_have_a_vector_of_it(db, item_id, models):
    assert set(db.find_similar(id=item_id, include_self=True)) == models


def test_an_unknown_item_is_refused(db):
    with pytest.raises(euclidesdb.UnknownItem, match="'nowhere'"):
        db.find_similar(id="nowhere")


def test_many_stored_items_are_each_searched_with_the_models_that_have_a_vector_of_them(db):
    ids = ["both", "tiny only", "given only"]
    answers = db.find_similar_many(ids=ids, include_self=True, top_k=1)
    assert [set(answer) for answer in answers] == [{"gray", "tiny"}, {"tiny"}, {"given"}]
    assert [answer.error for answer in answers] == [None] * 3
    assert [
        neighbors.ids for answer in answers for neighbors in answer.values()
    ] == [("both",), ("both",), ("tiny only",), ("given only",)]  # fmt: skip


def test_an_unknown_item_among_many_is_refused_alone(db):
    known, unknown = db.find_similar_many(ids=["tiny only", "nowhere"])
    assert known.error is None
    assert type(unknown.error) is euclidesdb.UnknownItem
