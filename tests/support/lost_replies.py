"""A proxy between a client and a server that loses the reply to one call.

The server gets the request, applies it and replies; the client sees its connection break.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

HEADERS = 1  # a type of HTTP/2's frames: a server sends it only as the begin of a reply


class ReplyLoser:
    """Connects each client to `upstream` (host:port), which may change. Close it."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.lost = 0
        self._meanwhile: Callable[[], object] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, name="reply-loser")
        self._accepting.start()

    def lose_next(self, meanwhile: Callable[[], object]) -> None:
        """Lose the next reply; before the client learns of it, `meanwhile` is called."""
        self._meanwhile = meanwhile

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        host, port = self.upstream.rsplit(":", 1)
        try:
            server = socket.create_connection((host, int(port)), timeout=60)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        requests = threading.Thread(target=_forward, args=[client, server], daemon=True)
        requests.start()
        self._forward_replies(server, client)
        for end in (client, server):
            _end(end)
        requests.join()
        client.close()
        server.close()

    def _forward_replies(self, server: socket.socket, client: socket.socket) -> None:
        reader = server.makefile("rb")
        while True:
            try:
                head = reader.read(9)
                if len(head) < 9:
                    return
                frame = head + reader.read(int.from_bytes(head[:3], "big"))
                if head[3] == HEADERS and self._meanwhile is not None:
                    meanwhile, self._meanwhile = self._meanwhile, None
                    meanwhile()
                    self.lost += 1
                    return
                client.sendall(frame)
            except OSError:
                return


def _forward(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    _end(target)


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
