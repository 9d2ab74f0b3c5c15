"""A server returns the memory of large requests to the system when they are answered."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import psutil

import euclidesdb
from tests.project.tree import ROOT
from tests.support.footprint import footprint
from tests.support.images import encoded, noise
from tests.support.processes import ServerProcess

CONFIG = """
[server]
address = 127.0.0.1:0
max_bytes_in_flight = 67108864
[models]
dir_path = models
[database]
db_path = data
sync = false
"""
MIB = 1 << 20
CALLERS, ROUNDS = 16, 3
KEPT = 200 * MIB
"""LevelDB's buffers, the cache of outputs and the like; glibc's default keeps 300 MiB and more."""


def test_the_memory_of_large_requests_is_given_back(tmp_path):
    shutil.copytree(ROOT / "models" / "digits", tmp_path / "models" / "digits")
    conf = tmp_path / "euclidesdb.conf"
    conf.write_text(CONFIG)
    large = encoded(noise(3, 2300))  # 15 MiB
    with ServerProcess("-c", conf, log=tmp_path / "log") as server:
        process = psutil.Process(server.pid)
        address = server.address()

        def add(caller):
            added = 0
            with euclidesdb.Client(address, retries=0) as client:
                for number in range(ROUNDS):
                    try:
                        client.add(f"{caller}-{number}", image=large, models=["digits"])
                    except euclidesdb.Overloaded:
                        continue
                    added += 1
            return added

        with euclidesdb.Client(address) as client:
            client.add("first", image=noise(1, 28, "L"), models=["digits"])
        before = footprint(process).memory
        with ThreadPoolExecutor(CALLERS) as threads:
            assert sum(threads.map(add, range(CALLERS))) > CALLERS // 2
        assert footprint(process).memory - before < KEPT
