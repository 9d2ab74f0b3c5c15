"""The states of items in models, through a real server with models that fail on certain items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from PIL import Image

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.calls import Stubs, refusal
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.programs import MOODY_DIMS, Moody, Picky, gray
from tests.support.servers import start_server

BLACK, WHITE = gray(0), gray(255)
FORMATS = ("parquet", "arrow", "jsonl")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "picky", module=Picky(), **MOODY_DIMS, max_wait_ms=0)
    save_model(folder, "moody", module=Moody(), **MOODY_DIMS, max_wait_ms=0, inference_timeout=5)
    save_model(folder, "tiny")
    return folder


@pytest.fixture(scope="module", params=["grpcio", "nghttp2"])
def address(request, tmp_path_factory, models):
    data = tmp_path_factory.mktemp("data")
    with start_server(data, models, server={"transport": request.param}) as server:
        yield server.address


@pytest.fixture
def db(address):
    with euclidesdb.Client(address, timeout=300) as opened:  # workers are started again
        yield opened
        opened.remove_many([item.id for item in opened.items()])


def states(db, item_id):
    item = db.get(item_id, include_states=True)
    return {each.model: each.state for each in item.states}


def failure(db, item_id, model):
    item = db.get(item_id, include_states=True)
    (found,) = [each.failure for each in item.states if each.model == model]
    return found


def fail(db, item_id, image, models):
    with pytest.raises(euclidesdb.EmbeddingFailed) as raised:
        db.add(item_id, image=image, models=models)
    return raised.value


def test_an_item_that_one_model_fails_on_is_stored_and_found_by_the_others(db):
    before = datetime.now(UTC)
    error = fail(db, "dark", BLACK, ["picky", "tiny"])
    assert str(error).startswith("item 'dark' is stored, but models have failed on it: 'picky' (")
    assert "too dark" in str(error)
    (found,) = error.failures
    assert (found.model, found.reason, error.id) == ("picky", "raised", "dark")
    assert before - timedelta(seconds=1) < found.time < datetime.now(UTC) + timedelta(seconds=1)
    assert states(db, "dark") == {"picky": "failed", "tiny": "done"}
    assert failure(db, "dark", "picky") == found
    assert db.get("dark").states is None
    assert [*db.find_similar(image=BLACK, model="tiny", top_k=5)["tiny"].ids] == ["dark"]
    assert db.find_similar(image=gray(3), model="picky", top_k=5)["picky"].ids == ()
    assert [embedding.model for embedding in db.get("dark").embeddings] == ["tiny"]


def test_each_way_to_fail_has_a_reason(db):
    assert [each.reason for each in fail(db, "a", BLACK, ["picky"]).failures] == ["raised"]
    assert [each.reason for each in fail(db, "b", WHITE, ["picky"]).failures] == ["invalid_output"]
    assert [each.reason for each in fail(db, "c", WHITE, ["moody"]).failures] == ["crashed"]
    assert [each.reason for each in fail(db, "d", BLACK, ["moody"]).failures] == ["timed_out"]
    assert {item.id for item in db.items(state="failed")} == {*"abcd"}


def test_failures_are_collected_by_bulk_adds_and_streams(db):
    images = {"good": gray(7), "dark": BLACK, "broken": b"not an image"}
    items = [
        euclidesdb.NewItem(item_id, image=image, models=["picky", "tiny"])
        for item_id, image in images.items()
    ]
    failed, refused = db.add_many(items)
    assert isinstance(failed, euclidesdb.Failed)
    assert isinstance(refused, euclidesdb.Refused)
    assert (failed.position, failed.id, failed.error.failures[0].model) == (1, "dark", "picky")
    assert (refused.position, refused.reason) == (2, "undecodable_input")
    assert not db.exists("broken")
    db.remove_many(images)
    good, dark, broken = db.add_stream(items)
    assert [len(good.embeddings), len(dark.embeddings)] == [2, 1]
    assert [each.model for each in dark.failures] == ["picky"]
    assert good.failures == ()
    assert isinstance(broken, euclidesdb.Refused)
    assert db.add("dark", image=BLACK, models=["picky"], raise_on_failure=False) == ()


def test_what_a_caller_can_mend_refuses_the_item_as_a_whole(db):
    with pytest.raises(euclidesdb.UndecodableInput):
        db.add("a", image=b"not an image", models=["picky", "tiny"])
    with pytest.raises(euclidesdb.UnknownModel):
        db.add("a", image=BLACK, models=["picky", "none"])
    with pytest.raises(euclidesdb.DeadlineExceeded):
        # not an image that is known to end the worker: such a one is refused at once
        db.add("a", image=encoded(Image.new("RGB", (9, 9))), models=["moody"], timeout=0.2)
    assert not db.exists("a")


def test_euclidesdb_s_own_protocol_refuses_such_an_item(db, address):
    with Stubs(address) as stubs:
        request = legacy.AddImageRequest(image_id=3, image_data=BLACK, models=["tiny", "picky"])
        refused = refusal(stubs.legacy.AddImage, request)
    assert (refused.status.name, refused.reason) == ("INTERNAL", "model_failed")
    assert not db.exists("3")


def test_a_failure_ends_with_its_cause(db):
    fail(db, "a", BLACK, ["picky"])
    first = failure(db, "a", "picky")
    fail(db, "a", BLACK, ["picky"])
    assert failure(db, "a", "picky") == first, "it has failed since then"
    db.update("a", attributes={"n": 1})
    assert failure(db, "a", "picky") == first
    fail(db, "a", WHITE, ["picky"])
    assert failure(db, "a", "picky").reason == "invalid_output"
    db.add("a", image=gray(9), models=["tiny"])  # another payload, and not by the model that failed
    assert states(db, "a") == {"tiny": "done"}
    fail(db, "a", BLACK, ["picky"])
    assert states(db, "a") == {"picky": "failed"}, "the vector of the old image is gone"
    db.add("a", vectors={"picky": [1, 2, 3, 4]})
    assert states(db, "a") == {"picky": "done"}
    fail(db, "a", BLACK, ["picky"])
    assert states(db, "a") == {"picky": "failed"}, "it takes the place of a ready-made vector"
    db.remove("a")
    db.add("a", image=gray(9), models=["tiny"])
    assert states(db, "a") == {"tiny": "done"}


def test_lists_counts_filters_and_summaries_know_states(db):
    for number in range(3):
        db.add(f"good {number}", image=gray(7 + number), models=["picky"])
    fail(db, "dark", BLACK, ["picky", "tiny"])
    fail(db, "white", WHITE, ["picky"])
    assert [item.id for item in db.items(state="failed")] == ["dark", "white"]
    assert [item.id for item in db.items(state="failed", model="picky")] == ["dark", "white"]
    assert [item.id for item in db.items(state="failed", model="tiny")] == []
    assert [item.id for item in db.items("tiny.state == 'done'", state="failed")] == ["dark"]
    assert db.count(state="done", model="picky") == 3
    assert db.count(state="missing", model="tiny") == 4
    assert db.count({"picky.state": {"$ne": "done"}}) == 2
    counts = db.summarize(count_by=["picky.state"]).counts["picky.state"]
    assert dict(counts.counts) == {"done": 3, "failed": 2}
    assert db.count({"$not": {"picky.state": {"$exists": True}}}) == 0
    assert db.remove_many(filter={"picky.state": "failed"}).removed == 2
    assert db.count(state="failed") == 0
    with pytest.raises(ValueError, match="state = 'odd' should be 'done', 'failed'"):
        db.count(state="odd")
    with pytest.raises(ValueError, match="state is None"):
        db.count(model="picky")
    with pytest.raises(euclidesdb.UnknownModel):
        db.count(state="failed", model="none")


def test_a_state_that_does_not_exist_is_refused(address):
    with Stubs(address) as stubs:
        request = pb.CountItemsRequest(only=pb.StateFilter(model="picky"))
        refused = refusal(stubs.v1.CountItems, request)
    assert refused.reason == "invalid_request"
    assert "only.state = 0 should be one of 1 (done), 2 (failed)" in refused.message


def test_the_pages_of_a_state_survive_writes(db):
    for number in range(9):
        fail(db, f"{number}", BLACK, ["picky"])
    first = db.page(state="failed", model="picky", page_size=4)
    db.remove("0")
    db.add("8", image=gray(3), models=["picky"])
    rest = db.page(state="failed", model="picky", page_size=9, page=first.next_page)
    ids = [item.id for item in (*first.items, *rest.items)]
    assert ids == [*map(str, range(8))]
    assert all(one < two for one, two in pairwise(ids))


@pytest.mark.parametrize("form", FORMATS)
def test_failures_are_exported_and_imported(db, tmp_path, form):
    db.add("good", image=gray(7), models=["picky", "tiny"])
    fail(db, "dark", BLACK, ["picky", "tiny"])
    fail(db, "alone", WHITE, ["picky"])
    expected = {item.id: item.states for item in db.items(include_states=True)}
    file = tmp_path / f"items.{form}"
    assert db.export_file(file, include_payloads=True) == 3
    db.remove_many([*expected])
    assert db.import_file(file).items == 3
    assert {item.id: item.states for item in db.items(include_states=True)} == expected
    assert db.get("alone", include_payload=True).image == WHITE


def test_states_are_right_after_a_restart(models, tmp_path):
    with start_server(tmp_path, models) as server, euclidesdb.Client(server.address) as db:
        fail(db, "dark", BLACK, ["picky", "tiny"])
        db.add("good", image=encoded(noise(1)), models=["picky"])
        known = failure(db, "dark", "picky")
    with start_server(tmp_path, models) as server, euclidesdb.Client(server.address) as db:
        assert [item.id for item in db.items(state="failed")] == ["dark"]
        assert failure(db, "dark", "picky") == known
        fail(db, "good", WHITE, ["picky"])
        assert [item.id for item in db.items(state="failed")] == ["dark", "good"]
