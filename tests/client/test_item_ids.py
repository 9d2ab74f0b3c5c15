"""Ids are strings, ints or UUIDs wherever one is given, and come back as strings."""

import uuid

import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb

UUID = uuid.uuid5(uuid.NAMESPACE_URL, "https://example.com")
IDS = {
    7: "7",
    -1: "-1",
    np.int64(5): "5",
    UUID: str(UUID),
    "sku-1": "sku-1",
    10**30: "1" + "0" * 30,
}


@pytest.mark.parametrize(("given", "sent"), IDS.items(), ids=lambda each: type(each).__name__)
def test_every_call_takes_it(db, server, given, sent):
    db.add(given, vectors={"m": [1]})
    db.add_many([euclidesdb.NewItem(given, vectors={"m": [1]})])
    assert next(iter(db.add_stream([euclidesdb.NewItem(given, vectors={"m": [1]})]))).id == sent
    db.add_vectors([given], [[1]], model="m")
    db.get(given)
    db.exists(given)
    db.update(given, merge={})
    db.remove(given)
    db.remove_many([given])
    db.find_similar(id=given)
    db.find_similar(examples=euclidesdb.Examples([euclidesdb.Example(id=given)]))
    ids = [
        server.requests["AddItem"][0].id,
        server.requests["AddItems"][0].items[0].id,
        server.requests["AddItemStream"][0].id,
        server.requests["AddVectors"][0].ids[0],
        server.requests["GetItem"][0].id,
        server.requests["GetItems"][0].ids[0],
        server.requests["UpdateItem"][0].id,
        server.requests["RemoveItem"][0].id,
        server.requests["RemoveItems"][0].ids[0],
        server.requests["FindSimilar"][0].query.id,
        server.requests["FindSimilar"][1].query.examples.positive[0].id,
    ]
    assert ids == [sent] * len(ids)


def test_ids_of_several_types_are_mixed_and_looked_up(db, server):
    items = [pb.Item(id=each) for each in ("7", str(UUID), "a")]
    server.script("GetItems", pb.GetItemsReply(items=items))
    found = db.get_many([7, UUID, "a"])
    assert [*found] == ["7", str(UUID), "a"]
    assert found[7] is found["7"]
    assert UUID in found
    assert 8 not in found


@pytest.mark.parametrize("wrong", [True, np.True_, 1.5, None, b"a", ("a",)], ids=repr)
def test_anything_else_is_refused_by_name(db, server, wrong):
    calls = (db.get, db.remove, db.exists, lambda each: db.add_vectors([each], [[1]], model="m"))
    for call in calls:
        with pytest.raises(TypeError, match=r"must be a str, an int or a uuid\.UUID, not "):
            call(wrong)
    (refused,) = db.add_many([euclidesdb.NewItem(wrong, vectors={"m": [1]})])
    assert type(refused.error) is TypeError
    assert refused.id == repr(wrong)
    assert not any(server.requests.values())


def test_a_single_id_is_not_several(db):
    for one in ("abc", UUID):
        with pytest.raises(TypeError, match="ids must be a sequence of ids"):
            db.get_many(one)


@pytest.mark.parametrize("url", ["s3://bucket/items.parquet", "https://example.com/a.jsonl"])
def test_a_url_is_refused_as_a_file_of_items(db, url):
    for call in (db.export_file, db.import_file):
        with pytest.raises(ValueError, match=f"path must be on this machine: '{url}' is a URL"):
            call(url)


@pytest.mark.parametrize("url", ["s3://bucket/a.png", "https://example.com/a.png", "gs://b/a.png"])
def test_a_url_is_refused_as_an_image(db, url):
    with pytest.raises(ValueError, match=f"'{url}' is a URL"):
        db.add("a", image=url, models=["m"])
