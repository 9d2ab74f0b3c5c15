"""Models are loaded, replaced and unloaded while the server runs, through the real API."""

from __future__ import annotations

import shutil
import threading

import grpc
import pytest
import torch

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as v1
from tests.support.calls import Stubs, refusal
from tests.support.cases import each_as_subtest
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

STATUS = grpc.StatusCode
IMAGES = [encoded(noise(seed)) for seed in range(4)]


def quarters(images: torch.Tensor) -> torch.Tensor:
    """The features of Tiny."""
    return torch.nn.functional.adaptive_avg_pool2d(images, (2, 2)).flatten(1)


class Doubled(torch.nn.Module):
    """Another version of Tiny: features twice as large."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = quarters(images)
        return torch.softmax(features[:, :3], dim=1), 2 * features


class Leaky(torch.nn.Module):
    """Fails its load check: an item's features depend on the others of its batch."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = quarters(images)
        return torch.softmax(features[:, :3], dim=1), features - features.mean(dim=0)


def replace(folder, name, module=None, **conf):
    """Write another version of a model over the one in the models folder."""
    shutil.rmtree(folder / name, ignore_errors=True)
    save_model(folder, name, module=module, **conf)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models-that-change")
    save_model(folder, worker="shared")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    """One server for the module; a test that changes a model has its own, `model`."""
    with start_server(tmp_path_factory.mktemp("data"), models) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with euclidesdb.Client(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def stubs(server):
    with Stubs(server.address) as stubs:
        yield stubs


@pytest.fixture
def model(request, models, stubs):
    """The name of a model like `tiny` that only this test changes; unloaded afterwards.

    It runs in the worker of `tiny`, which spares the start of a process.
    """
    name = request.node.name
    save_model(models, name, worker="shared")
    load(stubs, name)
    yield name
    unload(stubs, name)


def listed(client):
    return {model.name: model for model in client.models()}


def load(stubs, folder=""):
    return stubs.v1.LoadModel(v1.LoadModelRequest(folder=folder)).model


def reload(stubs, name):
    return stubs.v1.LoadModel(v1.LoadModelRequest(name=name)).model


def unload(stubs, name):
    stubs.v1.UnloadModel(v1.UnloadModelRequest(name=name))


def test_a_new_model_is_loaded_and_used(client, stubs, models, model):
    save_model(models, "second", worker="shared", image_mode="L", feature_dim=4)
    assert load(stubs, "second").feature_dim == 4
    client.add("new", image=IMAGES[0], models=[model, "second"])
    found = client.find_similar(image=IMAGES[0])
    assert found["second"].ids == found[model].ids == ("new",)
    unload(stubs, "second")


def test_items_of_a_superseded_version_stay_searchable_under_its_own_name(
    client, stubs, models, model
):
    for number, image in enumerate(IMAGES[:3]):
        client.add(str(number), image=image, models=[model])
    old = listed(client)[model].fingerprint
    vectors = [client.get(str(n), include_vectors=True).embeddings[0].vector for n in range(3)]
    replace(models, model, Doubled(), worker="shared")
    new = reload(stubs, model)
    assert new.fingerprint != old
    assert client.find_similar(image=IMAGES[0], model=model)[model].ids == ()

    superseded = f"{model}@{old}"
    assert (listed(client)[superseded].state, listed(client)[superseded].items) == ("superseded", 3)
    found = client.find_similar(vector=vectors[1], model=superseded, fingerprint=old)[superseded]
    assert (found.ids[0], found.model, found.fingerprint) == ("1", superseded, old)
    assert (
        client.find_similar(id="2", model=superseded, include_self=True)[superseded].ids[0] == "2"
    )
    with pytest.raises(euclidesdb.VersionMismatch, match=f"searched as '{superseded}'"):
        client.find_similar(vector=vectors[1], model=model, fingerprint=old)
    with pytest.raises(euclidesdb.InvalidRequest, match="superseded version"):
        client.add("3", vectors={superseded: vectors[1]})

    client.add("1", image=IMAGES[1], models=[model])
    assert client.find_similar(image=IMAGES[1], model=model)[model].ids == ("1",)
    made = {each.fingerprint: each.vector for each in
            client.get("1", include_vectors=True).embeddings}  # fmt: skip
    assert made[new.fingerprint].tolist() == pytest.approx((2 * made[old]).tolist(), rel=1e-6)

    client.remove("2")
    assert "2" not in client.find_similar(vector=vectors[2], model=superseded)[superseded].ids


def test_a_superseded_version_is_searchable_after_a_restart_and_can_return(tmp_path):
    models = tmp_path / "models"
    save_model(models, worker="shared")  # the versions of a server need one process
    with (
        start_server(tmp_path / "data", models) as server,
        euclidesdb.Client(server.address) as client,
        Stubs(server.address) as stubs,
    ):
        client.add("a", image=IMAGES[0], models=["tiny"])
        old = listed(client)["tiny"].fingerprint
        replace(models, "tiny", Doubled(), worker="shared")
        reload(stubs, "tiny")
    with (
        start_server(tmp_path / "data", models) as server,
        euclidesdb.Client(server.address) as client,
        Stubs(server.address) as stubs,
    ):
        superseded = f"tiny@{old}"
        assert client.find_similar(id="a", model=superseded, include_self=True)[superseded].ids == (
            "a",
        )
        replace(models, "tiny", worker="shared")
        assert reload(stubs, "tiny").fingerprint == old
        assert client.find_similar(image=IMAGES[0], model="tiny")["tiny"].ids == ("a",)
        assert superseded not in listed(client)


def test_a_version_that_fails_its_load_check_leaves_the_old_one_serving(
    client, stubs, models, model, subtests
):
    client.add("checked", image=IMAGES[0], models=[model])
    before = listed(client)
    for module, conf, why in (
        (Leaky(), {}, "shares its batch"),
        (None, {"feature_dim": 11}, "feature_dim = 11"),
    ):
        with subtests.test(why):
            replace(models, model, module, worker="shared", **conf)
            refused = refusal(stubs.v1.LoadModel, v1.LoadModelRequest(name=model))
            expected = (STATUS.FAILED_PRECONDITION, "model_rejected")
            assert (refused.status, refused.reason) == expected
            assert why in refused.message
            assert listed(client) == before
            assert client.find_similar(image=IMAGES[0], model=model)[model].ids == ("checked",)


def test_no_call_fails_while_a_model_is_replaced(server, stubs, models, model):
    stop, failures, answered = threading.Event(), [], [0]

    def ask():
        with euclidesdb.Client(server.address) as mine:
            number = 0
            while not stop.wait(0.02):
                try:
                    mine.add(f"item-{number % 7}", image=encoded(noise(number)), models=[model])
                    mine.find_similar(image=IMAGES[number % 4], model=model)
                except Exception as error:
                    failures.append(error)
                    return
                number += 1
                answered[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    versions = set()
    for module in (Doubled(), None):
        replace(models, model, module)  # the first in a worker of its own, the second in another
        versions.add(reload(stubs, model).fingerprint)
        before = answered[0]
        while not failures and answered[0] < before + 10:
            stop.wait(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(versions) == 2


def test_an_unloaded_model_embeds_nothing_and_its_items_can_be_searched(client, stubs, model):
    client.add("unloaded", image=IMAGES[0], models=[model])
    unload(stubs, model)
    assert (listed(client)[model].state, listed(client)[model].items) == ("unloaded", 1)
    with pytest.raises(euclidesdb.UnknownModel):
        client.find_similar(image=IMAGES[0], model=model)
    found = client.find_similar(id="unloaded", model=model, include_self=True)
    assert found[model].ids == ("unloaded",)
    load(stubs, model)
    assert client.find_similar(image=IMAGES[0], model=model)[model].ids == ("unloaded",)


def test_a_space_of_ready_made_vectors_can_be_loaded_and_unloaded(client, stubs, models):
    save_vector_space(models)
    load(stubs, "given")
    client.add("vector", vectors={"given": [1, 2, 3]})
    assert client.find_similar(vector=[1, 2, 3], model="given")["given"].ids == ("vector",)
    unload(stubs, "given")
    assert listed(client)["given"].state == "unloaded"


@each_as_subtest(
    "folder",
    [
        *("nowhere", "..", ".", "../models/tiny", "/tmp", "tiny/", "./tiny", "tiny/../tiny"),
        *("tiny\0", "\0", "..\\tiny", "%2e%2e", "~", "$HOME", "tiny\n"),
    ],
)
def test_a_folder_must_be_in_the_models_folder(stubs, folder):
    refused = refusal(stubs.v1.LoadModel, v1.LoadModelRequest(folder=folder))
    assert (refused.status, refused.reason) == (STATUS.FAILED_PRECONDITION, "model_rejected")
    assert repr(folder) in refused.message


def test_a_call_names_either_a_folder_or_a_model(stubs):
    for request in (v1.LoadModelRequest(), v1.LoadModelRequest(folder="tiny", name="tiny")):
        assert refusal(stubs.v1.LoadModel, request).status is STATUS.INVALID_ARGUMENT


def test_an_unknown_model_cannot_be_changed(stubs):
    for call, request in (
        (stubs.v1.LoadModel, v1.LoadModelRequest(name="other")),
        (stubs.v1.UnloadModel, v1.UnloadModelRequest(name="other")),
    ):
        assert refusal(call, request).status is STATUS.NOT_FOUND


def test_a_server_can_be_configured_to_refuse_model_changes(tmp_path):
    save_vector_space(tmp_path / "models")
    forbidden = {"allow_model_changes": False}
    with (
        start_server(tmp_path / "data", tmp_path / "models", server=forbidden) as server,
        Stubs(server.address) as stubs,
    ):
        refused = refusal(stubs.v1.UnloadModel, v1.UnloadModelRequest(name="given"))
    assert refused.status is STATUS.PERMISSION_DENIED
    assert "allow_model_changes" in refused.message
