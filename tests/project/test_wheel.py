"""Everything works from an installed wheel, not only from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import euclidesdb
from tests.project.tree import ROOT, project_files
from tests.support.images import noise

# The folders of the repository that hold packages.
SOURCES = ("client", "protos", "server")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's own files, and an environment in which they come before the checkout's."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    source = folder / "source"
    for name in project_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*pip, "wheel", *options, "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("euclidesdb-*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    return {**os.environ, "PYTHONPATH": str(target)}, target


def test_the_server_serves_its_shipped_model_from_the_wheel(installed, tmp_path):
    environment, target = installed
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import euclidesdb_server as s; print(s.__file__)"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert where.startswith(str(target))
    command = [sys.executable, "-P", "-m", "euclidesdb_server", "serve"]
    command += ["--strict", "--address", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().split()[-1]
            with euclidesdb.Client(address) as client:
                client.add("a", image=noise(0, 8, "L"), models=["digits"])
                assert client.find_similar(id="a", include_self=True)["digits"].ids == ("a",)
        finally:
            process.terminate()
    assert process.returncode == 0


def test_the_wheel_has_every_file_of_the_packages(installed):
    _, target = installed
    files = [path for path in project_files() if path.parts[0] in SOURCES and len(path.parts) > 2]
    assert {"FORMAT.md", "database.proto", "py.typed"} <= {path.name for path in files}
    missing = [path for path in files if not (target / path.relative_to(path.parts[0])).is_file()]
    assert not missing, "missing from [tool.setuptools] packages or package-data"
