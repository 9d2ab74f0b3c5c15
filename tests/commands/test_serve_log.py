"""The log of `euclidesdb serve`: its formats, its files, slow calls, and what clients inject."""

from __future__ import annotations

import io
import json
import logging
import signal

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import database_pb2_grpc
from euclidesdb_server.commands.serve_log import LogFile, TextFormatter, configure_logging
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.config.watching import LogFormat
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space

ESCAPES = "a\nFAKE ERROR euclidesdb: all is lost\r\x1b[31m\x9b2J\x00\u2028end"
CONF = """
[server]
address = 127.0.0.1:0
search_engine = exact
log_file_path = logs/server.log
slow_call_ms = 0.0001
{more}
[models]
dir_path = models
[database]
db_path = data
"""


def serve_and_call(folder, more="", metadata=()):
    """Serve, call with odd ids, stop; returns the lines of the log file."""
    save_vector_space(folder / "models", "given")
    (folder / "euclidesdb.conf").write_text(CONF.format(more=more))
    with (
        ServerProcess("-c", folder / "euclidesdb.conf", log=folder / "stderr") as process,
        euclidesdb.Client(process.address()) as client,
        grpc.insecure_channel(process.address()) as channel,
    ):
        client.add(ESCAPES, vectors={"given": np.ones(3, np.float32)})
        client.find_similar(id=ESCAPES, models=["given"])
        stub = database_pb2_grpc.FeatureDatabaseStub(channel)
        request = pb.GetItemRequest(id=f"{ESCAPES} missing")
        with pytest.raises(grpc.RpcError):
            stub.GetItem(request, timeout=100, metadata=metadata)
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0
    return (folder / "logs" / "server.log").read_text().splitlines()


def test_a_log_that_is_not_a_terminal_has_an_object_on_each_line(tmp_path):
    lines = serve_and_call(tmp_path, metadata=(("x-request-id", "order-7"),))
    records = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= record.keys() for record in records)
    slow = {record["method"].rpartition("/")[2]: record for record in records if "method" in record}
    assert {"AddItem", "FindSimilar", "GetItem"} <= slow.keys()
    found = slow["FindSimilar"]
    assert (found["level"], found["status"], found["logger"]) == (
        "WARNING", "OK", "euclidesdb_server.rpc.slow_calls",
    )  # fmt: skip
    assert 0 <= found["search_seconds"] <= found["seconds"]
    assert found["request_bytes"] > 0 < found["reply_bytes"]
    assert slow["AddItem"]["store_seconds"] > 0
    assert (slow["GetItem"]["status"], slow["GetItem"]["request_id"]) == ("NOT_FOUND", "order-7")
    stderr = (tmp_path / "stderr").read_text().splitlines()
    assert [json.loads(line)["message"] for line in stderr] == [
        record["message"] for record in records
    ]


@pytest.mark.parametrize("more", ["log_format = json", "log_format = text"])
def test_what_a_client_sends_is_neither_logged_nor_makes_lines(tmp_path, more):
    lines = serve_and_call(tmp_path, more, metadata=(("x-request-id", "spaces in an id"),))
    text = "\n".join(lines)
    assert "slow call: method=euclidesdb.v1.FeatureDatabase/FindSimilar status=OK" in text
    assert "FAKE" not in text
    assert "spaces" not in text
    assert "\x1b" not in text
    assert "\x9b" not in text
    if more.endswith("text"):
        assert not [line for line in lines if " euclidesdb_server." not in line]


def record(message, *args, **extra):
    return logging.makeLogRecord(
        {"name": "euclidesdb_server.x", "levelname": "ERROR", "msg": message, "args": args, **extra}
    )


def test_control_characters_stay_on_their_line_in_text():
    line = TextFormatter().format(record("no item %s", ESCAPES, request_id="r\n1"))
    assert line.endswith(
        r"no item a\nFAKE ERROR euclidesdb: all is lost\r\x1b[31m\x9b2J\x00\u2028end [r\n1]"
    )


def test_a_traceback_keeps_its_lines():
    try:
        raise ValueError("wrong\n2026-01-01 ERROR fake\x1b[31m")
    except ValueError as error:
        text = TextFormatter().format(
            record("failed", exc_info=(ValueError, error, error.__traceback__))
        )
    assert text.splitlines()[-2:] == [
        "  ValueError: wrong",
        r"  2026-01-01 ERROR fake\x1b[31m",
    ], "indented, so that none looks like another record"
    assert "\n  Traceback" in text


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("kind", "is_text"), [(LogFormat.AUTO, True), (LogFormat.TEXT, True), (LogFormat.JSON, False)]
)
def test_a_terminal_shows_text_unless_json_is_wanted(monkeypatch, kind, is_text):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(ServerConfig(log_format=kind), "")
    logging.getLogger("euclidesdb_server.x").warning("hello")
    text = terminal.getvalue()
    assert text.startswith("{") is not is_text
    assert "hello" in text


def log_file(folder, **config):
    handler = LogFile(folder / "a" / "server.log", ServerConfig(**config))
    handler.setFormatter(TextFormatter())
    return handler


def test_a_full_log_file_is_renamed_and_a_number_of_them_kept(tmp_path):
    handler = log_file(tmp_path, log_max_mib=1, log_files=2)
    for number in range(5000):
        handler.emit(record("%d %s", number, "x" * 1000))
    handler.close()
    files = sorted((tmp_path / "a").iterdir())
    assert [file.name for file in files] == ["server.log", "server.log.1", "server.log.2"]
    assert all(file.stat().st_size <= 1 << 20 for file in files)
    assert " 4999 " in files[0].read_text().splitlines()[-1]


def test_a_log_file_without_a_size_grows(tmp_path):
    handler = log_file(tmp_path, log_max_mib=0)
    for number in range(2000):
        handler.emit(record("%d %s", number, "x" * 1000))
    handler.close()
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["server.log"]


def test_a_log_file_that_another_program_renames_is_begun_anew(tmp_path):
    handler = log_file(tmp_path, log_max_mib=1)
    handler.emit(record("first"))
    (tmp_path / "a" / "server.log").rename(tmp_path / "a" / "moved")
    handler.emit(record("second"))
    handler.close()
    assert "second" in (tmp_path / "a" / "server.log").read_text()
    assert "second" not in (tmp_path / "a" / "moved").read_text()


def test_a_log_file_that_cannot_be_renamed_fails_no_code_that_logs(tmp_path, capsys):
    handler = log_file(tmp_path, log_max_mib=1, log_files=1)
    (tmp_path / "a" / "server.log.1").mkdir()
    (tmp_path / "a" / "server.log.1" / "kept").touch()
    for _ in range(1100):
        handler.emit(record("x" * 1000))
    handler.close()
    assert "Logging error" in capsys.readouterr().err
