"""Streams of adds, from the client to the disk: order, refusals, memory, and ends in the middle."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from ctypes.util import find_library
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

import euclidesdb
from euclidesdb import Added, NewItem, Refused
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import database_pb2_grpc
from euclidesdb_server.app import Server
from tests.support.calls import Stubs
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.processes import ServerProcess
from tests.support.servers import start_server
from tests.support.waiting import wait_for

MODEL = "tiny"
IMAGES = [encoded(noise(seed)) for seed in range(50)]
POISON = b"\x89PNG this is not an image"
TIMEOUT = 100


needs_nghttp2 = pytest.mark.skipif(
    find_library("nghttp2") is None, reason="the library nghttp2 is not installed"
)


@pytest.fixture(scope="module", params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def server(request, tmp_path_factory, tiny_models) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("data")
    with start_server(data, tiny_models, server={"transport": request.param}) as started:
        yield started


@pytest.fixture
def db(server):
    with euclidesdb.Client(server.address) as client:
        yield client


@pytest.fixture
def stubs(server):
    with Stubs(server.address, own_connection=True) as made:
        yield made


def image_item(name: str, seed: int = 0) -> NewItem:
    return NewItem(name, image=IMAGES[seed % len(IMAGES)], models=[MODEL])


def request(name: str, seed: int = 0, **others: Any) -> pb.AddItemStreamRequest:
    image = pb.Payload(image=IMAGES[seed % len(IMAGES)])
    item = pb.AddItemRequest(id=name, payload=image, models=[MODEL], **others)
    return pb.AddItemStreamRequest(items=[item])


def positions(replies: Iterable[pb.AddItemStreamReply]) -> Iterator[int]:
    """Those of the items, as their outcomes arrive."""
    for reply in replies:
        yield from range(reply.position, reply.position + len(reply.outcomes))


def is_poisonous(position: int) -> bool:
    return position % 100 == 37


@pytest.mark.parametrize(
    "count", [5000, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(0)])]
)
def test_of_a_long_stream_exactly_the_poisonous_items_fail(db, count):
    process = psutil.Process()

    def items():
        for position in range(count):
            image = POISON if is_poisonous(position) else IMAGES[position % len(IMAGES)]
            yield NewItem(f"long-{position}", image=image, models=[MODEL])

    before, most = process.memory_info().rss, 0
    for position, outcome in enumerate(db.add_stream(items())):
        assert (outcome.position, outcome.id) == (position, f"long-{position}")
        if is_poisonous(position):
            assert isinstance(outcome, Refused)
            assert outcome.reason == "undecodable_input"
        else:
            assert isinstance(outcome, Added)
        if position % 500 == 0:
            most = max(most, process.memory_info().rss)
    assert position == count - 1
    # the client and the server are in this process
    assert most - before < 100 << 20
    for position in (0, 36, 38, count - 1):
        assert db.get(f"long-{position}").embeddings[0].model == MODEL
    with pytest.raises(euclidesdb.UnknownItem):
        db.get("long-37")


def test_a_client_that_waits_for_each_outcome_gets_it_at_once(db):
    given: queue.SimpleQueue[NewItem | None] = queue.SimpleQueue()
    outcomes = db.add_stream(iter(given.get, None))
    for position in range(20):
        given.put(image_item(f"one-{position}", position))
        outcome = next(outcomes)
        assert (outcome.position, outcome.id) == (position, f"one-{position}")
        assert [embedding.model for embedding in outcome.embeddings] == [MODEL]
    given.put(None)
    assert [*outcomes] == []


def test_an_item_is_searchable_when_its_outcome_arrives(db):
    for number, outcome in enumerate(db.add_stream(image_item(f"s-{n}", n) for n in range(10))):
        found = db.find_similar(id=f"s-{number}", model=MODEL, include_self=True, top_k=1000)
        assert outcome.id in found[MODEL].ids


def test_of_items_with_one_id_the_last_one_stays(db):
    items = [
        NewItem("same", image=IMAGES[n % 7], models=[MODEL], attributes={"n": n})
        for n in range(300)
    ]
    assert all(isinstance(outcome, Added) for outcome in db.add_stream(items))
    assert db.get("same").attributes == {"n": 299}


def test_a_stream_mixes_kinds_and_refusals_of_every_kind(db):
    items = [
        NewItem("mix-0", vectors={MODEL: np.zeros(12)}),
        NewItem("mix-1", vectors={MODEL: np.zeros(5)}),
        NewItem("mix-2", vectors={"absent": np.zeros(5)}),
        image_item(""),
        NewItem("mix-4", image="no-such-file.png", models=[MODEL]),
        NewItem("mix-5", vectors={MODEL: np.ones(12)}, attributes={"a": 1}),
        NewItem("mix-6", text="not an image", models=[MODEL]),
        image_item("mix-7"),
    ]
    outcomes = [*db.add_stream(items)]
    assert [outcome.position for outcome in outcomes] == [*range(8)]
    reasons = [getattr(outcome, "reason", "added") for outcome in outcomes]
    assert reasons == [
        "added",
        "dimension_mismatch",
        "unknown_model",
        "invalid_request",
        "not_sent",
        "added",
        "invalid_request",
        "added",
    ]


def test_vectors_and_predictions_are_returned_if_requested(db):
    items = [image_item(f"wanted-{n}", n) for n in range(5)]
    outcomes = db.add_stream(items, include_vectors=True, include_predictions=True)
    for outcome in outcomes:
        (made,) = outcome.embeddings
        item = db.get(outcome.id, include_vectors=True, include_predictions=True)
        (stored,) = item.embeddings
        assert made.vector.tolist() == stored.vector.tolist()
        assert made.predictions.tolist() == stored.predictions.tolist()
        assert (made.vector.shape, made.predictions.shape) == ((12,), (3,))


def test_the_replies_to_a_batch_may_be_larger_than_one_may(tmp_path, tiny_models):
    limits = {"max_reply_bytes": 1024}
    with (
        start_server(tmp_path, tiny_models, server=limits) as started,
        euclidesdb.Client(started.address) as client,
    ):
        items = [image_item(f"x-{n}", n) for n in range(100)]  # 48 bytes each
        outcomes = [*client.add_stream(items, include_vectors=True)]
        assert all(isinstance(outcome, Added) for outcome in outcomes)


def test_a_stream_does_not_overload_a_model_with_a_short_queue(tmp_path):
    models = tmp_path / "models"
    save_model(models, max_queue=4)
    with (
        start_server(tmp_path / "data", models, models_config={"cache_mib": 0}) as started,
        euclidesdb.Client(started.address) as client,
    ):
        outcomes = client.add_stream(image_item(f"q-{n}", n) for n in range(1000))
        assert sum(isinstance(outcome, Added) for outcome in outcomes) == 1000


def test_an_unparsable_request_ends_the_stream_after_the_items_before_it(stubs):
    path = "/euclidesdb.v1.FeatureDatabase/AddItemStream"
    raw = stubs.channel.stream_stream(path)
    sent = [request(f"before-{n}", n).SerializeToString() for n in range(10)]
    replies = raw(iter([*sent, b"\xff", request("after").SerializeToString()]), timeout=TIMEOUT)
    got = []
    with pytest.raises(Exception, match="cannot be parsed"):
        got.extend(positions(map(pb.AddItemStreamReply.FromString, replies)))
    assert got == [*range(10)]


def test_a_client_that_stops_reading_stops_the_server(server):
    """It takes no more items than it can answer, and all that it has answered are there."""
    sent = 0

    def endless():
        nonlocal sent
        while True:
            yield request(f"unread-{sent}", sent, include_vectors=True)
            sent += 1

    # otherwise gRPC reads megabytes ahead
    small = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1 << 16)]
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.address, options=[*small, *own]) as channel:
        stub: Any = database_pb2_grpc.FeatureDatabaseStub(channel)
        replies = stub.AddItemStream(endless(), timeout=TIMEOUT)
        answers = positions(replies)
        answered = [next(answers) for _ in range(10)]
        last = -1
        while sent != last:
            last = sent
            assert not threading.Event().wait(0.5)
        assert sent < 20_000
        assert stub.GetItem(pb.GetItemRequest(id="unread-9")).item.id == "unread-9"
        answered += [next(answers) for _ in range(sent)]
        assert answered == [*range(len(answered))]
        replies.cancel()


def test_a_consumer_that_takes_no_outcomes_stops_the_producer(db):
    made = 0

    def endless():
        nonlocal made
        for made in itertools.count(1):
            yield image_item(f"slow-{made}", made)

    outcomes = db.add_stream(endless(), max_in_flight=50)
    for _ in range(5):
        next(outcomes)
    wait_for(lambda: made >= 52, "that it is that far ahead")
    assert not threading.Event().wait(0.3)
    assert made <= 56
    outcomes.close()


def test_what_is_acknowledged_is_there_when_the_client_vanishes(server, db):
    vanishing = euclidesdb.Client(server.address)
    acknowledged = []
    outcomes = vanishing.add_stream(image_item(f"gone-{n}", n) for n in itertools.count())
    for outcome in itertools.islice(outcomes, 300):
        acknowledged.append(outcome.id)
    vanishing.close()
    with pytest.raises(euclidesdb.AddsInterrupted):
        acknowledged.extend(outcome.id for outcome in outcomes)
    for item_id in acknowledged:
        assert db.get(item_id).id == item_id


def test_what_is_acknowledged_is_there_after_the_server_was_killed(tmp_path):
    models, data = tmp_path / "models", tmp_path / "data"
    save_model(models)
    arguments = ("--models", models, "--data", data, "--address", "127.0.0.1:0")
    acknowledged = []
    with (
        ServerProcess(*arguments, log=tmp_path / "log") as killed,
        euclidesdb.Client(killed.address()) as client,
    ):
        outcomes = client.add_stream(image_item(f"k-{n}", n) for n in itertools.count())
        acknowledged += [outcome.id for outcome in itertools.islice(outcomes, 500)]
        killed.kill()
        with pytest.raises(euclidesdb.AddsInterrupted) as caught:
            acknowledged.extend(outcome.id for outcome in outcomes)
    error = caught.value
    assert error.resume_at == len(acknowledged) >= 500
    assert error.unknown[0] == (len(acknowledged), f"k-{len(acknowledged)}")
    with (
        ServerProcess(*arguments, log=tmp_path / "log") as again,
        euclidesdb.Client(again.address()) as client,
    ):
        for item_id in acknowledged:
            assert client.get(item_id).embeddings[0].model == MODEL
