"""Models are loaded and unloaded by name, and those of former versions are distinguished."""

import math

import grpc
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.client.scripted_server import Fault, Silence


def test_load_model_names_the_folder_and_returns_how_the_model_stands(db, server):
    served = pb.Model(name="shoes", state=pb.MODEL_STATE_READY, input="text", fingerprint="f2")
    server.script("LoadModel", pb.LoadModelReply(model=served))
    info = db.load_model("shoes-2")
    assert (info.name, info.state, info.input, info.fingerprint) == ("shoes", "ready", "text", "f2")
    assert server.requests["LoadModel"] == [pb.LoadModelRequest(folder="shoes-2")]


def test_reload_model_names_the_model(db, server):
    server.script("LoadModel", pb.LoadModelReply(model=pb.Model(name="shoes")))
    assert db.reload_model("shoes").name == "shoes"
    assert server.requests["LoadModel"] == [pb.LoadModelRequest(name="shoes")]


def test_unload_model_names_the_model(db, server):
    assert db.unload_model("shoes") is None
    assert server.requests["UnloadModel"] == [pb.UnloadModelRequest(name="shoes")]


def test_drop_model_version_names_the_version(db, server):
    assert db.drop_model_version("shoes@f1") is None
    assert server.requests["DropModelVersion"] == [pb.DropModelVersionRequest(name="shoes@f1")]


def test_a_model_is_listed_with_the_disk_space_that_it_takes(db, server):
    served = pb.Model(name="shoes", state=pb.MODEL_STATE_READY, disk_bytes=5 << 30)
    server.script("ListModels", pb.ListModelsReply(models=[served]))
    assert [info.disk_bytes for info in db.models()] == [5 << 30]


def test_a_folder_that_cannot_be_served_is_rejected_with_the_servers_words(db, server):
    fault = Fault(grpc.StatusCode.FAILED_PRECONDITION, "model_rejected", "feature_dim is wrong")
    server.script("LoadModel", fault)
    with pytest.raises(euclidesdb.ModelRejected, match="feature_dim is wrong"):
        db.load_model("shoes")


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("LoadModel", lambda db: db.load_model("m", timeout=0.2)),
        ("UnloadModel", lambda db: db.unload_model("m", timeout=0.2)),
        ("DropModelVersion", lambda db: db.drop_model_version("m@f", timeout=0.2)),
    ],
)
def test_a_load_that_takes_too_long_is_left_at_its_timeout(db, server, method, call):
    server.script(method, Silence())
    with pytest.raises(euclidesdb.DeadlineExceeded):
        call(db)


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("LoadModel", lambda db, seconds: db.load_model("m", timeout=seconds)),
        (
            "FindSimilarBatch",
            lambda db, seconds: db.find_similar_many(ids=["a"], model="m", timeout=seconds),
        ),
    ],
)
def test_an_endless_timeout_is_not_the_clients_own(db, server, method, call):
    server.script("FindSimilarBatch", pb.FindSimilarBatchReply())
    call(db, math.inf)
    assert server.seconds_left[method] is None or server.seconds_left[method] > 1e6


def test_unloaded_and_former_models_say_that_they_are(db, server):
    served = [
        pb.Model(name="shoes", state=pb.MODEL_STATE_UNLOADED),
        pb.Model(name="shoes@f1", state=pb.MODEL_STATE_SUPERSEDED, fingerprint="f1"),
    ]
    server.script("ListModels", pb.ListModelsReply(models=served))
    assert [(info.name, info.state) for info in db.models()] == [
        ("shoes", "unloaded"),
        ("shoes@f1", "superseded"),
    ]
