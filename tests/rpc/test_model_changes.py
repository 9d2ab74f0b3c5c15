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
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

STATUS = grpc.StatusCode
IMAGES = [encoded(noise(seed)) for seed in range(4)]


def quarters(images: torch.Tensor) -> torch.Tensor:
    """What Tiny's features are."""
    return torch.nn.functional.adaptive_avg_pool2d(images, [2, 2]).flatten(1)


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


def replace(folder, module=None, **conf):
    shutil.rmtree(folder / "tiny", ignore_errors=True)
    save_model(folder, module=module, **conf)


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    save_model(folder)
    return folder


@pytest.fixture
def server(tmp_path, models):
    with start_server(tmp_path / "data", models) as server:
        yield server


@pytest.fixture
def client(server):
    with euclidesdb.Client(server.address) as client:
        yield client


@pytest.fixture
def stubs(server):
    with Stubs(server.address) as stubs:
        yield stubs


def listed(client):
    return {model.name: model for model in client.models()}


def load(stubs, folder=""):
    return stubs.v1.LoadModel(v1.LoadModelRequest(folder=folder)).model


def reload(stubs, name="tiny"):
    return stubs.v1.LoadModel(v1.LoadModelRequest(name=name)).model


def unload(stubs, name="tiny"):
    stubs.v1.UnloadModel(v1.UnloadModelRequest(name=name))


def test_a_new_model_is_loaded_and_used(client, stubs, models):
    save_model(models, "second", image_mode="L", feature_dim=4)
    assert load(stubs, "second").feature_dim == 4
    client.add("a", image=IMAGES[0], models=["tiny", "second"])
    found = client.find_similar(image=IMAGES[0])
    assert {name: answer.ids for name, answer in found.items()} == {
        "second": ("a",),
        "tiny": ("a",),
    }


def test_a_new_version_serves_and_the_old_ones_items_stay_searchable_as_its_own(
    client, stubs, models
):
    for number, image in enumerate(IMAGES[:3]):
        client.add(str(number), image=image, models=["tiny"])
    old = listed(client)["tiny"].fingerprint
    vectors = [client.get(str(n), include_vectors=True).embeddings[0].vector for n in range(3)]
    replace(models, Doubled())
    new = reload(stubs)
    assert new.fingerprint != old
    assert client.find_similar(image=IMAGES[0], model="tiny")["tiny"].ids == ()

    superseded = f"tiny@{old}"
    assert (listed(client)[superseded].state, listed(client)[superseded].items) == ("superseded", 3)
    found = client.find_similar(vector=vectors[1], model=superseded, fingerprint=old)[superseded]
    assert (found.ids[0], found.model, found.fingerprint) == ("1", superseded, old)
    assert (
        client.find_similar(id="2", model=superseded, include_self=True)[superseded].ids[0] == "2"
    )
    with pytest.raises(euclidesdb.VersionMismatch, match=f"searched as '{superseded}'"):
        client.find_similar(vector=vectors[1], model="tiny", fingerprint=old)
    with pytest.raises(euclidesdb.InvalidRequest, match="superseded version"):
        client.add("3", vectors={superseded: vectors[1]})

    client.add("1", image=IMAGES[1], models=["tiny"])
    assert client.find_similar(image=IMAGES[1], model="tiny")["tiny"].ids == ("1",)
    made = {each.fingerprint: each.vector for each in
            client.get("1", include_vectors=True).embeddings}  # fmt: skip
    assert made[new.fingerprint].tolist() == pytest.approx((2 * made[old]).tolist(), rel=1e-6)

    client.remove("2")
    assert "2" not in client.find_similar(vector=vectors[2], model=superseded)[superseded].ids


def test_former_versions_are_searchable_after_a_restart_and_can_come_back(tmp_path, models):
    with (
        start_server(tmp_path / "data", models) as server,
        euclidesdb.Client(server.address) as client,
        Stubs(server.address) as stubs,
    ):
        client.add("a", image=IMAGES[0], models=["tiny"])
        old = listed(client)["tiny"].fingerprint
        replace(models, Doubled())
        reload(stubs)
    with (
        start_server(tmp_path / "data", models) as server,
        euclidesdb.Client(server.address) as client,
        Stubs(server.address) as stubs,
    ):
        superseded = f"tiny@{old}"
        assert client.find_similar(id="a", model=superseded, include_self=True)[superseded].ids == (
            "a",
        )
        replace(models)
        assert reload(stubs).fingerprint == old
        assert client.find_similar(image=IMAGES[0], model="tiny")["tiny"].ids == ("a",)
        assert superseded not in listed(client)


@pytest.mark.parametrize(
    ("module", "conf", "why"),
    [(Leaky(), {}, "shares its batch"), (None, {"feature_dim": 11}, "feature_dim = 11")],
)
def test_a_version_that_fails_its_load_check_leaves_the_old_one_serving(
    client, stubs, models, module, conf, why
):
    client.add("a", image=IMAGES[0], models=["tiny"])
    before = listed(client)
    replace(models, module, **conf)
    refused = refusal(stubs.v1.LoadModel, v1.LoadModelRequest(name="tiny"))
    assert (refused.status, refused.reason) == (STATUS.FAILED_PRECONDITION, "model_rejected")
    assert why in refused.message
    assert listed(client) == before
    assert client.find_similar(image=IMAGES[0], model="tiny")["tiny"].ids == ("a",)


def test_no_call_fails_while_a_model_is_replaced(server, stubs, models):
    stop, failures, answered = threading.Event(), [], [0]

    def ask():
        with euclidesdb.Client(server.address) as mine:
            number = 0
            while not stop.is_set():
                try:
                    mine.add(f"item-{number % 7}", image=encoded(noise(number)), models=["tiny"])
                    mine.find_similar(image=IMAGES[number % 4], model="tiny")
                except Exception as error:
                    failures.append(error)
                    return
                number += 1
                answered[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    versions = set()
    for module in (Doubled(), None, Doubled()):
        replace(models, module)
        versions.add(reload(stubs).fingerprint)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert answered[0] > 10
    assert len(versions) == 2


def test_an_unloaded_model_runs_nothing_and_its_items_can_be_searched(client, stubs):
    client.add("a", image=IMAGES[0], models=["tiny"])
    unload(stubs)
    assert (listed(client)["tiny"].state, listed(client)["tiny"].items) == ("unloaded", 1)
    with pytest.raises(euclidesdb.UnknownModel):
        client.find_similar(image=IMAGES[0], model="tiny")
    assert client.find_similar(id="a", model="tiny", include_self=True)["tiny"].ids == ("a",)
    load(stubs, "tiny")
    assert client.find_similar(image=IMAGES[0], model="tiny")["tiny"].ids == ("a",)


def test_a_space_of_ready_made_vectors_is_loaded_and_unloaded_too(client, stubs, models):
    save_vector_space(models)
    load(stubs, "given")
    client.add("a", vectors={"given": [1, 2, 3]})
    assert client.find_similar(vector=[1, 2, 3], model="given")["given"].ids == ("a",)
    unload(stubs, "given")
    assert listed(client)["given"].state == "unloaded"


@pytest.mark.parametrize("folder", ["nowhere", "..", "../models/tiny", "/tmp", "tiny/"])
def test_a_folder_is_one_of_the_models_folder(stubs, folder):
    refused = refusal(stubs.v1.LoadModel, v1.LoadModelRequest(folder=folder))
    assert (refused.status, refused.reason) == (STATUS.FAILED_PRECONDITION, "model_rejected")
    assert repr(folder) in refused.message


def test_a_call_says_either_a_folder_or_a_name(stubs):
    for request in (v1.LoadModelRequest(), v1.LoadModelRequest(folder="tiny", name="tiny")):
        assert refusal(stubs.v1.LoadModel, request).status is STATUS.INVALID_ARGUMENT


def test_a_model_that_is_not_there_cannot_be_changed(stubs):
    for call, request in (
        (stubs.v1.LoadModel, v1.LoadModelRequest(name="other")),
        (stubs.v1.UnloadModel, v1.UnloadModelRequest(name="other")),
    ):
        assert refusal(call, request).status is STATUS.NOT_FOUND


def test_changes_are_allowed_where_the_configuration_says_so(tmp_path, models):
    forbidden = {"allow_model_changes": False}
    with (
        start_server(tmp_path / "data", models, server=forbidden) as server,
        Stubs(server.address) as stubs,
    ):
        refused = refusal(stubs.v1.UnloadModel, v1.UnloadModelRequest(name="tiny"))
    assert refused.status is STATUS.PERMISSION_DENIED
    assert "allow_model_changes" in refused.message
