"""Generates the Python stubs of every .proto file, beside it.

    python protos/generate.py            write them
    python protos/generate.py --check    exit 1 if a committed stub is not what its .proto gives

The folders below this one mirror import names, so no generated import needs editing.
Needs grpcio-tools at the version in constraints.txt (the stubs carry that version).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def generate(output: Path) -> list[Path]:
    """Write the stubs of every .proto file under `output`; return their paths relative to it."""
    sources = sorted(ROOT.rglob("*.proto"))
    includes = resources.files("grpc_tools") / "_proto"
    arguments = ["protoc", f"-I{ROOT}", f"-I{includes}"]
    arguments += [f"--{kind}_out={output}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(arguments + [str(source) for source in sources]):
        raise SystemExit("protoc failed")
    stems = [source.relative_to(ROOT).with_suffix("") for source in sources]
    return [
        stem.with_name(stem.name + ending)
        for stem in stems
        for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")
    ]


def stale_stubs() -> list[Path]:
    """The committed stubs that differ from what their .proto gives now."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        return [
            name
            for name in generate(fresh)
            if not (ROOT / name).exists()
            or (ROOT / name).read_bytes() != (fresh / name).read_bytes()
        ]


def main() -> int:
    """Write or check the stubs; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare; write nothing")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    stale = stale_stubs()
    for name in stale:
        print(f"protos/{name} is not what its .proto gives; run: python protos/generate.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
