"""A client of HTTP/2 that sends what a test wants, frame by frame, and reads only when asked."""

from __future__ import annotations

import socket
import ssl
from collections import defaultdict
from dataclasses import dataclass, field
from typing import ClassVar, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import Frame

from euclidesdb_server.rpc.framing import prefix_of

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_SETTINGS = bytes(3) + b"\4" + bytes(5)
FIRST_WINDOW = 65535
TIMEOUT = 60


@dataclass
class Answer:
    """What came back on a stream. reset: the code, if it was reset."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def message(self) -> bytes:
        """That of a reply, whose call was answered."""
        assert self.headers.get(b"grpc-status") == b"0", self.headers
        return self.data[5:]

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.ended or self.reset is not None


class Http2Peer:
    """One connection to a server at `address`, "127.0.0.1:port".

    window: bytes that the server may send on a stream before they are read; if it is more than a
    connection's at first, on the connection, too.
    closed: whether the server has closed the connection.
    """

    tls: ClassVar[ssl.SSLContext | None] = None
    """With which all peers connect from now on; None: they do not encrypt."""

    def __init__(self, address: str, *, window: int = FIRST_WINDOW) -> None:
        host, _, port = address.rpartition(":")
        self.closed = False
        self._socket = socket.create_connection((host, int(port)), timeout=TIMEOUT)
        if self.tls is not None:
            self._socket = self.tls.wrap_socket(self._socket, server_hostname="localhost")
        self._answers: defaultdict[int, Answer] = defaultdict(Answer)
        config = h2.config.H2Configuration(
            client_side=True, header_encoding=None, validate_outbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        if window > FIRST_WINDOW:
            self._h2.increment_flow_control_window(window - FIRST_WINDOW)
        self._flush()

    def begin(
        self, path: str, message: bytes, *, is_compressed: bool = False, **headers: str
    ) -> Call:
        """Send the headers of a call, and nothing of its message yet."""
        stream = self._h2.get_next_available_stream_id()
        values = {
            ":method": "POST",
            ":scheme": "http",
            ":authority": "test",
            ":path": path,
            "content-type": "application/grpc",
            "te": "trailers",
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }
        self._h2.send_headers(stream, [*values.items()])
        self._flush()
        return Call(self, stream, bytes([is_compressed]) + prefix_of(message)[1:] + message)

    def call(self, path: str, message: bytes, **headers: str) -> Answer:
        """Make a call, and wait for its end."""
        begun = self.begin(path, message, is_compressed=False, **headers)
        begun.send()
        return begun.answer()

    def send_data(self, stream: int, data: bytes) -> None:
        """Send as much as the server allows at once, and wait until it allows more."""
        while data and not self.closed and not self._answers[stream].over:
            size = min(self._h2.local_flow_control_window(stream), len(data), 16384)
            if size:
                self._h2.send_data(stream, data[:size])
                data = data[size:]
                self._flush()
            else:
                self._read()

    def window(self, stream: int) -> int:
        """How many bytes of a stream the server permits now, as far as is known."""
        return self._h2.local_flow_control_window(stream)

    def send_frames(self, *frames: Frame) -> None:
        """Send frames as they are, whether HTTP/2 permits them or not."""
        self.send_bytes(b"".join(frame.serialize() for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        """Send any bytes; the server may close the connection meanwhile."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.closed = True
        except OSError:
            if self._socket.fileno() >= 0:
                raise
            self.closed = True  # by another thread, in the middle of sending

    def reset(self, stream: int) -> None:
        """Leave a call."""
        self._h2.reset_stream(stream, 8)
        self._flush()

    def end(self, stream: int) -> None:
        """Send nothing more on a stream."""
        self._h2.end_stream(stream)
        self._flush()

    def answer(self, stream: int) -> Answer:
        """Read until a stream is over or the connection is closed."""
        while not (self._answers[stream].over or self.closed):
            self._read()
        return self._answers[stream]

    def answer_so_far(self, stream: int) -> Answer:
        """What has been read of a stream."""
        return self._answers[stream]

    def wait_until_closed(self) -> None:
        """Read until the server closes the connection."""
        while not self.closed:
            self._read()

    def close(self) -> None:
        """Leave without a word."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        if not data:
            self.closed = True
            return
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:  # after the server's GOAWAY, h2 reads no more
            self.closed = True
            return
        for event in events:
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self._answers[event.stream_id].headers |= dict(event.headers)
            case h2.events.DataReceived():
                self._answers[event.stream_id].data += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self._answers[event.stream_id].ended = True
            case h2.events.StreamReset():
                self._answers[event.stream_id].reset = int(event.error_code)

    def _flush(self) -> None:
        self.send_bytes(self._h2.data_to_send())


class Call:
    """A call that is made in parts."""

    def __init__(self, peer: Http2Peer, stream: int, rest: bytes) -> None:
        self.peer = peer
        self.stream = stream
        self._rest = rest

    def send(self, size: int | None = None) -> None:
        """Send so many bytes more of the message; all by default."""
        size = len(self._rest) if size is None else size
        sent, self._rest = self._rest[:size], self._rest[size:]
        self.peer.send_data(self.stream, sent)

    def answer(self) -> Answer:
        """Wait for its end."""
        return self.peer.answer(self.stream)

    def answer_so_far(self) -> Answer:
        """What has been read of it."""
        return self.peer.answer_so_far(self.stream)
