"""A client for Node.js, made from the committed .proto, over both transports.

The packages that it needs are installed once, exactly those of its package-lock.json, into a folder
that git ignores. Where Node.js is missing or they cannot be installed, the tests are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "protos" / "euclidesdb_protos" / "v1" / "database.proto"
CLIENT = Path(__file__).parent / "node_client"
MANIFESTS = ("package.json", "package-lock.json")
NPM_OPTIONS = (
    "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
    "--fetch-retries=0", "--fetch-timeout=15000",
)  # fmt: skip


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder in which the packages are installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed")
    manifests = b"".join((CLIENT / name).read_bytes() for name in MANIFESTS)
    folder = ROOT / "build" / "node-client" / hashlib.sha256(manifests).hexdigest()[:16]
    if folder.exists():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        for name in MANIFESTS:
            shutil.copy(CLIENT / name, partial)
        installed = subprocess.run(
            ["npm", "ci", *NPM_OPTIONS],
            cwd=partial,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if installed.returncode:
            pytest.skip(f"npm cannot install the packages: {installed.stderr[-300:]}")
        partial.rename(folder)
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot install the packages within two minutes")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["grpcio", "nghttp2"])
def test_a_client_made_from_the_proto_adds_filters_and_searches(packages, tmp_path, transport):
    save_vector_space(tmp_path / "models", "given", feature_dim=3)
    config = {"transport": transport}
    with start_server(tmp_path / "data", tmp_path / "models", server=config) as server:
        done = subprocess.run(
            ["node", str(CLIENT / "client.mjs"), server.address, str(PROTO)],
            cwd=packages,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "added": ["given"],
        "refused": [[2, "invalid_request"]],
        "streamed": ["added", "refused"],
        "counted": 3,
        "found": [["ünï", 0, '{"price":5}'], ["c", pytest.approx(2**0.5), '{"price":7}']],
        "listed": ["d", "ünï"],
        "failed": [5, "unknown_item"],
    }
