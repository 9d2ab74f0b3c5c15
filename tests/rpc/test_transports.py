"""What clients see on the wire, by whichever transport: every test runs with each of them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from concurrent.futures import Future
from ctypes.util import find_library
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from euclidesdb_server.config.server import ServerConfig, Transport
from euclidesdb_server.database.steps import Wait
from euclidesdb_server.errors import ConfigError, InvalidRequest, ModelUnavailable
from euclidesdb_server.rpc import grpcio
from euclidesdb_server.rpc.http2_listener import Http2Listener
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.nghttp2_library import Nghttp2Unavailable
from euclidesdb_server.rpc.transport import listen
from tests.support.calls import Refusal, refusal
from tests.support.waiting import wait_for

TIMEOUT = 100
MIB = 1 << 20
STATUS = grpc.StatusCode
ODD_TEXT = "the 'väl\nue' 100%25 of \x7f\t 猫"

needs_nghttp2 = pytest.mark.skipif(
    find_library("nghttp2") is None, reason="the library nghttp2 is not installed"
)


@pytest.fixture(scope="module", params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def transport(request):
    return Transport(request.param)


class Service:
    """Methods that echo, fail or wait, and what has become of their calls."""

    def __init__(self) -> None:
        self.fault: Exception = ValueError("none")
        self.begun = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.gate = threading.Event()
        self.remaining: list[float | None] = []

    def methods(self):
        def method(name, handle, *, quick=False):
            return Method(
                f"/test.Test/{name}", BytesValue.FromString, handle, Lane.CALLS, lambda _: quick
            )

        return [
            method("Quick", lambda request, _: request, quick=True),
            method("Echo", lambda request, _: request),
            method("Fail", self._fail),
            method("FailQuickly", self._fail, quick=True),
            method("Hold", self._hold),
            method("Wait", self._wait),
        ]

    def _fail(self, *_):
        raise self.fault

    def _hold(self, request, call):
        """Hold a thread until the gate opens."""
        call.on_done(self.ended.release)
        self.remaining.append(call.time_remaining())
        self.begun.release()
        self.gate.wait(TIMEOUT)
        return request

    async def _wait(self, request, call):
        """Wait without a thread, for ever."""
        call.on_done(self.ended.release)
        self.begun.release()
        await Wait(Future(), None)
        return request


class Served:
    """A listener of a `Service`, and a channel to it."""

    def __init__(self, transport, **config):
        self.service = Service()
        config = {"address": "127.0.0.1:0", "threads": 2, "shutdown_grace": 0.0, **config}
        self.listener = listen(self.service.methods(), ServerConfig(transport=transport, **config))
        self.channel = self.new_channel()

    def new_channel(self, *options):
        target = self.listener.address.replace("[::]", "[::1]").replace("0.0.0.0", "127.0.0.1")
        no_limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        own = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(target, options=[*no_limits, *own, *options])

    def method(self, name, channel=None):
        return (channel or self.channel).unary_unary(
            f"/test.Test/{name}", BytesValue.SerializeToString, BytesValue.FromString
        )

    def echo(self, value: bytes, name="Echo", **options) -> bytes:
        return self.method(name)(BytesValue(value=value), timeout=TIMEOUT, **options).value

    def calls_in_flight(self) -> int:
        """Those that the server has admitted and not answered."""
        listener = self.listener
        calls = listener._calls if isinstance(listener, Http2Listener) else None
        answerer = listener._answerer if calls is None else calls.answerer
        return answerer._calls

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
        self.service.gate.set()
        self.listener.close()


@pytest.fixture(scope="module")
def shared(transport):
    with Served(transport, max_message_bytes=MIB) as served:
        yield served


@pytest.fixture
def served(transport):
    with Served(transport) as served:
        yield served


@pytest.mark.parametrize("name", ["Quick", "Echo"])
def test_a_call_is_answered(shared, name):
    assert shared.echo(b"", name) == b""
    assert shared.echo(bytes(range(256)), name) == bytes(range(256))


@pytest.mark.parametrize("name", ["Fail", "FailQuickly"])
def test_a_failure_has_its_status_reason_and_message(shared, name):
    shared.service.fault = InvalidRequest(ODD_TEXT)
    refused = refusal(shared.method(name), BytesValue())
    assert refused == Refusal(STATUS.INVALID_ARGUMENT, "invalid_request", ODD_TEXT)


def test_a_failure_has_no_message_and_no_initial_metadata_so_that_it_may_be_retried(shared):
    shared.service.fault = ModelUnavailable("loading")
    with pytest.raises(grpc.RpcError) as caught:
        shared.method("Fail")(BytesValue(), timeout=TIMEOUT)
    error: Any = caught.value
    assert error.initial_metadata() == ()
    sent = {key: value for key, value in error.trailing_metadata() if key != "date"}
    assert sent.pop("x-request-id")
    assert sent == {"euclidesdb-reason": "model_unavailable", "grpc-retry-pushback-ms": "-1"}


@pytest.mark.parametrize("name", ["Fail", "FailQuickly"])
def test_a_fault_of_ours_is_internal_and_keeps_its_text_in_the_log(shared, name, caplog):
    shared.service.fault = ValueError("secret")
    refused = refusal(shared.method(name), BytesValue())
    assert refused == Refusal(STATUS.INTERNAL, None, "internal error")
    assert "secret" in caplog.text


def test_an_unknown_method_is_unimplemented(shared):
    assert refusal(shared.method("Absent"), BytesValue()).status is STATUS.UNIMPLEMENTED


@pytest.mark.parametrize("name", ["Quick", "Echo"])
def test_an_unparsable_message_is_refused(shared, name):
    refused = refusal(shared.channel.unary_unary(f"/test.Test/{name}"), b"\xff")
    assert (refused.status, refused.reason) == (STATUS.INVALID_ARGUMENT, "invalid_request")


def test_a_message_at_the_limit_is_served_and_a_longer_one_is_refused(shared):
    overhead = BytesValue(value=bytes(MIB)).ByteSize() - MIB
    assert len(shared.echo(bytes(MIB - overhead))) == MIB - overhead
    for more in (1, 20 * MIB):
        refused = refusal(shared.method("Echo"), BytesValue(value=bytes(MIB - overhead + more)))
        expected = f"Received message larger than max ({MIB + more} vs. {MIB})"
        assert (refused.status, refused.message) == (STATUS.RESOURCE_EXHAUSTED, expected) or (
            # grpcio resets a stream whose sender is still at it
            "larger than max" in refused.message
        )
    assert shared.echo(b"still") == b"still"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_read(shared, compression):
    assert shared.echo(bytes(100_000), compression=compression) == bytes(100_000)


def test_a_message_that_is_too_long_only_when_decompressed_is_refused(shared):
    method = shared.method("Echo")
    with pytest.raises(grpc.RpcError, match="larger than max") as caught:
        method(BytesValue(value=bytes(8 * MIB)), compression=grpc.Compression.Gzip)
    assert caught.value.code() is STATUS.RESOURCE_EXHAUSTED


def test_64_mib_pass_in_both_directions(served):
    value = bytes(64 * MIB - 100)
    assert served.echo(value) == value


def test_a_stream_that_its_client_leaves_open_is_answered(shared):
    done = threading.Event()

    def messages():
        yield BytesValue(value=b"first")
        done.wait(TIMEOUT)

    call = shared.channel.stream_unary(
        "/test.Test/Echo", BytesValue.SerializeToString, BytesValue.FromString
    )
    try:
        assert call(messages(), timeout=TIMEOUT).value == b"first"
    finally:
        done.set()


def test_a_stream_without_a_message_is_refused(shared):
    call = shared.channel.stream_unary("/test.Test/Echo")
    with pytest.raises(grpc.RpcError, match="without a message") as caught:
        call(iter(()), timeout=TIMEOUT)
    assert caught.value.code() is STATUS.INVALID_ARGUMENT


NODE = shutil.which("node")
CALL_FROM_NODE = """
const client = require("http2").connect("http://" + process.argv[1]);
const call = client.request({
  ":method": "POST", ":path": "/test.Test/" + process.argv[2],
  "content-type": "application/grpc+proto", "te": "trailers",
});
const got = [];
call.on("response", (headers) => got.push(headers[":status"], headers["grpc-status"] ?? ""));
call.on("trailers", (trailers) => got.push(trailers["grpc-status"] ?? ""));
call.on("data", (data) => got.push(data.toString("hex")));
call.on("close", () => { console.log(got.join(" ")); client.destroy(); });
const message = Buffer.from("00000000030a0178", "hex");
// byte by byte, and the end of the stream in a frame of its own
let at = 0;
const send = () => {
  if (at < message.length) call.write(message.subarray(at, ++at), () => setTimeout(send, 5));
  else setTimeout(() => call.end(), 5);
};
send();
"""


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
@pytest.mark.parametrize(
    ("name", "expected"),
    [("Quick", "200  00000000030a0178 0"), ("Hold", "200  00000000030a0178 0"), ("No", "200 12")],
)
def test_http2_by_another_program_in_small_pieces(served, name, expected):
    served.service.gate.set()
    command = [str(NODE), "-e", CALL_FROM_NODE, "--", served.listener.address, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    assert done.stdout.strip() == expected


def test_a_client_that_sends_nothing_is_not_waited_for(transport):
    done = threading.Event()

    def messages():
        done.wait(TIMEOUT)
        yield from ()

    with Served(transport, message_timeout=0.5) as served:
        call = served.channel.stream_unary("/test.Test/Echo").future(messages())
        try:
            assert "[server] message_timeout = 0.5 s" in call.exception(TIMEOUT).details()
            assert call.code() is STATUS.DEADLINE_EXCEEDED
        finally:
            done.set()


@pytest.mark.parametrize("name", ["Hold", "Wait"])
def test_a_deadline_ends_the_call_on_both_sides(served, name):
    with pytest.raises(grpc.RpcError) as caught:
        served.method(name)(BytesValue(), timeout=0.5)
    assert caught.value.code() is STATUS.DEADLINE_EXCEEDED
    assert served.service.ended.acquire(timeout=TIMEOUT)


def test_the_handler_knows_the_deadline(served):
    served.service.gate.set()
    served.method("Hold")(BytesValue(), timeout=50)
    served.method("Hold")(BytesValue())
    near, none = served.service.remaining
    assert 40 < near < 51  # gRPC allows for clocks
    assert none is None


@pytest.mark.parametrize("name", ["Hold", "Wait"])
def test_a_call_that_is_cancelled_ends_on_the_server(served, name):
    call = served.method(name).future(BytesValue())
    assert served.service.begun.acquire(timeout=TIMEOUT)
    call.cancel()
    assert served.service.ended.acquire(timeout=TIMEOUT)


@pytest.mark.parametrize("name", ["Hold", "Wait"])
def test_a_lost_connection_ends_its_calls(served, name):
    with served.new_channel() as channel:
        call = served.method(name, channel).future(BytesValue())
        assert served.service.begun.acquire(timeout=TIMEOUT)
    assert served.service.ended.acquire(timeout=TIMEOUT)
    assert call.done()


def test_a_call_that_is_cancelled_while_it_is_queued_never_begins(served):
    held = [served.method("Hold").future(BytesValue()) for _ in range(2)]
    for _ in held:
        assert served.service.begun.acquire(timeout=TIMEOUT)
    queued = [served.method("Hold").future(BytesValue()) for _ in range(3)]
    wait_for(lambda: served.calls_in_flight() == 5, "all have arrived")
    for call in queued:
        call.cancel()
    wait_for(lambda: served.calls_in_flight() == 2, "the server knows that they are over")
    served.service.gate.set()
    assert [call.result(TIMEOUT).value for call in held] == [b"", b""]
    assert served.echo(b"free") == b"free"
    assert len(served.service.remaining) == 2


def test_hundreds_of_calls_wait_on_one_connection(served):
    waiting = [served.method("Wait").future(BytesValue()) for _ in range(500)]
    for _ in waiting:
        assert served.service.begun.acquire(timeout=TIMEOUT)
    assert served.echo(b"other") == b"other"
    for call in waiting:
        call.cancel()
    for _ in waiting:
        assert served.service.ended.acquire(timeout=TIMEOUT)


def test_a_client_may_ping_often(transport, monkeypatch):
    monkeypatch.setattr(grpcio, "PING_INTERVAL_MS", 200)
    pings = [
        ("grpc.keepalive_time_ms", 500),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with Served(transport) as served, served.new_channel(*pings) as channel:
        call = served.method("Wait", channel).future(BytesValue())
        with pytest.raises(grpc.FutureTimeoutError):  # without the permission, it ends after four
            call.result(timeout=4)


def has_ipv6():
    """Whether this machine has it; a container may not."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "[::1]:0", "localhost:0", "[::]:0", "0.0.0.0:0", "unix:{}/socket"]
)
def test_a_server_listens_at_any_kind_of_address(transport, tmp_path, address):
    if address.startswith("[") and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    address = address.format(tmp_path)
    with Served(transport, address=address) as served:
        expected = address if address.startswith("unix:") else address[:-1]
        assert served.listener.address.startswith(expected)
        assert not served.listener.address.endswith(":0")
        assert served.echo(b"x") == b"x"
    assert not (tmp_path / "socket").exists()


def test_a_port_in_use_is_refused_with_the_cause(transport, served):
    address = served.listener.address
    with pytest.raises(ConfigError, match="another program uses the port"):
        listen([], ServerConfig(transport=transport, address=address))
    assert served.echo(b"x") == b"x"


def test_a_port_can_be_used_again_at_once(transport):
    with Served(transport) as served:
        address = served.listener.address
        assert served.echo(b"x") == b"x"
    with Served(transport, address=address) as served:
        assert served.echo(b"y") == b"y"


def test_a_call_in_flight_is_finished_when_the_server_stops_and_new_ones_are_refused(transport):
    with Served(transport, shutdown_grace=60.0) as served:
        held = served.method("Hold").future(BytesValue(value=bytes(8 * MIB)))
        assert served.service.begun.acquire(timeout=TIMEOUT)
        closing = threading.Thread(target=served.listener.close)
        closing.start()
        codes = set()

        def refused():
            error = served.method("Quick").future(BytesValue()).exception(TIMEOUT)
            codes.add(None if error is None else error.code())
            return error is not None

        wait_for(refused, "a refusal")
        assert codes <= {None, STATUS.UNAVAILABLE, STATUS.CANCELLED}
        assert not held.done()
        served.service.gate.set()
        assert len(held.result(TIMEOUT).value) == 8 * MIB
        closing.join()


def test_a_call_past_the_grace_period_ends_when_the_server_stops(transport):
    with Served(transport, shutdown_grace=0.1) as served:
        call = served.method("Wait").future(BytesValue())
        assert served.service.begun.acquire(timeout=TIMEOUT)
        served.listener.close()
        assert call.exception(TIMEOUT).code() in (STATUS.UNAVAILABLE, STATUS.CANCELLED)
        assert served.service.ended.acquire(timeout=TIMEOUT)


def test_a_port_that_is_taken_at_the_last_moment_is_refused_with_the_cause(transport, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for module in ("grpcio", "http2_listener"):
            monkeypatch.setattr(f"euclidesdb_server.rpc.{module}.check_address", lambda *_: None)
        with pytest.raises(ConfigError, match="cannot listen"):
            listen([], ServerConfig(transport=transport, address=address))


def absent() -> None:
    raise Nghttp2Unavailable("the library nghttp2 is not installed (Debian: libnghttp2-14)")


def test_nghttp2_that_is_asked_for_and_absent_is_an_error(monkeypatch):
    monkeypatch.setattr("euclidesdb_server.rpc.http2_listener.check_available", absent)
    with pytest.raises(ConfigError, match=r"transport = nghttp2: .* install it, or choose grpcio"):
        listen([], ServerConfig(transport=Transport.NGHTTP2, address="127.0.0.1:0"))


def test_grpcio_serves_where_nghttp2_is_not_installed(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("euclidesdb_server.rpc.http2_listener.check_available", absent)
    with Served(Transport.AUTO) as served:
        assert served.echo(b"x") == b"x"
    assert "transport: grpcio (the library nghttp2 is not installed" in caplog.text


@needs_nghttp2
def test_nghttp2_serves_where_it_is_installed(caplog):
    caplog.set_level("INFO")
    with Served(Transport.AUTO) as served:
        assert served.echo(b"x") == b"x"
    assert "transport: nghttp2" in caplog.text
