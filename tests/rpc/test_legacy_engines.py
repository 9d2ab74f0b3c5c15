"""EuclidesDB's service with every engine: its distances, as its documentation gives them."""

from __future__ import annotations

import numpy as np

from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from tests.rpc.engine_servers import every_engine, every_setting, sample_image

TOLERANCE = 2e-5


def expected(loaded, query, top_k):
    """Ids and distances of the nearest items with an int32 id, by brute force."""
    pairs = zip(*loaded.expected(query), strict=True)
    numbered = [(int(item_id), d) for item_id, d in pairs if item_id.isdecimal()][:top_k]
    return [item_id for item_id, _ in numbered], [
        loaded.setting.in_legacy(distance) for _, distance in numbered
    ]


@every_setting
def test_distances_are_those_that_euclidesdb_documents_for_the_engine(loaded):
    request = pb.FindSimilarImageRequest(
        top_k=15, image_data=sample_image(20), models=[loaded.model]
    )
    (found,) = loaded.stubs.legacy.FindSimilarImage(request).results
    ids, distances = expected(loaded, loaded.vectors["20"], 15)
    assert found.model == loaded.model
    assert list(found.top_k_ids) == ids
    np.testing.assert_allclose(found.distances, distances, rtol=TOLERANCE, atol=TOLERANCE)


@every_setting
def test_a_search_by_id_answers_with_the_item_itself_in_its_place(loaded):
    request = pb.FindSimilarImageByIdRequest(top_k=15, image_id=20, models=[loaded.model])
    (found,) = loaded.stubs.legacy.FindSimilarImageById(request).results
    ids, distances = expected(loaded, loaded.vectors["20"], 15)
    if loaded.setting.metric != "inner_product":  # there a longer vector may be nearer
        assert ids[0] == 20
        assert found.distances[0] == 0
    assert list(found.top_k_ids) == ids
    np.testing.assert_allclose(found.distances, distances, rtol=TOLERANCE, atol=TOLERANCE)


@every_engine
def test_items_that_only_v1_can_name_are_left_out_and_top_k_is_still_filled(loaded):
    nearest, _ = loaded.expected(loaded.vectors["0"])
    assert not any(item_id.isdecimal() for item_id in nearest[1:11]), "they would come first"
    request = pb.FindSimilarImageByIdRequest(top_k=10, image_id=0, models=[loaded.model])
    (found,) = loaded.stubs.legacy.FindSimilarImageById(request).results
    assert list(found.top_k_ids) == expected(loaded, loaded.vectors["0"], 10)[0]
    assert len(found.top_k_ids) == 10


@every_engine
def test_a_search_for_more_than_there_is_finds_every_image_once_and_invents_none(loaded):
    request = pb.FindSimilarImageByIdRequest(top_k=1000, image_id=0, models=[loaded.model])
    (found,) = loaded.stubs.legacy.FindSimilarImageById(request).results
    known = sorted(int(item_id) for item_id in loaded.vectors if item_id.isdecimal())
    assert sorted(found.top_k_ids) == known
    assert len(found.distances) == len(known)
