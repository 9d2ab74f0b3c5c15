"""The metrics of a real server with a real model, as a scraper gets them."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import euclidesdb
from euclidesdb_server.config.server import Transport
from euclidesdb_server.errors import ConfigError
from tests.rpc.test_transports import needs_nghttp2
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
SEARCH = "euclidesdb.v1.FeatureDatabase/FindSimilar"


class Scraped:
    """A server, a client, and its metrics."""

    def __init__(self, folder, transport):
        save_model(folder / "models", "tiny", max_wait_ms=0)
        save_vector_space(folder / "models", "given")
        self.server = start_server(
            folder / "data",
            folder / "models",
            engine="faiss",
            server={"transport": transport},
            index={"compact_rows": 50, "recall_interval": 0.001},
            metrics={"address": "127.0.0.1:0"},
        )
        self.client = euclidesdb.Client(self.server.address)

    def families(self):
        return {family.name: family for family in text_string_to_metric_families(self.text())}

    def text(self):
        with urllib.request.urlopen(f"http://{self.server.metrics_address}/metrics") as answer:
            return answer.read().decode()

    def value(self, name, **labels):
        """The sum of the samples of a name that have these labels."""
        found = [
            sample.value
            for family in self.families().values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, f"{name} {labels} is not exported"
        return sum(found)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.server.close()


@pytest.fixture(scope="module", params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def scraped(request, tmp_path_factory):
    with Scraped(tmp_path_factory.mktemp("scraped"), Transport(request.param)) as scraped:
        yield scraped


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Metrics are read anew each time."""
    monkeypatch.setattr("euclidesdb_server.monitoring.http_server.FRESH_SECONDS", 0.0)


@pytest.fixture(scope="module")
def worked(scraped):
    """After adds, searches and errors."""
    client = scraped.client
    images = [encoded(noise(seed)) for seed in range(3)]
    for number, image in enumerate(images):
        client.add(f"i{number}", image=image, models=["tiny"])
    client.add("again", image=images[0], models=["tiny"])  # from the cache
    vectors = np.random.default_rng(0).random((200, 3), np.float32)
    client.add_vectors([f"v{n}" for n in range(200)], vectors, model="given")
    for _ in range(5):
        client.find_similar(id="v1", models=["given"])
    with pytest.raises(euclidesdb.UnknownItem):
        client.get("a\nb{}")
    client.remove("v0")
    return scraped


def documented():
    return set(re.findall(r"^\| `(euclidesdb_\w+)`", PAGE.read_text(encoding="utf-8"), re.M))


def test_every_metric_is_documented_and_every_documented_one_is_exported(worked):
    exported = {
        f"{name}_total" if family.type == "counter" else name
        for name, family in worked.families().items()
        if name.startswith("euclidesdb_")
    }
    if "euclidesdb_connections" not in exported:  # grpcio does not tell
        exported.add("euclidesdb_connections")
    assert exported == documented()


def test_calls_are_counted_by_method_and_status(worked):
    assert worked.value("euclidesdb_calls_total", method=SEARCH, status="OK") == 5
    assert worked.value("euclidesdb_call_seconds_count", method=SEARCH) == 5
    assert 0 < worked.value("euclidesdb_call_seconds_sum", method=SEARCH) < 100
    get = "euclidesdb.v1.FeatureDatabase/GetItem"
    assert worked.value("euclidesdb_calls_total", method=get, status="NOT_FOUND") == 1


def test_batches_and_the_cache_are_measured(worked):
    assert worked.value("euclidesdb_batch_items_sum", model="tiny") == 3
    assert worked.value("euclidesdb_items_run_total", model="tiny") == 3
    assert worked.value("euclidesdb_queue_seconds_count", model="tiny") == 3
    batches = worked.value("euclidesdb_batch_items_count", model="tiny")
    assert worked.value("euclidesdb_inference_seconds_count", model="tiny") == batches >= 1
    assert worked.value("euclidesdb_cache_hits_total") == 1
    assert worked.value("euclidesdb_cache_misses_total") == 3
    assert worked.value("euclidesdb_queue_length", model="tiny") == 0


def test_the_state_of_models_items_and_disk_is_shown(worked):
    assert worked.value("euclidesdb_items") == 203
    assert worked.value("euclidesdb_model_items", model="given") == 199
    assert worked.value("euclidesdb_model_ready") == 2
    rows = [worked.value(f"euclidesdb_model_{kind}_rows", model="given")
            for kind in ("indexed", "unindexed")]  # fmt: skip
    assert sum(rows) >= 199
    assert worked.value("euclidesdb_workers", model="tiny") == 1
    assert worked.value("euclidesdb_worker_memory_bytes", model="tiny") > 10 << 20
    assert worked.value("euclidesdb_worker_restarts_total", model="tiny") == 0
    assert worked.value("euclidesdb_sync_seconds_count") > 0
    syncs = worked.value("euclidesdb_sync_writes_count")
    assert worked.value("euclidesdb_sync_writes_sum") >= syncs > 0
    assert worked.value("euclidesdb_memory_bytes") > 10 << 20
    assert worked.value("euclidesdb_disk_free_bytes") > 0
    assert worked.value("euclidesdb_store_writable") == 1


def test_what_clients_send_makes_no_series(worked):
    def series():
        return {line.rpartition(" ")[0] for line in worked.text().splitlines() if line[0] != "#"}

    before = series()
    for number in range(20):
        with pytest.raises(euclidesdb.UnknownItem):
            worked.client.get(f"no-such-item-{number}")
        with pytest.raises(euclidesdb.UnknownModel):
            worked.client.find_similar(id="v1", models=[f"no-such-model-{number}"])
    added = series() - before
    assert all(re.search(r'status="NOT_FOUND"', line) for line in added), added
    assert "no-such" not in worked.text()


def test_only_the_metrics_are_served(worked):
    for path, method, code in (("/etc", "GET", 404), ("/metrics", "POST", 405)):
        url = f"http://{worked.server.metrics_address}{path}"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, method=method))
        assert caught.value.code == code
        caught.value.close()


def test_without_an_address_nothing_is_served(tmp_path):
    (tmp_path / "models").mkdir()
    with start_server(tmp_path / "data", tmp_path / "models") as server:
        assert server.metrics_address is None


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("localhost", "should be host:port, or a port"),
        ("unix:a", "should be host:port, or a port"),
        ("127.0.0.1:99999", "the port should be 0 to 65535"),
        ("host.invalid:1", "the host is unknown"),
        ("203.0.113.1:0", "this machine does not have the address"),
    ],
)
def test_an_address_that_cannot_be_used_is_an_error(tmp_path, address, text):
    (tmp_path / "models").mkdir()
    with pytest.raises(ConfigError, match=r"\[metrics\] address.*" + text):
        start_server(
            tmp_path / "data",
            tmp_path / "models",
            metrics={"address": address, "allow_anonymous": True},
        )


def test_a_port_alone_is_one_of_this_machine(tmp_path):
    (tmp_path / "models").mkdir()
    with start_server(tmp_path / "data", tmp_path / "models", metrics={"address": "0"}) as server:
        assert server.metrics_address.startswith("127.0.0.1:")
