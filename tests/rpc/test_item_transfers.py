"""Exports and imports of items, by the client, over both transports."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.calls import Stubs, refusal
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server

DIM = 12
FORMATS = ("parquet", "arrow", "jsonl")
ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"price": 1.5, "count": 3, "on": True, "nothing": None, "tags": ["a", "ü"], "size": {"w": 1}},
    {"text": 'ünïcödé \n\t\u2028 "quotes" 🎈', "big": 2**70, "small": 1e-300, "empty": ""},
    {"nested": {"deep": [{"list": [[], {}]}]}, "": "empty key"},
]
IDS = ["plain", "ünïcödé 🎈", "with\nnewline", "a" * 512, " ", "0", "null\0inside"]


def save_models(folder: Path) -> None:
    save_model(folder, "tiny", worker="shared")
    save_model(folder, "gray", worker="shared", image_mode="L", feature_dim=4, prediction_dim=3)
    save_model(folder, "tensors", worker="shared", input="tensor", input_shape="3, 2, 2")
    made = folder / "made"
    made.mkdir()
    (made / "model.conf").write_text("[model]\nname = made\ninput = vector\nfeature_dim = 5\n")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_models(folder)
    return folder


@pytest.fixture(scope="module", params=["grpcio", "nghttp2"])
def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models: Path
) -> Iterator[str]:
    data = tmp_path_factory.mktemp("transfers") / "data"
    with start_server(data, models, server={"transport": request.param}) as server:
        with euclidesdb.Client(server.address) as db:
            fill(db)
        yield server.address


def fill(db: euclidesdb.Client) -> None:
    numbers = np.random.default_rng(0)
    for position, item_id in enumerate(IDS):
        db.add(
            item_id,
            vectors={"made": numbers.normal(size=5)},
            attributes=ATTRIBUTES[position % len(ATTRIBUTES)],
            metadata=bytes(range(position)),
        )
    for seed in range(5):
        db.add(f"image-{seed}", image=encoded(noise(seed)), models=["tiny", "gray"][: 1 + seed % 2])
    db.add(
        "both", image=encoded(noise(7)), models=["tiny"], vectors={"made": numbers.normal(size=5)}
    )
    tensor = numbers.normal(size=(3, 2, 2)).astype(np.float32)
    db.add("tensor", tensor=tensor, models=["tensors"], attributes={"kind": "tensor"})
    db.update("image-3", merge={"later": 1})
    many = [f"many-{number}" for number in range(3000)]
    assert not db.add_vectors(many, numbers.normal(size=(3000, 5)), model="made")


@pytest.fixture
def db(address: str) -> Iterator[euclidesdb.Client]:
    with euclidesdb.Client(address) as opened:
        yield opened


@pytest.fixture
def stubs(address: str) -> Iterator[Stubs]:
    with Stubs(address) as opened:
        yield opened


@pytest.fixture(scope="module")
def second_address(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[str]:
    with start_server(tmp_path_factory.mktemp("second") / "data", models) as server:
        yield server.address


@pytest.fixture
def second(second_address: str) -> Iterator[euclidesdb.Client]:
    """A client of another server, without items."""
    with euclidesdb.Client(second_address) as opened:
        yield opened
        opened.remove_many([item.id for item in opened.items()])


def stored(db: euclidesdb.Client) -> dict[str, bytes]:
    """Each item as GetItems returns it, byte for byte, in the order in which it was added."""
    ids = [item.id for item in db.items()]
    request = pb.GetItemsRequest(
        ids=ids, include_vectors=True, include_predictions=True, include_payload=True
    )
    found = {}
    with Stubs(db.target) as stubs:
        items = stubs.v1.GetItems(request).items
    for item in items:
        embeddings = sorted(item.embeddings, key=lambda each: each.model)
        del item.embeddings[:]
        item.embeddings.extend(embeddings)
        found[item.id] = item.SerializeToString(deterministic=True)
    return found


def test_an_export_has_everything_in_the_order_of_adding(db):
    table = db.export(include_payloads=True).to_arrow()
    assert table["id"].to_pylist() == [item.id for item in db.items()]
    assert len({*table["id"].to_pylist()}) == table.num_rows > 3000
    rows = {row["id"]: row for row in table.to_pylist()}
    item = db.get("both", include_vectors=True, include_predictions=True, include_payload=True)
    found = {embedding.model: embedding for embedding in item.embeddings}
    row = rows["both"]
    assert row["vector:tiny"] == found["tiny"].vector.tolist()
    assert row["predictions:tiny"] == found["tiny"].predictions.tolist()
    assert row["vector:made"] == found["made"].vector.tolist()
    assert row["predictions:made"] is None
    assert (row["ready_made:tiny"], row["ready_made:made"]) == (False, True)
    assert (row["payload_kind"], row["payload"]) == ("image", item.image)
    assert row["vector:gray"] is None
    assert len(row["payload_digest"]) == 32
    assert rows["plain"]["payload"] is None
    assert rows["with\nnewline"]["metadata"] == b"\0\1"
    field = table.schema.field("vector:tiny")
    assert field.type == pa.list_(pa.float32(), DIM)
    assert field.metadata[b"fingerprint"].decode() == found["tiny"].fingerprint


def test_an_export_has_only_what_is_wanted(db):
    table = db.export({"later": 1}, include_vectors=False, include_predictions=False).to_arrow()
    assert table["id"].to_pylist() == ["image-3"]
    assert json.loads(table["attributes_json"][0].as_py()) == {"later": 1}
    assert table.column_names == ["id", "attributes_json", "metadata", "payload_digest"]
    names = db.export(models=["gray"], include_predictions=False).to_arrow().column_names
    of_model = [name for name in names if ":" in name]
    assert of_model == ["vector:gray", "ready_made:gray", "failure:gray"]
    assert db.export({"later": 2}).to_arrow().num_rows == 0
    with pytest.raises(euclidesdb.UnknownModel, match="nobody"):
        db.export(models=["nobody"]).to_arrow()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_brings_everything_to_another_server(db, second, tmp_path, suffix):
    file = tmp_path / f"items.{suffix}"
    before = stored(db)
    assert db.export_file(file, include_payloads=True) == len(before)
    assert [*tmp_path.glob(".*")] == []
    result = second.import_file(file)
    assert result == euclidesdb.Imported(len(before), (), euclidesdb.Changes(added=len(before)))
    after = stored(second)
    assert [*after] == [*before]
    assert after == before
    for query in ("both", "image-1", "many-17"):
        for model, neighbors in db.find_similar(id=query, top_k=20).items():
            same = second.find_similar(id=query, model=model, top_k=20)[model]
            assert (same.ids, same.distances.tolist()) == (
                neighbors.ids,
                neighbors.distances.tolist(),
            )
    assert second.count("tiny.confidence > 0") == db.count("tiny.confidence > 0") == 6
    # the same payload again runs no model
    second.add("both", image=encoded(noise(7)), models=["tiny"])
    assert {model.name: model.items_run for model in second.models()}["tiny"] == 0
    assert second.import_file(file).items == len(before)
    assert stored(second) == before


def test_an_npz_file_holds_ids_attributes_vectors_and_predictions(db, second, tmp_path):
    file = tmp_path / "items.npz"
    count = db.export_file(file, {"$id": {"$ne": "null\0inside"}})
    with np.load(file) as arrays:
        ids = arrays["ids"].tolist()
        assert len(ids) == count
        assert arrays["vector:made"].shape == (count, 5)
        assert arrays["predictions:tiny"].shape == (count, 3)
        assert np.isnan(arrays["vector:tiny"][ids.index("plain")]).all()
    assert second.import_file(file).items == count
    before = db.export({"$id": {"$ne": "null\0inside"}}).to_arrow()
    after = second.export().to_arrow()
    left_out = ["metadata", "payload_digest"]
    assert after.drop_columns(left_out).equals(before.drop_columns(left_out))
    with pytest.raises(ValueError, match="cannot hold payloads"):
        db.export_file(file, include_payloads=True)
    assert file.exists()


def test_an_npz_file_says_what_it_changes(db, second, tmp_path):
    """Although it does not hold what the vectors were made from."""
    file = tmp_path / "items.npz"
    condition = {"$id": {"$ne": "null\0inside"}}
    count = db.export_file(file, condition)
    before = stored(db)
    assert db.import_file(file).changes == euclidesdb.Changes(unchanged=count)
    assert stored(db) == before
    assert second.import_file(file).changes == euclidesdb.Changes(added=count)
    assert second.import_file(file).changes == euclidesdb.Changes(unchanged=count)
    with np.load(file) as arrays:
        found = {**arrays}
    changed = [found["ids"].tolist().index(each) for each in ("image-1", "many-17")]
    found["vector:tiny"][changed[0]] += 1
    found["vector:made"][changed[1]] += 1
    np.savez(file, **found)
    assert second.import_file(file).changes == euclidesdb.Changes(replaced=2, unchanged=count - 2)
    # it is not known what the other vector of "image-1" was made from
    db.export_file(tmp_path / "image.parquet", {"$id": "image-1"}, include_payloads=True)
    second.import_file(tmp_path / "image.parquet")
    assert second.get("image-1", include_payload=True).image is not None
    assert second.import_file(file).changes == euclidesdb.Changes(replaced=1, unchanged=count - 1)
    assert second.get("image-1", include_payload=True).image is None


def test_digests_are_kept_without_payloads(db, second, tmp_path):
    file = tmp_path / "items.parquet"
    db.export_file(file)
    second.import_file(file)
    assert second.get("both", include_payload=True).image is None
    second.add("both", image=encoded(noise(7)), models=["tiny"])
    assert {model.name: model.items_run for model in second.models()}["tiny"] == 0
    assert second.get("both", include_payload=True).image is not None


def test_an_empty_database_is_exported_and_imported(second, tmp_path):
    for suffix in (*FORMATS, "npz"):
        file = tmp_path / f"items.{suffix}"
        assert second.export_file(file) == 0
        assert second.import_file(file) == euclidesdb.Imported(0)
    assert second.export().to_arrow().num_rows == 0


def test_files_of_others_are_imported(second, tmp_path):
    numbers = np.random.default_rng(1).normal(size=(40, 5))
    ids = [f"own-{number}" for number in range(40)]
    np.savez(tmp_path / "own.npz", ids=np.array(ids), embedding=numbers)
    assert second.import_file(tmp_path / "own.npz", vectors={"embedding": "made"}).items == 40
    table = pa.table(
        {"id": ids, "embedding": pa.array([*numbers]), "price": pa.array(np.arange(40))}
    )
    pa.parquet.write_table(table, tmp_path / "own.parquet")
    assert second.import_file(tmp_path / "own.parquet", vectors={"embedding": "made"}).items == 40
    lines = [json.dumps({"id": ids[0], "attributes": {"a": 1}, "v": [1, 2, 3, 4, 5]}), "oops", "7"]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    result = second.import_file(tmp_path / "own.jsonl", vectors={"v": "made"})
    assert result.items == 1
    assert [refused.position for refused in result.refused] == [1, 2]
    assert second.count() == 40
    item = second.get(ids[0], include_vectors=True)
    assert item.attributes == {"a": 1}
    assert item.embeddings[0].vector.tolist() == [1, 2, 3, 4, 5]


def test_files_that_do_not_fit_are_refused_as_a_whole(db, second, tmp_path):
    file = tmp_path / "items.parquet"
    db.export_file(file, {"$id": "both"})
    table = pa.parquet.read_table(file)
    for name, error in (
        ("model", euclidesdb.UnknownModel),
        ("fingerprint", euclidesdb.VersionMismatch),
    ):
        field = table.schema.field("vector:tiny")
        other = field.with_metadata({**field.metadata, name.encode(): b"other"})
        schema = table.schema.set(table.schema.get_field_index("vector:tiny"), other)
        pa.parquet.write_table(table.cast(schema), file)
        with pytest.raises(error, match="other"):
            second.import_file(file)
    assert second.import_file(file, models=["made"]).items == 1
    pa.parquet.write_table(pa.table({"x": [1]}), file)
    with pytest.raises(ValueError, match="'id'"):
        second.import_file(file)
    with pytest.raises(ValueError, match=r"one of \.arrow"):
        second.import_file(tmp_path / "items.csv")
    with pytest.raises(FileNotFoundError):
        second.import_file(tmp_path / "nothing.npz")


def test_bad_items_are_refused_alone(second, tmp_path):
    count = 2000
    numbers = np.random.default_rng(1).normal(size=(count, 5))
    bad = range(50, count, 100)
    numbers[[*bad], 2] = np.inf
    np.savez(tmp_path / "own.npz", ids=np.arange(count), v=numbers)
    reports: list[tuple[int, int]] = []
    result = second.import_file(
        tmp_path / "own.npz",
        vectors={"v": "made"},
        progress=lambda done, refused: reports.append((done, refused)),
    )
    assert result.items == count - len(bad)
    assert [refused.position for refused in result.refused] == [*bad]
    assert [refused.id for refused in result.refused] == [str(row) for row in bad]
    assert {refused.reason for refused in result.refused} == {"invalid_request"}
    assert second.count() == count - len(bad)
    assert reports[-1] == (count, len(bad))


def vector(count: int, value: float = 1.0) -> pb.Array:
    data = np.full(count, value, np.float32).tobytes()
    return pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=[count], data=data)


def embedding(**fields: Any) -> pb.Embedding:
    return pb.Embedding(**{"model": "tiny", "vector": vector(DIM), **fields})


REFUSED = {
    "id": pb.ImportedItem(embeddings=[embedding()]),
    "attributes": pb.ImportedItem(id="x", attributes_json="[]"),
    "metadata": pb.ImportedItem(id="x", metadata=bytes(2 << 20)),
    "position": pb.ImportedItem(id="x", ready_made=[0]),
    "negative": pb.ImportedItem(id="x", embeddings=[embedding()], ready_made=[-1]),
    "digest": pb.ImportedItem(id="x", payload_digest=b"short"),
    "other digest": pb.ImportedItem(id="x", payload=pb.Payload(text="t"), payload_digest=bytes(32)),
    "empty payload": pb.ImportedItem(id="x", payload=pb.Payload()),
    "model": pb.ImportedItem(id="x", embeddings=[embedding(model="nobody")]),
    "version": pb.ImportedItem(id="x", embeddings=[embedding(fingerprint="other")]),
    "dimension": pb.ImportedItem(id="x", embeddings=[embedding(vector=vector(3))]),
    "no vector": pb.ImportedItem(id="x", embeddings=[pb.Embedding(model="tiny")]),
    "nan": pb.ImportedItem(id="x", embeddings=[embedding(vector=vector(DIM, np.nan))]),
    "predictions": pb.ImportedItem(id="x", embeddings=[embedding(predictions=vector(4))]),
    "infinite": pb.ImportedItem(id="x", embeddings=[embedding(predictions=vector(3, np.inf))]),
    "no predictions": pb.ImportedItem(id="x", embeddings=[embedding(predictions=vector(0))]),
    "none of made": pb.ImportedItem(
        id="x", embeddings=[embedding(model="made", vector=vector(5), predictions=vector(3))]
    ),
    "twice": pb.ImportedItem(id="x", embeddings=[embedding(), embedding()]),
}


def test_whatever_cannot_be_stored_is_refused_by_position(stubs, db):
    good = pb.ImportedItem(id="good", embeddings=[embedding()])
    reply = stubs.v1.ImportItems(pb.ImportItemsRequest(items=[good, *REFUSED.values(), good]))
    assert [each.position for each in reply.refused] == [*range(1, len(REFUSED) + 1)]
    reasons = dict(zip(REFUSED, [each.reason for each in reply.refused], strict=True))
    assert reasons.pop("model") == "unknown_model"
    assert reasons.pop("version") == "version_mismatch"
    for name in ("dimension", "predictions", "no predictions", "none of made"):
        assert reasons.pop(name) == "dimension_mismatch"
    reasons.pop("no vector")
    assert {*reasons.values()} == {"invalid_request"}
    assert not db.exists("x")
    db.remove("good")


def test_an_import_keeps_what_it_does_not_replace(db, stubs):
    image = encoded(noise(9))
    db.add("kept", image=image, models=["tiny"], vectors={"made": [1] * 5}, attributes={"a": 1})
    (tiny,) = [
        each for each in db.get("kept", include_vectors=True).embeddings if each.model == "tiny"
    ]
    stubs.v1.ImportItems(
        pb.ImportItemsRequest(
            items=[
                pb.ImportedItem(
                    id="kept",
                    metadata=b"new",
                    embeddings=[embedding(model="made", vector=vector(5, 2.0))],
                    ready_made=[0],
                )
            ]
        )
    )
    item = db.get("kept", include_vectors=True, include_predictions=True, include_payload=True)
    found = {each.model: each for each in item.embeddings}
    assert (item.attributes, item.metadata, item.image) == ({"a": 1}, b"new", image)
    assert found["made"].vector.tolist() == [2] * 5
    assert found["tiny"].vector.tolist() == tiny.vector.tolist()
    # a vector that a model made from something else cannot be stored with this image
    request = pb.ImportItemsRequest(items=[pb.ImportedItem(id="kept", embeddings=[embedding()])])
    stubs.v1.ImportItems(request)
    item = db.get("kept", include_vectors=True, include_payload=True)
    assert item.image is None
    assert {each.model for each in item.embeddings} == {"made", "tiny"}
    db.remove("kept")


def test_an_export_is_of_one_moment(db):
    ids = [f"moment-{number}" for number in range(4000)]
    try:
        assert not db.add_vectors(
            ids, np.zeros((4000, 5)), model="made", attributes=[{"moment": 1}] * 4000
        )
        found: list[str] = []
        for number, batch in enumerate(db.export({"moment": 1})):
            found += batch["id"].to_pylist()
            if number == 0:
                db.remove_many(ids[2000:3000])
                db.update(ids[-1], attributes={"moment": 2})
                db.add("moment-late", vectors={"made": [0] * 5}, attributes={"moment": 1})
        assert found == ids
    finally:
        db.remove_many(filter={"moment": {"$exists": True}})


def test_exports_are_consistent_while_others_write(db):
    """Each item has the same number in its attributes, its metadata and its vector."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            db.add(
                f"busy-{number % 7}",
                vectors={"made": [number] * 5},
                attributes={"busy": number % 1000},
                metadata=b"%d" % number,
            )

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(20):
            for row in db.export({"busy": {"$gte": 0}}).to_arrow().to_pylist():
                number = int(row["metadata"])
                assert row["vector:made"] == [number] * 5
                assert json.loads(row["attributes_json"])["busy"] == number % 1000
            for row in db.export({"busy": {"$lt": 500}}).to_arrow().to_pylist():
                assert json.loads(row["attributes_json"])["busy"] < 500
    finally:
        stop.set()
        for writer in writers:
            writer.join()
        db.remove_many(filter={"busy": {"$exists": True}})


def test_a_reader_that_stops_holds_nothing_up(db):
    for _ in range(5):
        for _batch in db.export():
            break
    with pytest.raises(euclidesdb.DeadlineExceeded):
        db.export(timeout=0.001).to_arrow()
    assert db.export().to_arrow().num_rows == db.count()


def test_requests_of_exports_are_checked(stubs):
    def export(request: pb.ExportItemsRequest, timeout: float) -> list[pb.ExportItemsReply]:
        return [*stubs.v1.ExportItems(request, timeout=timeout)]

    assert refusal(export, pb.ExportItemsRequest(filter=pb.Filter())).reason == "invalid_request"
    pieces = [
        len(reply.data)
        for reply in stubs.v1.ExportItems(pb.ExportItemsRequest(include_vectors=True))
    ]
    assert max(pieces) <= 1 << 20


def test_an_npz_file_with_the_vectors_that_are_stored_leaves_the_payloads(db, second, tmp_path):
    db.export_file(tmp_path / "items.parquet", include_payloads=True)
    second.import_file(tmp_path / "items.parquet")
    before = second.export(include_payloads=True).to_arrow()
    second.export_file(tmp_path / "items.npz")
    changes = second.import_file(tmp_path / "items.npz").changes
    assert (changes.added, changes.replaced, changes.unchanged) == (0, 0, len(before))
    assert second.export(include_payloads=True).to_arrow().equals(before)
    second.update("both", merge={"price": 3})
    second.import_file(tmp_path / "items.npz", models=["tiny"])
    assert second.get("both", include_payload=True).image == encoded(noise(7))
    assert second.get("both").attributes == db.get("both").attributes
    with np.load(tmp_path / "items.npz") as stored_arrays:
        arrays = {**stored_arrays}
    arrays["vector:tiny"] += 1
    np.savez(tmp_path / "others.npz", **arrays)
    second.import_file(tmp_path / "others.npz", models=["tiny"])
    assert second.get("both", include_payload=True).image is None, "it is of another vector"
