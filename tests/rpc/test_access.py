"""Who may make which call: API keys, roles, and addresses that other machines reach."""

from __future__ import annotations

import queue
import re
import threading
from dataclasses import replace

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

import euclidesdb_server.rpc.server
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy_pb
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.access.api_keys import KeySet, new_key
from euclidesdb_server.access.key_file import changed_keys, read_keys
from euclidesdb_server.config.server import ServerConfig, Transport, load_config
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.rpc.access import Access, check_access
from euclidesdb_server.rpc.http2_listener import Http2Listener
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.roles import ROLES
from euclidesdb_server.rpc.transport import listen
from euclidesdb_server.values.role import Role
from tests.rpc.test_transports import needs_nghttp2
from tests.support.calls import Stubs
from tests.support.http2_peer import Http2Peer
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

STATUS = grpc.StatusCode
TIMEOUT = 60
READ = "/euclidesdb.v1.FeatureDatabase/GetItem"


@pytest.fixture(params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def transport(request):
    return Transport(request.param)


@pytest.fixture
def keys(tmp_path):
    """A file of a key of each role, and the keys by role."""
    file = tmp_path / "keys.json"
    made = {}
    with changed_keys(file) as kept:
        for role in Role:
            made[role], key = new_key(f"the-{role}", role, "now")
            kept.append(key)
    return file, made


def serve(tmp_path, transport, **auth):
    save_vector_space(tmp_path / "models", feature_dim=3)
    return start_server(
        tmp_path / "data", tmp_path / "models", server={"transport": transport}, auth=auth
    )


def outcome(call, request, key=None):
    """The status of a call, its reason and its message."""
    metadata = () if key is None else (("authorization", f"Bearer {key}"),)
    try:
        call(request, metadata=metadata, timeout=TIMEOUT)
    except grpc.RpcError as error:
        reasons = [
            entry.value
            for entry in error.trailing_metadata() or ()
            if entry.key == "euclidesdb-reason"
        ]
        return error.code(), *reasons, error.details()
    return (STATUS.OK,)


def calls_of(stubs):
    """A harmless call of each role."""
    return {
        Role.READ: (stubs.v1.ListModels, pb.ListModelsRequest()),
        Role.WRITE: (stubs.v1.RemoveItem, pb.RemoveItemRequest(id="none")),
        Role.ADMIN: (stubs.v1.LoadModel, pb.LoadModelRequest(folder="../x")),
    }


def test_a_key_may_do_what_its_role_and_those_below_it_permit(tmp_path, transport, keys):
    file, made = keys
    with serve(tmp_path, transport, keys_file=file) as server, Stubs(server.address) as stubs:
        for role, key in made.items():
            for required, (call, request) in calls_of(stubs).items():
                status, *rest = outcome(call, request, key)
                if role.may(required):
                    assert status not in (STATUS.UNAUTHENTICATED, STATUS.PERMISSION_DENIED), rest
                else:
                    assert status is STATUS.PERMISSION_DENIED
                    assert rest[0] == "role_required"
                    assert f"'the-{role}' has the role {role}" in rest[1]
                    assert f"requires the role {required}" in rest[1]


def test_a_call_without_a_key_or_with_a_wrong_one_is_refused_without_a_word_of_the_key(
    tmp_path, transport, keys, caplog
):
    file, made = keys
    other, _ = new_key("other", Role.ADMIN, "now")
    right = made[Role.ADMIN]
    wrong = right[:-1] + ("A" if right[-1] != "A" else "B")
    with serve(tmp_path, transport, keys_file=file) as server, Stubs(server.address) as stubs:
        assert outcome(stubs.v1.ListModels, pb.ListModelsRequest(), right) == (STATUS.OK,)
        for key in (None, "x", other, wrong, right.upper(), right + "=", "k" * 5000):
            status, reason, message = outcome(stubs.v1.ListModels, pb.ListModelsRequest(), key)
            assert (status, reason) == (STATUS.UNAUTHENTICATED, "unauthenticated")
            assert not key or len(key) < 2 or key not in message
        for stream in (stubs.v1.ExportItems(pb.ExportItemsRequest(), timeout=TIMEOUT),
                       stubs.v1.AddItemStream(iter(()), timeout=TIMEOUT)):  # fmt: skip
            with pytest.raises(grpc.RpcError) as caught:
                next(stream)
            assert caught.value.code() is STATUS.UNAUTHENTICATED
        basic = stubs.v1.ListModels
        with pytest.raises(grpc.RpcError, match="Bearer KEY"):
            basic(pb.ListModelsRequest(), metadata=[("authorization", f"Basic {right}")])
    assert other not in caplog.text
    assert right not in caplog.text
    assert right not in file.read_text()


def test_euclidesdb_clients_without_keys_are_served_by_an_explicit_setting_alone(
    tmp_path, transport, keys
):
    file, _ = keys
    add = legacy_pb.RemoveImageRequest(image_id=3)
    stop = legacy_pb.ShutdownRequest(shutdown_type=0)
    with serve(tmp_path, transport, keys_file=file) as server, Stubs(server.address) as stubs:
        assert outcome(stubs.legacy.RemoveImage, add)[0] is STATUS.UNAUTHENTICATED
    with (
        serve(tmp_path, transport, keys_file=file, allow_anonymous=True) as server,
        Stubs(server.address) as stubs,
    ):
        assert outcome(stubs.legacy.RemoveImage, add)[0] is STATUS.NOT_FOUND
        assert outcome(stubs.legacy.Shutdown, stop)[:2] == (
            STATUS.UNAUTHENTICATED,
            "unauthenticated",
        )
        # a key that is not accepted is not the same as no key
        refused = outcome(stubs.legacy.RemoveImage, add, "euclidesdb_wrong")
        assert refused[0] is STATUS.UNAUTHENTICATED


def test_the_role_of_calls_without_a_key_can_be_set(tmp_path, transport):
    with (
        serve(tmp_path, transport, anonymous_role=Role.READ) as server,
        Stubs(server.address) as stubs,
    ):
        assert outcome(stubs.v1.ListModels, pb.ListModelsRequest()) == (STATUS.OK,)
        status, reason, message = outcome(stubs.v1.RemoveItem, pb.RemoveItemRequest(id="x"))
        assert (status, reason) == (STATUS.PERMISSION_DENIED, "role_required")
        assert "anonymous_role" in message


def test_keys_are_added_and_revoked_while_the_server_runs(tmp_path, transport, keys, caplog):
    file, made = keys
    with serve(tmp_path, transport, keys_file=file) as server, Stubs(server.address) as stubs:

        def status(key):
            return outcome(stubs.v1.ListModels, pb.ListModelsRequest(), key)[0]

        text, key = new_key("second", Role.READ, "now")
        with changed_keys(file) as kept:
            kept.append(key)
        wait_for(lambda: status(text) is STATUS.OK, "the new key")
        assert status(made[Role.READ]) is STATUS.OK
        with changed_keys(file) as kept:
            kept[:] = [each for each in kept if each.name != "second"]
        wait_for(lambda: status(text) is STATUS.UNAUTHENTICATED, "the revocation")
        file.write_text("{")
        wait_for(lambda: "stay as they were" in caplog.text, "the error")
        assert status(made[Role.READ]) is STATUS.OK


class AddStream:
    """An open stream of adds, with one item in it."""

    def __init__(self, stubs, key):
        self._requests = queue.SimpleQueue()
        self.replies = stubs.v1.AddItemStream(
            iter(self._requests.get, None),
            metadata=(("authorization", f"Bearer {key}"),),
            timeout=TIMEOUT,
        )
        self.add("a")
        assert next(self.replies).outcomes[0].WhichOneof("outcome") == "added"

    def add(self, item_id):
        self._requests.put(pb.AddItemStreamRequest(items=[item(item_id)]))

    def close(self):
        self._requests.put(None)


def item(item_id):
    vector = pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=[3], data=bytes(12))
    return pb.AddItemRequest(id=item_id, vectors={"given": pb.Vector(values=vector)})


def end_of(stream):
    with pytest.raises(grpc.RpcError) as caught:
        for _ in stream:
            pass
    reasons = [
        entry.value
        for entry in caught.value.trailing_metadata() or ()
        if entry.key == "euclidesdb-reason"
    ]
    return caught.value.code(), *reasons


def test_the_open_streams_of_a_revoked_key_end_and_no_others(tmp_path, transport, keys):
    file, made = keys
    with serve(tmp_path, transport, keys_file=file) as server, Stubs(server.address) as stubs:
        opened = [AddStream(stubs, made[role]) for role in (Role.WRITE, Role.ADMIN)]
        with changed_keys(file) as kept:
            kept[:] = [each for each in kept if each.role is not Role.WRITE]
        assert end_of(opened[0].replies) == (STATUS.UNAUTHENTICATED, "unauthenticated")
        opened[1].add("b")
        opened[1].close()
        assert [reply.position for reply in opened[1].replies] == [1]


def test_the_open_streams_of_a_key_whose_role_is_lowered_end(tmp_path, transport, keys):
    file, made = keys
    with serve(tmp_path, transport, keys_file=file) as server, Stubs(server.address) as stubs:
        stream = AddStream(stubs, made[Role.WRITE])
        with changed_keys(file) as kept:
            kept[:] = [
                replace(each, role=Role.READ) if each.role is Role.WRITE else each for each in kept
            ]
        assert end_of(stream.replies) == (STATUS.PERMISSION_DENIED, "role_required")
        stream.close()


def test_a_stream_of_a_revoked_key_sends_nothing_more_though_its_client_does_not_read(
    tmp_path, transport, keys
):
    file, made = keys
    admin = (("authorization", f"Bearer {made[Role.ADMIN]}"),)
    reader = (("authorization", f"Bearer {made[Role.READ]}"),)
    with serve(tmp_path, transport, keys_file=file) as server, Stubs(server.address) as stubs:
        for at in range(40):
            large = item(f"{at}")
            large.metadata = bytes(1_000_000)
            stubs.v1.AddItem(large, metadata=admin, timeout=TIMEOUT)
        export = stubs.v1.ExportItems(pb.ExportItemsRequest(), metadata=reader, timeout=TIMEOUT)
        read = [len(next(export).data)]
        with changed_keys(file) as kept:
            kept[:] = [each for each in kept if each.role is not Role.READ]

        def open_streams():
            stats = stubs.v1.Stats(pb.StatsRequest(), metadata=admin, timeout=TIMEOUT)
            return stats.streams_open

        wait_for(lambda: open_streams() == 0, "the end of the stream")
        read.extend(len(reply.data) for reply in until_unauthenticated(export))
        assert sum(read) < 20_000_000


def until_unauthenticated(replies):
    with pytest.raises(grpc.RpcError) as caught:
        yield from replies
    assert caught.value.code() is STATUS.UNAUTHENTICATED


def test_every_method_that_is_served_has_a_role(tmp_path, monkeypatch):
    """A method without one would be for admins alone; it must be in the table all the same."""
    paths = []

    def recording(methods, *arguments, **options):
        methods = [*methods]
        paths.extend(method.path for method in methods)
        return listen(methods, *arguments, **options)

    monkeypatch.setattr(euclidesdb_server.rpc.server, "listen", recording)
    serve(tmp_path, Transport.GRPCIO).close()
    assert paths
    assert set(paths) <= set(ROLES)


@needs_nghttp2
def test_a_call_is_refused_before_its_message_arrives():
    echo = Method(READ, BytesValue.FromString, lambda r, _: r, Lane.CALLS, bool)
    listener = Http2Listener([echo], ServerConfig(address="127.0.0.1:0"), Access(KeySet([]), None))
    try:
        with Http2Peer(listener.address) as peer:
            call = peer.begin(READ, bytes(1000))
            assert call.answer().headers[b"grpc-status"] == b"16"
            assert listener._calls.answerer._bytes == 0
    finally:
        listener.close()


def test_one_client_cannot_take_all_calls_of_the_others(transport, keys):
    """A client is a key, or an address: here two keys at one address."""
    file, made = keys
    config = ServerConfig(
        address="127.0.0.1:0", transport=transport, max_calls_per_client=2, shutdown_grace=0
    )
    gate, begun = threading.Event(), threading.Semaphore(0)

    def hold(request, _):
        begun.release()
        gate.wait(TIMEOUT)
        return request

    held = Method(READ, BytesValue.FromString, hold, Lane.CALLS, lambda _: False)
    listener = listen([held], config, access=Access(KeySet(read_keys(file)), Role.WRITE))
    try:
        with grpc.insecure_channel(listener.address) as channel:
            method = channel.unary_unary(READ, BytesValue.SerializeToString, BytesValue.FromString)

            def begin(key):
                metadata = (("authorization", f"Bearer {key}"),) if key else ()
                return method.future(BytesValue(value=b"x"), metadata=metadata, timeout=TIMEOUT)

            first = [begin(made[Role.READ]) for _ in range(2)]
            for _ in first:
                begun.acquire()
            refused = begin(made[Role.READ])
            assert refused.code() is STATUS.RESOURCE_EXHAUSTED
            assert "2 calls of the client key the-read are being answered" in refused.details()
            others = [begin(made[Role.ADMIN]), begin(None)]
            for _ in others:
                begun.acquire()
            gate.set()
            assert {call.code() for call in [*first, *others]} == {STATUS.OK}
            assert begin(made[Role.READ]).code() is STATUS.OK
    finally:
        gate.set()
        listener.close()


def test_one_client_cannot_take_all_streams_of_the_others(transport, keys):
    file, made = keys
    config = ServerConfig(
        address="127.0.0.1:0", transport=transport, max_streams_per_client=2, shutdown_grace=0
    )

    async def echo(requests, _):
        async for request in requests:
            yield request

    method = Method(
        READ, BytesValue.FromString, echo, Lane.CALLS, lambda _: False,
        streams_requests=True, streams_replies=True,
    )  # fmt: skip
    listener = listen([method], config, access=Access(KeySet(read_keys(file))))
    ends = threading.Event()

    def requests():
        yield BytesValue(value=b"x")
        ends.wait(TIMEOUT)

    try:
        with grpc.insecure_channel(listener.address) as channel:
            stub = channel.stream_stream(READ, BytesValue.SerializeToString, BytesValue.FromString)

            def begin(key):
                metadata = (("authorization", f"Bearer {key}"),)
                return stub(requests(), metadata=metadata, timeout=TIMEOUT)

            first = [begin(made[Role.READ]) for _ in range(2)]
            assert [next(stream).value for stream in first] == [b"x", b"x"]
            with pytest.raises(grpc.RpcError, match="max_streams_per_client permits no more"):
                next(begin(made[Role.READ]))
            assert next(begin(made[Role.ADMIN])).value == b"x"
            ends.set()
    finally:
        ends.set()
        listener.close()


def test_too_many_items_in_a_call_are_refused(tmp_path, transport):
    with serve(tmp_path, transport) as server, Stubs(server.address) as stubs:
        for call, request in (
            (stubs.v1.AddItems, pb.AddItemsRequest(items=[pb.AddItemRequest()] * 100_001)),
            (stubs.v1.GetItems, pb.GetItemsRequest(ids=["x"] * 100_001)),
        ):
            status, reason, message = outcome(call, request)
            assert (status, reason) == (STATUS.INVALID_ARGUMENT, "invalid_request")
            assert "100,000" in message


def config_of(tmp_path, text):
    file = tmp_path / "a.conf"
    file.write_text(f"{text}\n[models]\ndir_path = m\n[database]\ndb_path = d\n")
    return load_config(file, [])


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "db.example:1"])
def test_a_server_that_other_machines_reach_must_know_who_may_call(tmp_path, address):
    server = f"[server]\naddress = {address}"
    with pytest.raises(ConfigError) as caught:
        check_access(config_of(tmp_path, server))
    for words in ("a.conf: [server] address", address, "key create", "keys_file",
                  "allow_anonymous = true", "--allow-anonymous"):  # fmt: skip
        assert words in str(caught.value)
    for section in ("allow_anonymous = yes", "keys_file = k"):
        check_access(config_of(tmp_path, f"{server}\n[auth]\n{section}"))


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "[::]:9464", "10.1.2.3:9464", "host:9464"])
def test_metrics_that_other_machines_reach_need_an_explicit_permission(tmp_path, address):
    metrics = f"[auth]\nkeys_file = k\n[metrics]\naddress = {address}\n"
    with pytest.raises(ConfigError) as caught:
        check_access(config_of(tmp_path, metrics))
    for words in ("a.conf: [metrics] address", address, "allow_anonymous = true in [metrics]"):
        assert words in str(caught.value)
    check_access(config_of(tmp_path, f"{metrics}allow_anonymous = true"))
    check_access(config_of(tmp_path, metrics.replace("keys_file = k", "allow_anonymous = true")))


@pytest.mark.parametrize("address", ["9464", "127.0.0.1:9464", "[::1]:9464", "localhost:9464"])
def test_metrics_of_this_machine_alone_need_no_permission(tmp_path, address):
    check_access(config_of(tmp_path, f"[metrics]\naddress = {address}"))


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0", "unix:a"])
def test_a_server_of_this_machine_alone_needs_no_keys(tmp_path, address):
    check_access(config_of(tmp_path, f"[server]\naddress = {address}"))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("allow_anonymous = false", "allow_anonymous = false needs [auth] keys_file"),
        ("keys_file = k\nanonymous_role = read", "anonymous_role = read has no effect"),
    ],
)
def test_contradictions_are_named(tmp_path, section, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        check_access(config_of(tmp_path, f"[auth]\n{section}"))


def test_an_unknown_role_is_named(tmp_path):
    with pytest.raises(ConfigError, match="anonymous_role = 'root'"):
        config_of(tmp_path, "[auth]\nanonymous_role = root")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no file .*key create"),
        ("", "is not a file of API keys"),
        ('{"version": 2, "keys": []}', "version 2"),
        ('{"version": 1, "keys": [{"name": "a", "role": "root", "id": "1", "sha256": "", '
         '"created": ""}]}', "is not a file of API keys: Invalid enum value 'root'"),
        ('{"version": 1, "keys": [{"name": "a", "role": "read", "id": "1", "sha256": "", '
         '"created": ""}]}', "'a' is malformed"),
    ],
)  # fmt: skip
def test_a_file_of_keys_that_cannot_be_read_keeps_the_server_from_starting(tmp_path, text, words):
    file = tmp_path / "keys.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        serve(tmp_path, Transport.GRPCIO, keys_file=file)
