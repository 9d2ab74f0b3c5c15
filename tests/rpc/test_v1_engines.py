"""The v1 service through the real client, with every engine: all find what brute force finds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rpc.engine_servers import REMOVED, REPLACED, every_engine, every_setting, sample_image
from tests.support.waiting import generations

QUERY = np.random.default_rng(3).random(12, np.float32)
TOLERANCE = 1e-5


@every_setting
def test_a_search_by_vector_finds_the_nearest_items_in_order(loaded):
    found = loaded.client.find_similar(vector=QUERY, model="tiny", top_k=10)["tiny"]
    ids, distances = loaded.expected(QUERY)
    assert list(found.ids) == ids[:10]
    np.testing.assert_allclose(found.distances, distances[:10], rtol=TOLERANCE, atol=TOLERANCE)
    assert found.metric == loaded.setting.metric


@every_engine
def test_a_search_by_image_is_a_search_by_the_vector_the_model_makes_of_it(loaded):
    image = sample_image(5000)
    written = loaded.client.add("query", image=image, models=["tiny"], include_vectors=True)
    loaded.client.remove("query")
    by_image = loaded.client.find_similar(image=image, model="tiny", top_k=20)["tiny"]
    by_vector = loaded.client.find_similar(vector=written[0].vector, model="tiny", top_k=20)["tiny"]
    assert by_image.ids == by_vector.ids
    assert list(by_image.ids) == loaded.expected(written[0].vector)[0][:20]
    np.testing.assert_array_equal(by_image.distances, by_vector.distances)


@every_setting
def test_a_search_by_id_leaves_the_item_itself_out(loaded):
    found = loaded.client.find_similar(id="7", model="tiny", top_k=10)["tiny"]
    ids, _ = loaded.expected(loaded.vectors["7"])
    assert list(found.ids) == [item_id for item_id in ids if item_id != "7"][:10]


@every_engine
def test_a_search_by_id_with_include_self_begins_with_the_item_itself(loaded):
    found = loaded.client.find_similar(id="7", model="tiny", top_k=10, include_self=True)["tiny"]
    assert list(found.ids) == loaded.expected(loaded.vectors["7"])[0][:10]
    assert (found.ids[0], found.distances[0]) == ("7", 0)


@every_setting
def test_a_search_for_more_than_there_is_finds_every_item_once_and_invents_none(loaded):
    found = loaded.client.find_similar(vector=QUERY, model="tiny", top_k=1000)["tiny"]
    assert sorted(found.ids) == sorted(loaded.vectors)
    assert np.all(np.diff(found.distances) >= 0)


@every_engine
def test_removed_items_are_not_found_and_replaced_ones_have_their_new_vectors(loaded):
    for number in (*REMOVED, *REPLACED):
        # the segment on disk still has a row exactly there
        found = loaded.client.find_similar(image=sample_image(number), model="tiny", top_k=1000)[
            "tiny"
        ]
        assert str(number) not in found.ids[:1]
        assert (str(number) in found.ids) == (number in REPLACED)


@every_engine
def test_an_added_item_is_in_the_next_search_and_a_removed_one_is_not(loaded):
    corner = np.full(12, 0.999, np.float32)
    loaded.client.add("corner", vectors={"tiny": corner})
    assert "corner" in loaded.client.find_similar(vector=corner, model="tiny", top_k=3)["tiny"].ids
    loaded.client.remove("corner")
    found = loaded.client.find_similar(vector=corner, model="tiny", top_k=1000)["tiny"]
    assert "corner" not in found.ids


@every_setting
def test_the_list_of_models_tells_engine_metric_and_number_of_items(loaded):
    (info,) = loaded.client.models()
    assert (info.name, info.state, info.reason, info.input) == ("tiny", "ready", "", "image")
    assert (info.feature_dim, info.prediction_dim, info.labels) == (12, 3, ())
    assert (info.engine, info.metric) == (loaded.setting.engine, loaded.setting.metric)
    assert info.items == len(loaded.vectors)
    assert len(info.fingerprint) == 32


@every_engine
def test_a_restart_on_the_same_data_keeps_every_item_and_its_segment(loaded):
    before = loaded.client.find_similar(vector=QUERY, model="tiny", top_k=1000)["tiny"]
    items = [loaded.client.get(item_id, include_vectors=True) for item_id in ("0", "sku-3", "112")]
    segments = generations(loaded.data)
    loaded.restart()
    after = loaded.client.find_similar(vector=QUERY, model="tiny", top_k=1000)["tiny"]
    assert (after.ids, after.fingerprint) == (before.ids, before.fingerprint)
    np.testing.assert_array_equal(after.distances, before.distances)
    for item in items:
        vector = loaded.client.get(item.id, include_vectors=True).embeddings[0].vector
        np.testing.assert_array_equal(vector, item.embeddings[0].vector)
    assert generations(loaded.data) == segments, "the segment fits, and was not rebuilt"
    assert loaded.client.models()[0].items == len(loaded.vectors)


@pytest.mark.parametrize("number", [REMOVED[0], REMOVED[-1]])
@every_engine
def test_a_removed_item_stays_removed_after_the_next_segment(loaded, number):
    loaded.refresh()
    found = loaded.client.find_similar(image=sample_image(number), model="tiny", top_k=1000)["tiny"]
    assert str(number) not in found.ids
    assert list(found.ids) == loaded.expected(_vector_of(loaded, number))[0]


def _vector_of(loaded, number):
    image = sample_image(number)
    written = loaded.client.add("probe", image=image, models=["tiny"], include_vectors=True)
    loaded.client.remove("probe")
    return written[0].vector
