"""What a request is taken to need in memory is what it needs, or more; a server takes no more."""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from pathlib import Path

import grpc
from google.protobuf.message_factory import GetMessageClass

from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.rpc.parsed_size import parts_of
from euclidesdb_server.rpc.repeated_fields import BASE_BYTES, PER_BYTE, parsed_bytes
from tests.support.calls import TIMEOUT, Stubs
from tests.support.many_parts import requests_with_many_parts
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space

MIB = 1 << 20
SAMPLE = MIB
NOISE = SAMPLE
"""Of a measurement: memory that the interpreter takes meanwhile."""
SENT = 16 * MIB
MAX_TAKEN = BASE_BYTES + (PER_BYTE + 4) * SENT
"""A request is there up to four times while it is parsed; without limits, 24 to 96 times."""
CONFIG = """
[server]
address = 127.0.0.1:0
[models]
dir_path = models
[database]
db_path = data
"""

METHODS = {
    f"/{service.full_name}/{method.name}": method
    for module in (pb, legacy)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def status_of_memory(pid: int | str, name: str) -> int:
    """Bytes, of /proc."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def measured(type_name: str, data: bytes) -> int:
    """What parsing takes, in a process that has parsed nothing else."""
    message = next(
        GetMessageClass(method.input_type)
        for method in METHODS.values()
        if method.input_type.full_name == type_name
    )
    before = status_of_memory("self", "VmRSS")
    parsed = message.FromString(data)
    taken = status_of_memory("self", "VmRSS") - before
    del parsed
    return taken


def kinds():
    """Each request with many parts once, though several methods take the same messages."""
    found = {}
    for message in {
        each.input_type.full_name: each.input_type for each in METHODS.values()
    }.values():
        for path, make in requests_with_many_parts(message):
            found.setdefault(tuple(path.split(".")[-2:]), (message, path, make))
    return found.values()


def test_no_request_takes_more_than_it_is_taken_to_need():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    cases = [(message, path, make(SAMPLE)) for message, path, make in kinds()]
    assert len(cases) > 60
    with context.Pool(1, maxtasksperchild=1) as pool:
        taken = pool.starmap(measured, [(each.full_name, data) for each, _, data in cases], 1)
    wrong = []
    for (message, path, data), really in zip(cases, taken, strict=True):
        needed = parsed_bytes(data, parts_of(message), 1 << 40) + len(data)
        if not needed / 10 - NOISE < really < needed + NOISE:
            wrong.append(
                f"{path}: {really / SAMPLE:.1f} times its bytes, not {needed / SAMPLE:.1f}"
            )
    assert not wrong, "\n".join(wrong)


def worst(method):
    """The request that takes the most for its bytes, and how many times as much."""
    message = method.input_type
    return max(
        (
            (parsed_bytes(make(64 << 10), parts_of(message), 1 << 40) / (64 << 10), path, make)
            for path, make in requests_with_many_parts(message)
        ),
        default=None,
    )


def test_the_worst_request_of_each_method_takes_little_memory(tmp_path):
    save_vector_space(tmp_path / "models", feature_dim=3)
    conf = tmp_path / "euclidesdb.conf"
    conf.write_text(CONFIG)
    with (
        ServerProcess("-c", conf, log=tmp_path / "log") as server,
        Stubs(server.address()) as stubs,
    ):
        for path, method in METHODS.items():
            if (found := worst(method)) is None:
                continue
            factor, parts, make = found
            for size in (SENT, int(0.99 * BASE_BYTES / max(factor - PER_BYTE, 2))):
                took = peak_of_call(server.pid, stubs.channel, method, path, make(size))
                assert took < MAX_TAKEN, f"{path}: {size:,} bytes of {parts} took {took:,}"


def peak_of_call(pid, channel, method, path, data):
    """What a call adds to the memory of a server at most."""
    kind = f"{'stream' if method.client_streaming else 'unary'}_"
    call = getattr(channel, kind + ("stream" if method.server_streaming else "unary"))(path)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is that of now
    before = status_of_memory(pid, "VmRSS")
    with suppress(grpc.RpcError):
        answer = call(iter([data]) if method.client_streaming else data, timeout=TIMEOUT)
        if method.server_streaming:
            list(answer)
    return status_of_memory(pid, "VmHWM") - before
