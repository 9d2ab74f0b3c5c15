"""Counts, lists, samples, summaries, removals and searches with filters, by the client, over both
transports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.calls import Stubs, refusal
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server

DIM = 12
COUNT = 300
COLORS = ("red", "green", "blue")


@pytest.fixture(scope="module", params=["grpcio", "nghttp2"])
def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("item-queries")
    save_model(folder / "models", "tiny", worker="shared")
    config = {"transport": request.param}
    with start_server(folder / "data", folder / "models", server=config) as server:
        with euclidesdb.Client(server.address) as db:
            refused = db.add_vectors(
                [f"{row:03}" for row in range(COUNT)],
                np.random.default_rng(0).normal(size=(COUNT, DIM)),
                model="tiny",
                attributes=[
                    {"price": row / 2, "color": COLORS[row % 3], "size": {"width": row}}
                    for row in range(COUNT)
                ],
            )
            assert not refused
            for number in range(3):
                db.add(f"image-{number}", image=encoded(noise(number)), models=["tiny"])
        yield server.address


@pytest.fixture
def db(address: str) -> Iterator[euclidesdb.Client]:
    with euclidesdb.Client(address) as opened:
        yield opened


@pytest.fixture
def stubs(address: str) -> Iterator[Stubs]:
    with Stubs(address) as opened:
        yield opened


def test_items_are_counted(db):
    assert db.count() == COUNT + 3
    assert db.count({"price": {"$lt": 10}}) == 20
    assert db.count("price < 10 and color == 'red'") == 7
    assert db.count({"tiny.confidence": {"$exists": True}}) == 3
    assert db.count({"tiny.vector": {"$exists": True}}) == COUNT + 3


def test_items_are_listed_in_order_and_by_pages(db):
    ids = [item.id for item in db.items(page_size=100)]
    assert ids == [*(f"{row:03}" for row in range(COUNT)), *(f"image-{n}" for n in range(3))]
    cheap = [item.attributes["price"] for item in db.items("price < 5", order_by="price")]
    assert cheap == [row / 2 for row in range(10)]
    widest = db.page(order_by="size.width", descending=True, page_size=2)
    assert [item.id for item in widest.items] == ["299", "298"]
    more = db.page(order_by="size.width", descending=True, page_size=2, page=widest.next_page)
    assert [item.id for item in more.items] == ["297", "296"]
    last = [*db.items(order_by="price", page_size=300)][-3:]
    assert [item.id for item in last] == [f"image-{n}" for n in range(3)]
    (shown,) = db.items({"$id": "image-1"}, include_payload=True, include_predictions=True)
    assert shown.image == encoded(noise(1))
    assert shown.embeddings[0].predictions is not None


def test_pages_that_are_too_large_are_fetched_in_parts(tmp_path):
    save_model(tmp_path / "models", "tiny", worker="shared")
    limits = {"max_reply_bytes": 20_000}
    with (
        start_server(tmp_path / "data", tmp_path / "models", server=limits) as server,
        euclidesdb.Client(server.address) as db,
    ):
        for number in range(20):
            attributes = {"text": "x" * 2000}
            db.add(f"{number:02}", vectors={"tiny": [1.0] * DIM}, attributes=attributes)
        assert [item.id for item in db.items()] == [f"{number:02}" for number in range(20)]
        with pytest.raises(euclidesdb.ReplyTooLarge):
            db.page(page_size=20)
        db.update("07", metadata=b"x" * 30_000)
        with pytest.raises(euclidesdb.ReplyTooLarge):
            list(db.items())
        for number in range(20):
            db.update(f"{number:02}", attributes={"text": f"{number}" * 1000})
        with pytest.raises(euclidesdb.ReplyTooLarge, match="ask for fewer values"):
            db.summarize(count_by=["text"])
        with pytest.raises(euclidesdb.InvalidRequest, match="count_by has a field twice"):
            db.summarize(count_by=["a", "a"])


def test_pages_have_each_item_once_while_others_are_written(db):
    kept = {f"kept-{n}" for n in range(40)}
    ids = [f"{kind}-{n}" for n in range(40) for kind in ("kept", "gone")]
    vectors = np.zeros((80, DIM))
    attributes = [{"list": "pages"}] * 80
    assert not db.add_vectors(ids, vectors, model="tiny", attributes=attributes)
    found: list[str] = []
    token: str | None = None
    for number in range(100):
        page = db.page({"list": "pages"}, page_size=7, page=token)
        found += [item.id for item in page.items]
        if number < 40:
            db.remove(f"gone-{number}")
            db.add(f"kept-{number}", vectors={"tiny": [1.0] * DIM}, attributes={"list": "pages"})
            db.add(f"new-{number}", vectors={"tiny": [1.0] * DIM}, attributes={"list": "pages"})
        token = page.next_page
        if token is None:
            break
    assert len(found) == len({*found})
    assert kept <= {*found}
    assert db.remove_many(filter={"list": "pages"}).removed > 0


def test_items_are_drawn_at_random(db):
    first = [item.id for item in db.sample(20, "price >= 0", seed=1)]
    assert first == [item.id for item in db.sample(20, "price >= 0", seed=1)]
    assert first == sorted({*first})
    assert len(first) == 20
    assert first != [item.id for item in db.sample(20, "price >= 0", seed=2)]
    for seed in (-1, -(2**63), 2**63 - 1):
        assert len(db.sample(20, "price >= 0", seed=seed)) == 20
    strata = db.sample(5, "price >= 0", stratify_by="color")
    colors = [item.attributes["color"] for item in strata]
    assert {color: colors.count(color) for color in COLORS} == dict.fromkeys(COLORS, 5)
    assert len(db.sample(1000)) == COUNT + 3


@pytest.mark.filterwarnings("ignore:no item has an attribute")
def test_items_are_summarized(db):
    summary = db.summarize(count_by=["color", "tiny.label"], numbers=["price", "missing"])
    assert summary.count == COUNT + 3
    assert dict(summary.counts["color"].counts) == dict.fromkeys(COLORS, 100)
    assert summary.counts["color"].missing == 3
    assert sum(count for _, count in summary.counts["tiny.label"].counts) == 3
    price = summary.numbers["price"]
    assert (price.count, price.min, price.max) == (COUNT, 0, 149.5)
    assert price.mean == pytest.approx(74.75)
    assert summary.numbers["missing"] == euclidesdb.NumberSummary(0)
    most = db.summarize("color != 'red'", count_by=["size.width"], max_values=2)
    assert len(most.counts["size.width"].counts) == 2
    assert most.counts["size.width"].other == 198


def test_a_search_finds_items_that_match_alone(db):
    near = db.find_similar(id="000", model="tiny", filter={"color": "blue"}, top_k=5)["tiny"]
    assert len(near) == 5
    assert all(int(item_id) % 3 == 2 for item_id in near.ids)
    everything = db.find_similar(id="000", model="tiny", top_k=COUNT)["tiny"].ids
    assert (
        near.ids == tuple(each for each in everything if each.isdigit() and int(each) % 3 == 2)[:5]
    )
    many = db.find_similar_many(ids=["000", "001"], model="tiny", filter="price < 2", top_k=9)
    assert [sorted(answer["tiny"].ids) for answer in many] == [
        ["001", "002", "003"],
        ["000", "002", "003"],
    ]
    nothing = db.find_similar(id="000", model="tiny", filter="price < 0")["tiny"]
    assert len(nothing) == 0


@pytest.mark.filterwarnings("ignore:no item has an attribute")
def test_what_is_updated_or_removed_is_so_for_filters_at_once(db):
    db.add("changing", vectors={"tiny": [0.5] * DIM}, attributes={"state": "new"})
    assert db.count({"state": "new"}) == 1
    db.update("changing", merge={"state": "old", "n": 1})
    assert db.count({"state": "new"}) == 0
    assert [item.id for item in db.items({"state": "old"})] == ["changing"]
    assert db.find_similar(vector=[0.5] * DIM, model="tiny", filter={"n": 1})["tiny"].ids == (
        "changing",
    )
    assert db.remove_many(filter={"state": "old"}, dry_run=True).removed == 1
    assert db.count({"state": "old"}) == 1
    assert db.remove_many(filter={"state": "old"}).removed == 1
    assert db.count({"state": "old"}) == 0
    assert not db.exists("changing")
    for empty in ({}, ""):
        with pytest.raises(ValueError, match="empty, and would remove every item"):
            db.remove_many(filter=empty)


def test_bad_queries_are_refused_by_name(stubs, db):
    page = db.page({"color": "red"}, page_size=3)
    with pytest.raises(euclidesdb.InvalidRequest, match="of another list"):
        db.page({"color": "blue"}, page_size=3, page=page.next_page)
    with pytest.raises(euclidesdb.InvalidRequest, match="page_token 'nonsense' is not one"):
        db.page(page="nonsense")
    for call, request, message in (
        (stubs.v1.ListItems, pb.ListItemsRequest(page_size=-1), "page_size = -1 should be 1 to"),
        (stubs.v1.ListItems, pb.ListItemsRequest(page_size=10_001), "page_size = 10001"),
        (stubs.v1.SampleItems, pb.SampleItemsRequest(), "count = 0 should be 1 to"),
        (
            stubs.v1.SummarizeItems,
            pb.SummarizeItemsRequest(count_by=[pb.Field(name="a")] * 101),
            "101 fields in one call",
        ),
        (
            stubs.v1.SummarizeItems,
            pb.SummarizeItemsRequest(count_by=[pb.Field()]),
            "field is not set",
        ),
        (stubs.v1.CountItems, pb.CountItemsRequest(filter=pb.Filter()), "a filter is not set"),
        (
            stubs.v1.RemoveItems,
            pb.RemoveItemsRequest(ids=["a"], filter=pb.Filter(all=pb.Filters())),
            "ids and filter are both set",
        ),
        (stubs.v1.RemoveItems, pb.RemoveItemsRequest(), "ids is empty"),
    ):
        refused = refusal(call, request)
        assert refused.status is grpc.StatusCode.INVALID_ARGUMENT
        assert message in refused.message


def test_a_restart_finds_the_same(tmp_path: Path):
    save_model(tmp_path / "models", "tiny", worker="shared")
    for attempt in range(2):
        with (
            start_server(tmp_path / "data", tmp_path / "models") as server,
            euclidesdb.Client(server.address) as db,
        ):
            if attempt == 0:
                db.add("one", vectors={"tiny": [1.0] * DIM}, attributes={"n": 1})
                db.add("two", vectors={"tiny": [1.0] * DIM}, attributes={"n": 2})
                db.update("one", merge={"n": 3})
                db.remove("two")
            assert [(item.id, json.dumps(item.attributes)) for item in db.items()] == [
                ("one", '{"n": 3}')
            ]


def test_an_attribute_that_no_item_has_is_named_with_a_similar_one(db):
    expected = "no item has an attribute 'prise'; did you mean 'price'?"
    calls = [
        lambda: db.count("prise < 10"),
        lambda: db.count("not prise < 10"),
        lambda: db.page({"$or": [{"color": "red"}, {"prise": 5}]}),
        lambda: db.page(order_by="prise"),
        lambda: db.sample(3, stratify_by="prise"),
        lambda: db.summarize(count_by=["color", "prise"]),
        lambda: db.summarize(numbers=["prise"]),
        lambda: db.remove_many(filter="prise == 3", dry_run=True),
        lambda: db.find_similar(id="000", filter="prise < 10"),
        lambda: db.find_similar_many(ids=["000"], group_by="prise"),
    ]
    for call in calls:
        with pytest.warns(euclidesdb.UnknownFieldWarning) as caught:
            call()
        assert [str(each.message) for each in caught] == [expected]
        assert caught[0].filename == __file__


def test_names_of_predictions_and_of_nested_attributes_are_suggested(db):
    for given, meant in (("tinny.label", "tiny.label"), ("size.with", "size.width")):
        with pytest.warns(euclidesdb.UnknownFieldWarning, match=f"did you mean '{meant}'"):
            db.count({given: "7"})
    with pytest.warns(euclidesdb.UnknownFieldWarning, match="'entirely_other'$"):
        db.count({"entirely_other": 1})
    db.count("exists(size) and size.width < 3 and id() == '000' and tiny.label == '1'")


def test_a_rare_attribute_is_known(db):
    db.update("000", merge={"rare": {"name": 1}})
    assert db.count("rare.name == 1") == 1
    with pytest.warns(euclidesdb.UnknownFieldWarning, match="'rare.names'"):
        db.count("rare.names == 1")
    db.update("000", merge={"rare": None})
