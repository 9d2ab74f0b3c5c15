"""Errors, values and clients can be pickled and copied, so that they reach other processes."""

import copy
import dataclasses
import inspect
import multiprocessing
import pickle
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.client.scripted_server import ScriptedServer
from tests.support.cases import each_as_subtest

WAYS = {
    "pickled": lambda value: pickle.loads(pickle.dumps(value)),
    "copied": copy.copy,
    "copied deeply": copy.deepcopy,
}

PUBLIC = [getattr(euclidesdb, name) for name in euclidesdb.__all__ if name[0].isupper()]
REFUSED = euclidesdb.Refused(1, "b", euclidesdb.UndecodableInput("odd", "undecodable_input"))
FAILURE = euclidesdb.EmbeddingFailure("m", "f", "raised", "odd", datetime(2026, 1, 1, tzinfo=UTC))
FLOATS = np.array([1, 2], np.float32)
FLOATS.setflags(write=False)


def error_of(kind):
    if kind is euclidesdb.AddsInterrupted:
        return kind("adding stopped", "unavailable", (REFUSED,), ((2, "c"),), 2)
    if kind is euclidesdb.EmbeddingFailed:
        return kind("it is stored", "c", (FAILURE,))
    return kind("it is odd", "a_reason")


ERRORS = [error_of(kind) for kind in PUBLIC if issubclass(kind, Exception)]
EMBEDDING = euclidesdb.Embedding("m", "f", FLOATS, FLOATS)
INDEX = euclidesdb.IndexInfo("Flat", 1, 2, 3, True, False, "", 0.9, 10)
LABELS = (euclidesdb.LabelProbability("7", 0.5),)
DETAILED = euclidesdb.Neighbors(
    "m", "f", "l2", ("a", "b"), FLOATS, None, None, (b"", FLOATS), (FLOATS, None),
    (FLOATS, FLOATS), (LABELS, ()), ("x", 1),
)  # fmt: skip
EXAMPLE = euclidesdb.Example(vector=[1.0, 2.0])
RESULTS = euclidesdb.Results(m=DETAILED)
RESULTS.fused = euclidesdb.FusedNeighbors([euclidesdb.FusedNeighbor("a", 0.5, {"size": 40}, b"x")])
ITEM = euclidesdb.Item("a", {"size": 40}, b"x", (EMBEDDING,), b"image", None, FLOATS)
COUNTS = euclidesdb.ValueCounts((("red", 2), (True, 1)), 3, 4)
NUMBERS = euclidesdb.NumberSummary(2, 1.0, 2.0, 1.5, 0.5, 1.5)
MODEL = euclidesdb.BackedUpModel("m", "folder", "f")
HISTOGRAM = euclidesdb.Histogram((1.0, 2.0), (3, 4, 5), 6.0)
STATS_KINDS: tuple[Any, ...] = (
    euclidesdb.CallStats, euclidesdb.ModelStats, euclidesdb.ServerStats,
)  # fmt: skip
STATS = [kind(*[HISTOGRAM] * len(dataclasses.fields(kind))) for kind in STATS_KINDS]
VALUES = [
    HISTOGRAM,
    *STATS,
    COUNTS,
    NUMBERS,
    FAILURE,
    euclidesdb.ItemState("m", "f", "failed", FAILURE),
    euclidesdb.Failed(1, "c", error_of(euclidesdb.EmbeddingFailed)),
    euclidesdb.Job(
        "1", "running", "", "m", "f", FAILURE.time, None, 3, 1, None, {"changed": 1}, 2.5
    ),
    euclidesdb.CountsByField({"color": COUNTS}),
    euclidesdb.NumbersByField({"price": NUMBERS}),
    euclidesdb.FusedNeighbors(RESULTS.fused),
    euclidesdb.ItemList([ITEM]),
    MODEL,
    euclidesdb.BackupInfo(datetime(2026, 1, 1, tzinfo=UTC), 3, 4, (MODEL,), {}, ("a",), 0.5),
    euclidesdb.Summary(
        7, euclidesdb.CountsByField(color=COUNTS), euclidesdb.NumbersByField(price=NUMBERS)
    ),
    euclidesdb.Page((ITEM,), "token"),
    EMBEDDING,
    euclidesdb.Added(3, "a", (EMBEDDING,)),
    INDEX,
    ITEM,
    REFUSED,
    euclidesdb.Items({"a": ITEM}, ("c",), (REFUSED,)),
    euclidesdb.Imported(7, (REFUSED,), euclidesdb.Changes(5, 2)),
    euclidesdb.Changes(5, 2, 1),
    euclidesdb.Embeddings([EMBEDDING], "replaced"),
    euclidesdb.AddErrors([REFUSED], euclidesdb.Changes(1, 2, 3)),
    euclidesdb.Models(
        [euclidesdb.ModelInfo("m", "ready", "", "image", 2, 3, "f", "exact", "l2", 5, (), False)]
    ),
    euclidesdb.Removal(1, ("c",), (REFUSED,)),
    euclidesdb.ModelInfo("m", "ready", "", "image", 2, 3, "f", "exact", "l2", 5, ("x",), False),
    euclidesdb.ModelVector([1, 2], "f"),
    euclidesdb.Neighbor("a", 0.5, {"size": 40}, b"x"),
    euclidesdb.Neighbors("m", "f", "l2", ("a", "b"), FLOATS, ({}, {}), None),
    euclidesdb.NewItem("a", b"image", ["m"], {"n": [1.0]}, {"size": 40}, b"x"),
    DETAILED[0],
    DETAILED,
    LABELS[0],
    RESULTS,
    *RESULTS.fused,
    EXAMPLE,
    euclidesdb.Examples([EXAMPLE], [EXAMPLE]),
    euclidesdb.Diversity(0.5, 20),
    euclidesdb.GroupBy("brand", 2),
]


def content(value):
    """What a value holds, in a form that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist(), value.dtype, value.flags.writeable
    if isinstance(value, Exception):
        return type(value), str(value), content(vars(value))
    if dataclasses.is_dataclass(value):
        return type(value), [content(getattr(value, f.name)) for f in dataclasses.fields(value)]
    if isinstance(value, euclidesdb.Items):
        return [content(dict(value)), content(value.missing), content(value.refused)]
    if isinstance(value, tuple | list):
        return [content(each) for each in value]
    if isinstance(value, euclidesdb.Results):
        return type(value), content(dict(value)), content(value.fused)
    if isinstance(value, dict):
        return {key: content(each) for key, each in value.items()}
    return value


def test_every_public_class_is_among_the_cases():
    covered = {type(case) for case in (*ERRORS, *VALUES)}
    elsewhere = {"Answer", "Answers", "Client", "Export", "Backup", "BackupFile"}
    elsewhere |= {f"Async{name}" for name in ("Client", "Export", "Backup", "BackupFile")}
    assert set(PUBLIC) - covered == {getattr(euclidesdb, name) for name in elsewhere}
    assert all(inspect.isclass(kind) for kind in PUBLIC)


@each_as_subtest("way", WAYS.values(), ids=WAYS.keys())
def test_errors_and_values_are_the_same_in_a_copy(way):
    for case in (*ERRORS, *VALUES):
        assert content(way(case)) == content(case)


def test_a_note_on_an_error_is_kept_in_a_copy():
    error = error_of(euclidesdb.AddsInterrupted)
    error.add_note("the third file")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["the third file"]


@each_as_subtest("way", WAYS.values(), ids=WAYS.keys())
def test_an_answer_is_the_same_in_a_copy(way, db, server, tmp_path):
    refusal = pb.Refusal(position=1, code=5, reason="unknown_item", message="no item 'b'")
    answer = pb.BatchAnswer(
        model="m",
        metric="l2",
        counts=[2, 0, 1],
        ids=["a", "b", "c"],
        distances=[1, 2, 3],
        attributes_json=["{}"] * 3,
        refused=[refusal],
    )
    server.script("FindSimilarBatch", pb.FindSimilarBatchReply(answers=[answer]))
    images = [b"one", b"two", b"three", tmp_path / "nowhere.png"]
    answers = db.find_similar_many(images=images, model="m", include_attributes=True)
    first, refused, third, unsent = map(way, answers)
    assert content(first["m"]) == content(answers[0]["m"])
    assert content(third["m"]) == content(answers[2]["m"])
    assert not third["m"].distances.flags.writeable
    assert content(refused.error) == content(answers[1].error)
    assert (list(unsent), type(unsent.error)) == (["m"], FileNotFoundError)


def test_a_pickled_answer_holds_its_own_neighbors_only(db, server):
    ids = [f"item-{number}" for number in range(1000)]
    answer = pb.BatchAnswer(model="m", counts=[1] * 1000, ids=ids, distances=[1.0] * 1000)
    server.script("FindSimilarBatch", pb.FindSimilarBatchReply(answers=[answer]))
    answers = db.find_similar_many(ids=ids, model="m")
    pickled = pickle.dumps(answers[700])
    assert len(pickled) < 2000
    assert pickle.loads(pickled)["m"].ids == ("item-700",)


@each_as_subtest("way", WAYS.values(), ids=WAYS.keys())
def test_a_copy_of_a_client_is_a_new_one_of_the_same_target_and_timeout(way, db, server):
    server.requests.clear()
    with way(db) as copied:
        copied.models()
    assert server.calls("ListModels") == 1
    assert 10 < server.seconds_left["ListModels"] < 21
    db.models()  # the first is open still


def interrupted(client):
    """Runs in a pool's process."""
    items = [euclidesdb.NewItem("a", vectors={"m": [1]}), 7]
    try:
        client.add_many(items)
    except euclidesdb.AddsInterrupted as error:
        raise error from None
    return sys.executable


def test_an_interrupted_add_in_a_pool_is_raised_with_its_position():
    with (
        ScriptedServer() as server,
        euclidesdb.Client(server.target, timeout=20) as db,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        with pytest.raises(euclidesdb.AddsInterrupted, match="must be a NewItem") as caught:
            pool.apply_async(interrupted, [db]).get(60)
        assert (caught.value.resume_at, caught.value.unknown) == (1, ())
