"""ModelTable: what each name stands for, and how a version is retired."""

from __future__ import annotations

import threading

import pytest

from euclidesdb_server.database.leases import Leases
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.serving import Serving, superseded_serving
from euclidesdb_server.database.superseded_space import SupersededSpace
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.errors import InvalidRequest, ModelUnavailable, UnknownModel
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.values.status import ModelState
from tests.support.assembled import EMBEDDERS, Database
from tests.support.builders import InProcessBuilder

BROKEN = {"empty": "it has no model.conf"}


@pytest.fixture
def database(tmp_path, registry):
    with Database(tmp_path, registry, EMBEDDERS) as made:
        yield made


@pytest.fixture
def table(database, registry):
    servings = (
        Serving(name, model, database.spaces[name]) for name, model in registry.models.items()
    )
    return ModelTable(servings, BROKEN)


def second_space(database, folder):
    record = database.store.open_space("color", "version 2", 12)
    return ModelSpace(
        record, ExactEngine(), database.store, folder / "segments", builder=InProcessBuilder()
    )


def test_an_unknown_name_is_refused_with_the_known_ones(table):
    with pytest.raises(UnknownModel, match="no model 'shoes'; the models served are: 'color', 'gr"):
        table.resolve("shoes")


def test_a_broken_folder_is_unavailable_for_its_reason(table):
    with pytest.raises(ModelUnavailable, match="'empty' cannot be served: it has"):
        table.resolve("empty")
    (broken,) = [status for status in table.statuses() if status.name == "empty"]
    assert (broken.state, broken.reason) == (ModelState.QUARANTINED, "it has no model.conf")


def test_a_folder_that_is_served_is_not_listed_as_broken(table, registry, database):
    table.serve(registry.models["color"], database.spaces["color"], "empty")
    with pytest.raises(UnknownModel):
        table.resolve("empty")


def test_a_model_without_a_space_is_unavailable_to_searches(registry):
    model = registry.models["color"]
    with pytest.raises(
        ModelUnavailable, match="model 'color' is loading: its space is being opened"
    ):
        Serving("color", model, None).searchable_space()


def test_a_replaced_version_takes_no_new_items(tmp_path, table, registry, database):
    first = table.resolve("color")
    before = table.serve(registry.models["color"], second_space(database, tmp_path), "color")
    assert before is first
    assert table.resolve("color").space.record.fingerprint == "version 2"
    superseded = table.resolve(f"color@{first.space.record.fingerprint}")
    assert superseded.searchable_space() is first.space
    assert superseded.model is None
    with pytest.raises(InvalidRequest, match="is a superseded version"):
        superseded.writable_space()


def test_a_version_that_serves_again_is_superseded_no_longer(tmp_path, table, registry, database):
    model, first = registry.models["color"], database.spaces["color"]
    table.serve(model, second_space(database, tmp_path), "color")
    table.serve(model, first, "color")
    assert table.resolve("color").space is first
    assert table.resolve("color@version 2").superseded
    with pytest.raises(UnknownModel):
        table.resolve(f"color@{first.record.fingerprint}")


def test_a_withdrawn_model_leaves_its_space_to_be_searched(table, database):
    before = table.withdraw("color")
    after = table.resolve("color")
    assert before.model is not None
    assert (after.model, after.searchable_space()) == (None, database.spaces["color"])
    with pytest.raises(UnknownModel, match="the models served are: 'gray'"):
        table.withdraw("color")
    (status,) = [status for status in table.statuses() if status.name == "color"]
    assert status.state is ModelState.UNLOADED


def test_superseded_spaces_are_listed_as_long_as_they_have_items(database):
    table = ModelTable([superseded_serving(SupersededSpace.of(database.spaces["color"]))], {})
    assert table.statuses() == ()
    database.add("a", color=[0] * 12)
    (status,) = table.statuses()
    assert (status.state, status.items) == (ModelState.SUPERSEDED, 1)


def test_models_are_chosen_by_the_kind_of_input_that_they_take(table):
    assert [serving.name for serving in table.servings_for("image")] == ["color", "gray"]
    with pytest.raises(ModelUnavailable, match=r"takes texts is ready.*color \(ready"):
        table.servings_for("text")


def test_each_name_that_is_leased_has_an_outcome_of_its_own(table):
    with table.lease(["color", "empty", "shoes"]) as leased:
        assert leased.get("color") is table.resolve("color")
        with pytest.raises(ModelUnavailable):
            leased.get("empty")
        with pytest.raises(UnknownModel):
            leased.get("shoes")


def test_a_version_retired_before_it_is_leased_is_resolved_again(tmp_path, registry, database):
    model, second = registry.models["color"], second_space(database, tmp_path)

    class ReplacedMeanwhile(Leases):
        def acquire(self):
            current.serve(model, second, "color")
            assert self.retire(timeout=0)
            return super().acquire()

    first = Serving("color", model, database.spaces["color"], leases=ReplacedMeanwhile())
    current = ModelTable([first], {})
    with current.lease(["color"]) as leased:
        assert leased.get("color").space is second


def test_a_retired_version_ends_after_the_last_call_that_uses_it(table):
    serving = table.resolve("color")
    ended = threading.Event()

    def retire():
        if serving.leases.retire(timeout=60):
            ended.set()

    with table.lease(["color"]):
        with table.lease(["color"]):
            assert not serving.leases.retire(timeout=0)
        thread = threading.Thread(target=retire)
        thread.start()
        assert not ended.is_set()
        assert not serving.leases.acquire()
    assert ended.wait(60)
    thread.join()
