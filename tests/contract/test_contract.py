"""The contract of the API: every call, by both clients, over both transports, of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import euclidesdb
from euclidesdb import _translation
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server import errors as server_errors
from tests.contract import cases
from tests.contract.both_clients import CALLERS, Caller
from tests.rpc.faulty_database import FaultyServer
from tests.support.cases import each_as_subtest
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

METHODS = {method.name for method in pb.DESCRIPTOR.services_by_name["FeatureDatabase"].methods}
SPECIAL = {"ImportItems", "UnloadModel", "DropModelVersion", "Backup", "GetJob", "CancelJob"}
"""Their success has a test of its own below."""


def label(case: Any) -> str:
    return f"{case.method} {getattr(case, 'reason', '')}"


LARGE_IMAGE = encoded(noise(3, size=300))


class Served(NamedTuple):
    address: str
    models: Path


@pytest.fixture(scope="module", params=["nghttp2", "grpcio"])
def served(request: Any, tmp_path_factory: Any) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("contract")
    save_model(folder / "models", "tiny", worker="shared")
    save_vector_space(folder / "models", feature_dim=cases.DIM)
    options = {"transport": request.param, "max_reply_bytes": 100_000}
    with start_server(folder / "data", folder / "models", server=options) as server:
        yield Served(server.address, folder / "models")


@pytest.fixture(scope="module", params=CALLERS, ids=lambda kind: kind.name)
def caller(request: Any, served: Served) -> Iterator[Caller]:
    made = request.param(served.address)
    yield made
    made.close()


@pytest.fixture
def call(caller: Caller, served: Served) -> Caller:
    """A caller, of a database that holds the items "a" and "b"."""
    with euclidesdb.Client(served.address) as db:
        db.remove_many(filter={"$id": {"$exists": True}})
        for number, name in enumerate("ab", 1):
            db.add(
                name,
                image=cases.IMAGE if name == "a" else None,
                models=["tiny"] if name == "a" else (),
                vectors={"given": np.array(cases.VECTOR) * number},
                attributes={"n": number},
            )
    return caller


def test_every_call_of_the_api_has_a_case_that_goes_well_and_one_that_does_not():
    well = {case.method for case in cases.ANSWERS} | SPECIAL
    badly = {"Backup"} | {case.method for case in cases.REFUSES}
    badly |= {case.method for case in cases.REFUSES_ONE}
    assert well == METHODS
    assert METHODS - badly == {"ListModels", "ListJobs", "Stats", "ImportItems"}


@pytest.mark.parametrize("case", cases.ANSWERS, ids=label)
def test_a_call_answers(call, case):
    result = call(case.use)
    assert case.holds(result), result


def test_a_job_is_found_and_cancelled(call):
    job = call(lambda db: db.embed("tiny"))
    assert call(lambda db: db.job(job.id)).created == job.created
    assert call(lambda db: db.cancel_job(job.id)).is_over


@pytest.mark.parametrize("case", cases.REFUSES, ids=label)
def test_a_call_is_refused_with_its_reason(call, case):
    if case.reason == "reply_too_large":
        call(lambda db: db.add("large", image=LARGE_IMAGE, models=["tiny"]))
    with pytest.raises(euclidesdb.EuclidesDBError) as caught:
        call(case.use)
    assert caught.value.reason == case.reason, caught.value
    assert type(caught.value) is _translation.BY_REASON[case.reason]


@pytest.mark.parametrize("case", cases.REFUSES_ONE, ids=label)
def test_a_call_for_many_refuses_one_alone(call, case):
    result = call(case.use)
    found = getattr(result, "refused", result)
    errors = [error for each in found if (error := getattr(each, "error", None)) is not None]
    assert [error.reason for error in errors] == [case.reason]
    assert [type(error) for error in errors] == [_translation.BY_REASON[case.reason]]


def test_an_export_is_imported(call, tmp_path):
    path = tmp_path / "items.parquet"
    assert call(lambda db: db.export_file(path, include_payloads=True)) == 2
    assert call(lambda db: db.remove_many(["a", "b"])).removed == 2
    imported = call(lambda db: db.import_file(path))
    assert imported == euclidesdb.Imported(2, (), euclidesdb.Changes(added=2))
    assert call(lambda db: db.get("a", include_payload=True)).image == cases.IMAGE


def test_a_backup_has_the_files_and_no_other_can_be_made_meanwhile(call, served):
    with euclidesdb.Client(served.address) as db, db.backup() as backup:
        with pytest.raises(euclidesdb.BackupInProgress):
            call(lambda db: db.backup())
        for file in backup.files():  # when it is complete, another one may begin
            assert sum(map(len, file.pieces())) == file.size
    paths = call(backed_up)
    assert {path.partition("/")[0] for path in paths} == {"data", "models"}
    assert all(paths[path] for path in paths if path.startswith("models/"))


def backed_up(db: Any) -> Any:
    """The files of a backup by either client, and their lengths."""

    async def awaited() -> dict[str, int]:
        async with await db.backup() as backup:
            return {
                file.path: sum([len(piece) async for piece in file.pieces()])
                async for file in backup.files()
            }

    if isinstance(db, euclidesdb.AsyncClient):
        return awaited()
    with db.backup() as backup:
        return {file.path: sum(map(len, file.pieces())) for file in backup.files()}


def test_a_model_is_unloaded_and_loaded_and_its_former_version_dropped(call, served):
    models = served.models
    save_vector_space(models, "changing", feature_dim=2)
    first = call(lambda db: db.load_model("changing"))
    call(lambda db: db.add("c", vectors={"changing": [1.0, 2.0]}))
    call(lambda db: db.unload_model("changing"))
    states = {model.name: model.state for model in call(lambda db: db.models())}
    assert states["changing"] == "unloaded"
    save_vector_space(models, "changing", feature_dim=4)
    assert call(lambda db: db.load_model("changing")).feature_dim == 4
    former = f"changing@{first.fingerprint}"
    assert former in [model.name for model in call(lambda db: db.models())]
    call(lambda db: db.drop_model_version(former))
    assert call(lambda db: db.get("c")).models == ()
    call(lambda db: db.unload_model("changing"))


# Of faults that a real database shows only by chance; each is answered by either client alike.
FAULTY = [
    case
    for case in cases.ANSWERS
    if case.method
    in {"GetItem", "GetItems", "UpdateItem", "RemoveItem", "FindSimilar", "CountItems", "ListItems",
        "SampleItems", "SummarizeItems", "ListModels", "LoadModel", "AddItem"}
]  # fmt: skip


def errors(kind: Any = server_errors.DatabaseError) -> Iterator[Any]:
    if issubclass(kind, server_errors.StartupError):
        return
    yield kind
    for child in kind.__subclasses__():
        yield from errors(child)


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


@pytest.mark.parametrize("kind", CALLERS, ids=lambda kind: kind.name)
@each_as_subtest("error", list(errors()), ids=lambda error: error.__name__)
def test_every_error_reaches_either_client_whatever_was_called(faulty, kind, error):
    faulty.database.fault = error("as scripted")
    call = kind(faulty.address)
    # these are retried, which takes seconds
    repeated = issubclass(error, server_errors.Unavailable)
    called = FAULTY[:1] if repeated else FAULTY
    if error is server_errors.ReplyTooLarge:  # then items are got one by one
        called = [case for case in FAULTY if case.method != "GetItems"]
    try:
        for case in called:
            with pytest.raises(euclidesdb.EuclidesDBError, match="as scripted") as caught:
                call(case.use)
            assert type(caught.value) is _translation.BY_REASON[error.reason], case
    finally:
        call.close()
