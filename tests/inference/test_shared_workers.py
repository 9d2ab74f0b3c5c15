"""Models that share a worker process: one process, one decoding, and each its own answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psutil
import pytest
import torch

from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.errors import UndecodableInput
from euclidesdb_server.inference import ModelRegistry
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState
from euclidesdb_server.worker.decoded import DecodedItems
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.waiting import wait_for

IMAGE = Payload("image", encoded(noise(1)))


class Started:
    """A registry of models, and what it started."""

    def __init__(self, folder):
        self._others = {*psutil.Process().children()}
        self.registry = ModelRegistry(ModelsConfig(dir_path=folder, worker_threads=1))

    def workers(self):
        """The processes that have been started since."""
        return [child for child in psutil.Process().children() if child not in self._others]

    def __enter__(self):
        self.registry.wait_until_tried(threading.Event())
        return self

    def __exit__(self, *_):
        self.registry.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "first", worker="both")
    save_model(folder, "second", worker="both", image_mode="L", feature_dim=4)
    return folder


@pytest.fixture(scope="module")
def shared(models):
    """Of tests that leave both models loaded."""
    with Started(models) as started:
        yield started


def embed(registry, name, payload=IMAGE):
    return registry.models[name].embed(payload).result(60)


def test_models_that_name_one_worker_run_in_one_process(shared):
    registry = shared.registry
    assert len(shared.workers()) == 1
    assert embed(registry, "first").vector.shape == (12,)
    assert embed(registry, "second").vector.shape == (4,)
    with pytest.raises(UndecodableInput):
        embed(registry, "second", Payload("image", b"junk"))


def test_unloading_a_model_leaves_the_other_serving(models):
    with Started(models) as started:
        registry = started.registry
        (before,) = started.workers()
        registry.end(registry.models["first"])
        assert embed(registry, "second").vector.shape == (4,)
        (worker,) = started.workers()
        assert worker.pid == before.pid
        registry.end(registry.models["second"])
        wait_for(lambda: not worker.is_running(), "the end of the process")


def is_ready(registry, name):
    return registry.models[name].state[0] is ModelState.READY


def test_the_death_of_a_shared_worker_restarts_both_models(shared):
    (worker,) = shared.workers()
    worker.kill()
    for name in ("first", "second"):
        wait_for(partial(is_ready, shared.registry, name), name)
        assert embed(shared.registry, name).vector.any()
    (another,) = shared.workers()
    assert another.pid != worker.pid


def test_a_model_that_cannot_be_loaded_leaves_the_other_serving_until_the_end(tmp_path):
    save_model(tmp_path, "good", worker="both")
    save_model(tmp_path, "bad", worker="both", feature_dim=11)
    with Started(tmp_path) as started:
        assert started.registry.models["bad"].state[0] is ModelState.QUARANTINED
        assert embed(started.registry, "good").vector.shape == (12,)
        (worker,) = started.workers()
    assert not worker.is_running()


class Decoder:
    """Decodes to its length, and counts. gate: what it waits for."""

    def __init__(self):
        self.decoded = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, data):
        self.decoded.append(data)
        assert self.gate.wait(10)
        if data == b"bad":
            raise ValueError("it is bad")
        return torch.zeros(len(data))


def test_the_same_bytes_decoded_in_the_same_way_are_decoded_once():
    items, decoder = DecodedItems(), Decoder()
    first = items.get(b"abc", b"how", decoder)
    assert items.get(b"abc", b"how", decoder) is first
    assert items.get(b"abc", b"otherwise", decoder) is not first
    assert decoder.decoded == [b"abc", b"abc"]


def test_a_request_during_decoding_waits_for_the_result():
    items, decoder = DecodedItems(), Decoder()
    decoder.gate.clear()
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(items.get, b"abc", b"how", decoder) for _ in range(2)]
        wait_for(lambda: decoder.decoded, "the first to decode")
        decoder.gate.set()
        assert asked[0].result(10) is asked[1].result(10)
    assert decoder.decoded == [b"abc"]


def test_a_failure_to_decode_reaches_every_model():
    items, decoder = DecodedItems(), Decoder()
    for _ in range(2):
        with pytest.raises(ValueError, match="it is bad"):
            items.get(b"bad", b"how", decoder)


def test_an_item_larger_than_the_cache_is_decoded_each_time():
    items = DecodedItems()
    large = torch.empty(1).expand(1 << 26)  # counts 256 MiB, takes none
    assert items.get(b"abc", b"how", lambda _data: large) is large
    assert items.get(b"abc", b"how", lambda _data: torch.zeros(1)).numel() == 1
