"""Both services with every engine: all find what brute force finds.

v1 through the real client, EuclidesDB's with the distances that its documentation gives.
"""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from tests.rpc.engine_servers import (
    ENGINES,
    REMOVED,
    REPLACED,
    every_engine,
    every_setting,
    sample_image,
)
from tests.support.waiting import generations

QUERY = np.random.default_rng(3).random(12, np.float32)
TOLERANCE = 1e-5
LEGACY_TOLERANCE = 2e-5


def info_of(client, model):
    return {info.name: info for info in client.models()}[model]


@every_setting
def test_a_search_by_vector_finds_the_nearest_items_in_order(loaded):
    found = loaded.client.find_similar(vector=QUERY, model=loaded.model, top_k=10)[loaded.model]
    ids, distances = loaded.expected(QUERY)
    assert list(found.ids) == ids[:10]
    np.testing.assert_allclose(found.distances, distances[:10], rtol=TOLERANCE, atol=TOLERANCE)
    assert found.metric == loaded.setting.metric


@every_engine
def test_a_search_by_image_is_a_search_by_the_vector_the_model_makes_of_it(loaded):
    image = sample_image(5000)
    written = loaded.client.add("query", image=image, models=[loaded.model], include_vectors=True)
    loaded.client.remove("query")
    by_image = loaded.client.find_similar(image=image, model=loaded.model, top_k=20)[loaded.model]
    by_vector = loaded.client.find_similar(vector=written[0].vector, model=loaded.model, top_k=20)[
        loaded.model
    ]
    assert by_image.ids == by_vector.ids
    assert list(by_image.ids) == loaded.expected(written[0].vector)[0][:20]
    np.testing.assert_array_equal(by_image.distances, by_vector.distances)


@every_setting
def test_a_search_by_id_leaves_the_item_itself_out(loaded):
    found = loaded.client.find_similar(id="7", model=loaded.model, top_k=10)[loaded.model]
    ids, _ = loaded.expected(loaded.vectors["7"])
    assert list(found.ids) == [item_id for item_id in ids if item_id != "7"][:10]


@every_engine
def test_a_search_by_id_with_include_self_begins_with_the_item_itself(loaded):
    found = loaded.client.find_similar(id="7", model=loaded.model, top_k=10, include_self=True)[
        loaded.model
    ]
    assert list(found.ids) == loaded.expected(loaded.vectors["7"])[0][:10]
    assert (found.ids[0], found.distances[0]) == ("7", 0)


@every_setting
def test_a_search_for_more_than_there_is_finds_every_item_once_and_invents_none(loaded):
    found = loaded.client.find_similar(vector=QUERY, model=loaded.model, top_k=1000)[loaded.model]
    assert sorted(found.ids) == sorted(loaded.vectors)
    assert np.all(np.diff(found.distances) >= 0)


@every_engine
def test_removed_items_are_not_found_and_replaced_ones_have_their_new_vectors(loaded):
    for number in (*REMOVED, *REPLACED):
        # the segment on disk still has a row exactly there
        image = sample_image(number)
        found = loaded.client.find_similar(image=image, model=loaded.model, top_k=1000)
        ids = found[loaded.model].ids
        assert str(number) not in ids[:1]
        assert (str(number) in ids) == (number in REPLACED)


@every_engine
def test_an_added_item_is_in_the_next_search_and_a_removed_one_is_not(loaded):
    corner = np.full(12, 0.999, np.float32)
    loaded.client.add("corner", vectors={loaded.model: corner})
    assert (
        "corner"
        in loaded.client.find_similar(vector=corner, model=loaded.model, top_k=3)[loaded.model].ids
    )
    loaded.client.remove("corner")
    found = loaded.client.find_similar(vector=corner, model=loaded.model, top_k=1000)[loaded.model]
    assert "corner" not in found.ids


@every_setting
def test_the_list_of_models_tells_engine_metric_and_number_of_items(loaded):
    info = info_of(loaded.client, loaded.model)
    assert (info.state, info.reason, info.input) == ("ready", "", "image")
    assert (info.feature_dim, info.prediction_dim, info.labels) == (12, 3, ())
    assert (info.engine, info.metric) == (loaded.setting.engine, loaded.setting.metric)
    assert info.items == len(loaded.vectors)
    assert len(info.fingerprint) == 32


def test_a_restart_on_the_same_data_keeps_every_item_and_its_segment(engine_server, subtests):
    def searched(model):
        return engine_server.client.find_similar(vector=QUERY, model=model, top_k=1000)[model]

    def stored():
        items = [
            engine_server.client.get(item_id, include_vectors=True)
            for item_id in ("0", "sku-3", "112")
        ]
        return {(item.id, made.model): made.vector for item in items for made in item.embeddings}

    before = {setting.name: searched(setting.name) for setting in ENGINES}
    vectors = stored()
    segments = generations(engine_server.data)
    engine_server.restart()
    assert stored().keys() == vectors.keys()
    for (item_id, model), vector in stored().items():
        np.testing.assert_array_equal(vector, vectors[item_id, model])
    assert generations(engine_server.data) == segments, "the segments fit, and were not rebuilt"
    for model, found in before.items():
        with subtests.test(model):
            after = searched(model)
            assert (after.ids, after.fingerprint) == (found.ids, found.fingerprint)
            np.testing.assert_array_equal(after.distances, found.distances)
            items = info_of(engine_server.client, model).items
            assert items == len(engine_server.vectors[model])


@pytest.mark.parametrize("number", [REMOVED[0], REMOVED[-1]])
@every_engine
def test_a_removed_item_stays_removed_after_the_next_segment(loaded, number):
    loaded.server.refresh()
    found = loaded.client.find_similar(image=sample_image(number), model=loaded.model, top_k=1000)[
        loaded.model
    ]
    assert str(number) not in found.ids
    assert list(found.ids) == loaded.expected(_vector_of(loaded, number))[0]


def _vector_of(loaded, number):
    image = sample_image(number)
    written = loaded.client.add("probe", image=image, models=[loaded.model], include_vectors=True)
    loaded.client.remove("probe")
    return written[0].vector


def expected_in_legacy(loaded, query, top_k):
    """Ids and distances of the nearest items with an int32 id, by brute force."""
    pairs = zip(*loaded.expected(query), strict=True)
    numbered = [(int(item_id), d) for item_id, d in pairs if item_id.isdecimal()][:top_k]
    return [item_id for item_id, _ in numbered], [
        loaded.setting.in_legacy(distance) for _, distance in numbered
    ]


@every_setting
def test_legacy_distances_are_those_that_euclidesdb_documents_for_the_engine(loaded):
    request = pb.FindSimilarImageRequest(
        top_k=15, image_data=sample_image(20), models=[loaded.model]
    )
    (found,) = loaded.stubs.legacy.FindSimilarImage(request).results
    ids, distances = expected_in_legacy(loaded, loaded.vectors["20"], 15)
    assert found.model == loaded.model
    assert list(found.top_k_ids) == ids
    np.testing.assert_allclose(
        found.distances, distances, rtol=LEGACY_TOLERANCE, atol=LEGACY_TOLERANCE
    )


@every_setting
def test_a_legacy_search_by_id_answers_with_the_item_itself_in_its_place(loaded):
    request = pb.FindSimilarImageByIdRequest(top_k=15, image_id=20, models=[loaded.model])
    (found,) = loaded.stubs.legacy.FindSimilarImageById(request).results
    ids, distances = expected_in_legacy(loaded, loaded.vectors["20"], 15)
    if loaded.setting.metric != "inner_product":  # there a longer vector may be nearer
        assert ids[0] == 20
        assert found.distances[0] == 0
    assert list(found.top_k_ids) == ids
    np.testing.assert_allclose(
        found.distances, distances, rtol=LEGACY_TOLERANCE, atol=LEGACY_TOLERANCE
    )


@every_engine
def test_legacy_leaves_out_items_that_only_v1_can_name_and_still_fills_top_k(loaded):
    nearest, _ = loaded.expected(loaded.vectors["0"])
    assert not any(item_id.isdecimal() for item_id in nearest[1:11]), "they would come first"
    request = pb.FindSimilarImageByIdRequest(top_k=10, image_id=0, models=[loaded.model])
    (found,) = loaded.stubs.legacy.FindSimilarImageById(request).results
    assert list(found.top_k_ids) == expected_in_legacy(loaded, loaded.vectors["0"], 10)[0]
    assert len(found.top_k_ids) == 10


@every_engine
def test_a_legacy_search_for_more_than_there_is_finds_every_image_once_and_invents_none(loaded):
    request = pb.FindSimilarImageByIdRequest(top_k=1000, image_id=0, models=[loaded.model])
    (found,) = loaded.stubs.legacy.FindSimilarImageById(request).results
    known = sorted(int(item_id) for item_id in loaded.vectors if item_id.isdecimal())
    assert sorted(found.top_k_ids) == known
    assert len(found.distances) == len(known)
