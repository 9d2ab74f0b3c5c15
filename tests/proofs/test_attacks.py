"""Hostile clients cost the others little: the server lives, answers, and its memory is bounded.

At length (`make attack`, on a machine that does nothing else) quiet spells and spells under attack
alternate, and the slowest answers of a well-behaved client may take twice as long.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

import euclidesdb
from euclidesdb_server.rpc.answering import EXPORT_THREADS
from tests.support.attacks import ATTACKS, DIM, GIVEN, SLOW
from tests.support.footprint import footprint
from tests.support.models import SlowOnWhite, save_model
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
ITEMS = 2000
SLOW_ROUNDS = 20_000
MIB = 1 << 20
SPELL = 4.0
"""Seconds of quiet, and of an attack, in turn."""
ROUNDS = 8
MAX_RATIO = 2.0
MAX_GROWTH = 400 * MIB
"""Of private memory. Messages of 63 MiB that are read and refused are in it, each once as it
arrives and once as it is parsed; idle connections take 2,000 times some 50 KiB."""

LONG = [pytest.mark.long, pytest.mark.timeout(0)]

CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = exact
transport = {transport}
message_timeout = 5
max_bytes_in_flight = 134217728
[models]
dir_path = models
[database]
db_path = data
"""


@dataclass(frozen=True)
class Served:
    """A server with items, and its client."""

    process: psutil.Process
    workers: list[psutil.Process]
    address: str
    db: euclidesdb.Client

    def seconds_of_searches(self, seconds: float) -> list[float]:
        """How long each search took, one after the other."""
        generator, took = np.random.default_rng(0), []
        end = time.monotonic() + seconds
        while time.monotonic() < end or not took:
            query = generator.standard_normal(DIM, np.float32)
            started = time.perf_counter()
            assert len(self.db.find_similar(vector=query, model=GIVEN, top_k=5)[GIVEN]) == 5
            took.append(time.perf_counter() - started)
        return took


@pytest.fixture(scope="module", params=["nghttp2", pytest.param("grpcio", marks=LONG)])
def served(request, tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("attacked")
    save_vector_space(folder / "models", GIVEN, feature_dim=DIM)
    save_model(folder / "models", SLOW, module=SlowOnWhite(SLOW_ROUNDS))
    config, log = folder / "euclidesdb.conf", folder / "log"
    config.write_text(CONFIG.format(transport=request.param))
    with ServerProcess("--config", config, log=log) as process:
        address = process.address()
        with euclidesdb.Client(address, timeout=60) as db:
            vectors = np.random.default_rng(1).standard_normal((ITEMS, DIM), np.float32)
            assert not db.add_vectors([f"item-{n}" for n in range(ITEMS)], vectors, model=GIVEN)
            yield Served(psutil.Process(process.pid), process.workers(), address, db)
    assert "Traceback" not in log.read_text()


@contextmanager
def attacking(name: str, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """The attack goes on meanwhile."""
    command = [sys.executable, "-m", "tests.support.attacks", name, address]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as attack:
        try:
            yield attack
        finally:
            attack.kill()


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_leaves_the_server_alive_and_its_memory_bounded(served, name):
    before = footprint(served.process)
    with attacking(name, served.address) as attack:
        wait_for(lambda: is_connected(attack.pid, served.address), "the attack")
        peak = threads = 0
        for _ in range(6):
            served.seconds_of_searches(0.3)
            now = footprint(served.process)
            peak, threads = max(peak, now.memory), max(threads, now.threads)
        assert attack.poll() is None, attack.stderr.read()
    if name == "slow_readers":
        assert threads <= before.threads + EXPORT_THREADS
    assert peak - before.memory < MAX_GROWTH
    assert served.process.is_running()
    assert all(worker.is_running() for worker in served.workers)
    served.db.add(f"after {name}", vectors={GIVEN: np.ones(DIM, np.float32)})
    wait_for(lambda: len(served.process.net_connections("tcp")) < 20, "its connections to close")


def is_connected(attacker: int, address: str) -> bool:
    port = int(address.rpartition(":")[2])
    connections = psutil.Process(attacker).net_connections("tcp")
    return any(each.raddr and each.raddr.port == port for each in connections)


@pytest.mark.parametrize("name", [pytest.param(name, marks=LONG) for name in ATTACKS])
def test_the_slowest_answers_take_at_most_twice_as_long_under_attack(served, name):
    quiet: list[float] = []
    attacked: list[float] = []
    memory = footprint(served.process).memory
    served.seconds_of_searches(1)
    for _ in range(ROUNDS):
        quiet += served.seconds_of_searches(SPELL)
        with attacking(name, served.address) as attack:
            wait_for(lambda: is_connected(attack.pid, served.address), "the attack")
            attacked += served.seconds_of_searches(SPELL)
        wait_for(lambda: len(served.process.net_connections("tcp")) < 20, "the end of it")
    before, during = (float(np.quantile(each, 0.99)) for each in (quiet, attacked))
    growth = (footprint(served.process).memory - memory) / MIB
    print(
        f"\n{name}: p99 {before * 1e3:.1f} ms, under attack {during * 1e3:.1f} ms "
        f"({during / before:.2f}); median {np.median(quiet) * 1e3:.1f} ms, "
        f"{np.median(attacked) * 1e3:.1f} ms; memory afterwards {growth:+.0f} MiB"
    )
    assert during <= MAX_RATIO * before
