"""The page of troubleshooting has an entry for every reason, and for every message of a start."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import grpc

import euclidesdb_server.app  # noqa: F401  # with all that defines errors
from euclidesdb import _errors
from euclidesdb._add_stream import __file__ as add_stream
from euclidesdb._translation import BY_REASON
from euclidesdb_server.errors import DatabaseError, StartupError
from euclidesdb_server.inference.model_folder import MODEL_CONF
from euclidesdb_server.rpc import status
from euclidesdb_server.worker.model_files import EXPORTED, TORCHSCRIPT
from tests.project.tree import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SERVER = ROOT / "server" / "euclidesdb_server"
PARTS = ("- **Look at**", "- **Do**")
CONSTANTS = {"MODEL_CONF": MODEL_CONF, "TORCHSCRIPT": TORCHSCRIPT, "EXPORTED": EXPORTED}
MIN_LETTERS = 8
"""A message with fewer of its own only passes on another one: "{file}: {error}"."""


def subclasses(kind: type[DatabaseError]) -> set[type[DatabaseError]]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def entries() -> dict[str, str]:
    """What the page says under each heading of the third level."""
    parts = re.split(r"^### (.+)\n", PAGE, flags=re.MULTILINE)[1:]
    texts = (re.split(r"^## ", text, flags=re.MULTILINE)[0] for text in parts[1::2])
    return dict(zip(parts[::2], texts, strict=True))


def messages_of_starts() -> Iterator[tuple[str, str]]:
    """Each message with which a start fails, its values replaced by "…", and its place."""
    names = {kind.__name__ for kind in subclasses(StartupError)}
    for file in sorted(SERVER.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[message, *_]) if name in names:
                    yield _text(message), f"{file.relative_to(SERVER)}:{node.lineno}"


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(map(_text, values))
        case ast.BinOp(left=left, right=right):
            return _text(left) + _text(right)
        case ast.FormattedValue(value=ast.Name(id=name) | ast.Attribute(attr=name)):
            return CONSTANTS.get(name, "…")
    return "…"


def quoted(text: str) -> list[str]:
    """What the first cells of the tables set in code style."""
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell)]


def test_every_reason_of_a_call_says_what_to_look_at_and_what_to_do():
    sent = subclasses(DatabaseError) - subclasses(StartupError)
    for reason in {kind.reason for kind in sent} | BY_REASON.keys():
        entry = entries().get(reason, "")
        assert all(part in entry for part in PARTS), reason


def test_every_reason_of_a_start_has_an_entry():
    assert {kind.reason for kind in subclasses(StartupError)} <= entries().keys()


def test_no_entry_is_of_a_reason_that_does_not_exist():
    reasons = {kind.reason for kind in subclasses(DatabaseError)} | BY_REASON.keys()
    named = [heading for heading in entries() if re.fullmatch("[a-z_]+", heading)]
    assert set(named) <= reasons


def test_every_reason_of_the_client_itself_is_there():
    of_client = quoted(entries()["Errors without a reason of the server"])
    sources = inspect.getsource(_errors) + Path(add_stream).read_text(encoding="utf-8")
    made = set(re.findall(r'"(not_sent|server_error)"', sources))
    assert made == {"not_sent", "server_error"}
    assert made <= set(of_client)
    # gRPC's own: the names of its statuses, but those that the page has as reasons
    known = {name.name.lower() for name in grpc.StatusCode} | made
    assert set(of_client) <= known
    assert "internal error" in inspect.getsource(status)


def test_every_message_of_a_failed_start_has_a_row():
    shown = [quote for entry in entries().values() for quote in quoted(entry)]
    missing = [
        f"{place}: {message}"
        for message, place in messages_of_starts()
        if len(re.sub(r"…|\W", "", message)) >= MIN_LETTERS
        and not any(quote in message for quote in shown)
    ]
    assert not missing, "\n".join(missing)


def test_the_messages_that_are_quoted_exist():
    made = "\n".join(message for message, _ in messages_of_starts())
    sources = "\n".join(
        (SERVER / name).read_text(encoding="utf-8")
        for name in ("worker/load_check.py", "worker/model_files.py", "store/folder_lock.py")
    )
    for reason in ("config_error", "data_folder_error", "model_load_error", "startup_error"):
        for quote in quoted(entries()[reason]):
            assert quote in made or quote in sources, quote
