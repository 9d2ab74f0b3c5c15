"""`Client.add_stream` against a scripted server, and the reports of progress."""

from __future__ import annotations

import sys
import threading

import grpc
import pytest

import euclidesdb
from euclidesdb import Added, NewItem
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.client.scripted_server import Fault
from tests.support.waiting import wait_for

UNAVAILABLE = Fault(grpc.StatusCode.UNAVAILABLE, "shutting_down")


def new_item(item_id, **given):
    return NewItem(item_id, vectors={"m": [1.0, 2.0]}, **given)


def numbered(count):
    return [new_item(f"item-{number}") for number in range(count)]


def refused(position, reason="undecodable_input", message="not an image"):
    code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    refusal = pb.Refusal(position=position, code=code, reason=reason, message=message)
    return pb.AddItemStreamReply(position=position, outcomes=[pb.AddItemOutcome(refused=refusal)])


def test_each_item_is_sent_as_add_sends_it_and_has_its_outcome_in_order(db, server):
    outcomes = db.add_stream(numbered(300), include_vectors=True)
    assert [*outcomes] == [Added(number, f"item-{number}") for number in range(300)]
    db.add("item-0", vectors={"m": [1.0, 2.0]}, include_vectors=True)
    assert server.requests["AddItemStream"][0] == server.requests["AddItem"][0]


def test_no_items_have_no_outcomes(db):
    assert [*db.add_stream([])] == []


def test_what_is_refused_has_its_position_id_and_error(db, server, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"bad")
    items = [
        new_item("a"),
        NewItem("b", image=tmp_path / "missing.png", models=["m"]),
        NewItem("c", image=tmp_path / "bad.png", models=["m"]),
        new_item("d"),
    ]
    server.script("AddItemStream", None, refused(1), None)
    first, missing, bad, last = db.add_stream(items)
    assert (first, last) == (Added(0, "a"), Added(3, "d"))
    assert (missing.position, missing.id, missing.reason) == (1, "b", "not_sent")
    assert isinstance(missing.error, FileNotFoundError)
    assert (bad.position, bad.id, bad.reason) == (2, "c", "undecodable_input")
    assert "bad.png" in str(bad.error)


def test_a_stream_that_fails_tells_where_to_resume_and_what_is_unknown(db, server):
    server.script("AddItemStream", None, None, UNAVAILABLE)
    outcomes = []
    with pytest.raises(euclidesdb.AddsInterrupted) as caught:
        outcomes.extend(db.add_stream(numbered(5)))
    error = caught.value
    assert outcomes == [Added(0, "item-0"), Added(1, "item-1")]
    assert isinstance(error.__cause__, euclidesdb.ShuttingDown)
    assert (error.reason, error.resume_at) == ("shutting_down", 2)
    assert error.unknown[0] == (2, "item-2")


def test_outcomes_that_are_out_of_step_are_an_error(db, server):
    server.script("AddItemStream", pb.AddItemStreamReply(position=7))
    with pytest.raises(euclidesdb.AddsInterrupted, match="is of item 7"):
        next(db.add_stream(numbered(2)))


def test_what_the_iterable_raises_comes_after_the_outcomes_before_it(db):
    def items():
        yield from numbered(3)
        raise KeyError("mine")

    outcomes = []
    with pytest.raises(KeyError, match="mine"):
        outcomes.extend(db.add_stream(items()))
    assert len(outcomes) == 3


def test_an_invalid_item_is_named_after_the_outcomes_before_it(db):
    outcomes = db.add_stream([new_item("a"), "b"])
    assert next(outcomes) == Added(0, "a")
    with pytest.raises(TypeError, match="item 1 must be a NewItem"):
        next(outcomes)


def test_an_endless_iterable_is_read_no_further_than_permitted(db):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield new_item(f"item-{read}")

    outcomes = db.add_stream(endless(), max_in_flight=10)
    assert next(outcomes) == Added(0, "item-1")
    wait_for(lambda: read >= 10, "that it is read ahead")
    for _ in range(50):
        next(outcomes)
        assert read <= 62
    outcomes.close()


def test_closing_the_outcomes_ends_the_call(db):
    left = threading.Event()

    def endless():
        try:
            while True:
                yield new_item("a")
        finally:
            left.set()

    outcomes = db.add_stream(endless(), max_in_flight=5)
    next(outcomes)
    outcomes.close()
    assert left.wait(60)


@pytest.mark.parametrize("given", [{"max_in_flight": 0}, {"max_in_flight": "many"}])
def test_arguments_are_checked_at_once(db, given):
    with pytest.raises((ValueError, TypeError), match="max_in_flight"):
        db.add_stream([], **given)


def test_a_closed_client_begins_no_stream(db):
    db.close()
    with pytest.raises(euclidesdb.ClientClosed):
        db.add_stream([])


def test_progress_is_reported_to_a_function(db, tmp_path):
    reports = []
    items = [NewItem("bad", image=tmp_path / "missing", models=["m"]), *numbered(300)]
    db.add_many(items, progress=lambda done, refused: reports.append((done, refused)))
    assert reports[-1] == (301, 1)
    assert reports == sorted(reports)
    assert len(reports) >= 3


def test_progress_is_shown_by_a_bar(db, capsys):
    pytest.importorskip("tqdm")
    db.add_many(numbered(300), progress=True)
    shown = capsys.readouterr().err
    assert "300/300" in shown
    assert "items/s" in shown


def test_the_bar_shows_what_is_refused_and_needs_no_length(db, tmp_path, capsys):
    pytest.importorskip("tqdm")
    items = (NewItem(str(n), image=tmp_path / "missing", models=["m"]) for n in range(3))
    db.add_many(items, progress=True)
    assert "refused=3" in capsys.readouterr().err


def test_a_bar_without_tqdm_is_a_clear_error_before_anything_is_sent(db, server, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        db.add_many(numbered(3), progress=True)
    assert server.calls("AddItems") == 0


def test_progress_of_another_type_is_refused(db):
    with pytest.raises(TypeError, match="progress must be a bool or a function"):
        db.add_many([], progress="yes")
