"""Generates the Python stubs of every .proto file, next to that file.

    python protos/generate.py            write the stubs
    python protos/generate.py --check    exit with 1 if a committed stub is out of date

The folders below this one mirror import names, so no generated import needs editing.
Requires grpcio-tools at the version in constraints.txt: the stubs contain that version.
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


def outdated_stubs() -> list[Path]:
    """The committed stubs that differ from those generated now."""
    with tempfile.TemporaryDirectory() as folder:
        generated = Path(folder)
        return [
            name
            for name in generate(generated)
            if not (ROOT / name).exists()
            or (ROOT / name).read_bytes() != (generated / name).read_bytes()
        ]


def main() -> int:
    """Write or check the stubs; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only; write nothing")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    outdated = outdated_stubs()
    for name in outdated:
        print(f"protos/{name} is out of date; run: python protos/generate.py")
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
