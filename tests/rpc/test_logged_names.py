"""What clients send does not reach the log: no payload, and no name that could forge a line."""

from __future__ import annotations

import contextlib

import grpc
import pytest

from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy_pb
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.access.api_keys import new_key
from euclidesdb_server.access.key_file import changed_keys
from euclidesdb_server.values.role import Role
from tests.support.calls import Stubs
from tests.support.models import save_model
from tests.support.servers import start_server

FORGED = "a\r\n2026-01-01 00:00:00 ERROR forged: \x1b[31m\x9b2J\u2028"
PAYLOAD = b"PAYLOAD-OF-A-CLIENT" * 100
TIMEOUT = 60


@pytest.fixture
def guarded(tmp_path):
    save_model(tmp_path / "models")
    (tmp_path / "models" / FORGED).mkdir()
    (tmp_path / "models" / FORGED / "model.conf").write_text(
        "[model]\nname = odd\ninput = vector\nfeature_dim = 3\n"
    )
    file = tmp_path / "keys.json"
    text, key = new_key("app", Role.ADMIN, "now")
    with changed_keys(file) as keys:
        keys.append(key)
    with (
        start_server(tmp_path / "data", tmp_path / "models", auth={"keys_file": file}) as server,
        Stubs(server.address) as stubs,
    ):
        yield stubs, text


def test_hostile_names_and_payloads_do_not_reach_the_log(guarded, caplog):
    caplog.set_level("DEBUG")
    stubs, key = guarded
    v1 = stubs.v1
    image = pb.Payload(image=PAYLOAD)
    calls = [
        (v1.AddItem, pb.AddItemRequest(id=FORGED, payload=image, models=["tiny"])),
        (v1.AddItem, pb.AddItemRequest(id=FORGED, payload=image, models=[FORGED])),
        (v1.AddItem, pb.AddItemRequest(id="x", attributes_json=PAYLOAD.decode())),
        (v1.GetItem, pb.GetItemRequest(id=FORGED)),
        (v1.RemoveItem, pb.RemoveItemRequest(id=FORGED)),
        (v1.LoadModel, pb.LoadModelRequest(folder=FORGED)),  # which is logged
        (v1.LoadModel, pb.LoadModelRequest(name=FORGED)),
        (v1.UnloadModel, pb.UnloadModelRequest(name=FORGED)),
        (v1.DropModelVersion, pb.DropModelVersionRequest(name=FORGED)),
        (stubs.legacy.AddImage, legacy_pb.AddImageRequest(image_data=PAYLOAD, models=["tiny"])),
    ]
    for authorization in (f"Bearer {key}", f"Bearer {key[:-1]}!"):
        for call, request in calls:
            with contextlib.suppress(grpc.RpcError):
                call(request, metadata=(("authorization", authorization),), timeout=TIMEOUT)
    assert caplog.records, "nothing was logged: this proves nothing"
    for record in caplog.records:
        message = record.getMessage()
        assert message.isprintable(), repr(message)
        assert "PAYLOAD" not in message
        assert key[20:] not in message
