"""What is in the image, that it is enough, and Compose."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid

import pytest

import euclidesdb
from tests.docker.conftest import readable
from tests.docker.engine import docker, inspected, printed_keys, wait_until_healthy
from tests.docker.test_containers import image_of
from tests.project.tree import ROOT
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

MAX_BYTES = 1_000_000_000
UNWANTED = {
    "compilers": "compgen -c | grep -xE '(.*-)?(gcc|g[+][+]|cc|c[+][+]|clang|ld|as)(-[0-9]+)?'",
    "CUDA": "find / -xdev -regextype egrep -regex "
    r"'.*/lib(cu(da|dart|blas|dnn|fft)|nv|nccl|.*_cuda).*\.so.*'",
    "pip's cache": "find / -xdev -path '*/.cache/pip'",
    "apt's caches": "find /var/cache/apt /var/lib/apt/lists -xdev -type f -size +1M",
    "tests": "find /opt -xdev -type d -name tests",
    "headers": "find /opt -xdev -name '*.h' -size +10k",
    "packages of tests": "find /opt -xdev -maxdepth 6 -name pandas -o -maxdepth 6 -name polars "
    "-o -maxdepth 6 -name pytest -o -maxdepth 6 -name transformers",
    "files that everyone may write": "find / -xdev -type f -perm -o+w",
    "programs that gain privileges in /opt": "find /opt -xdev -perm /6000",
}
TESTS = (
    "tests/engines/test_contract.py",
    "tests/worker",
    "tests/columns/test_item_table.py",
    "tests/client/test_copies.py",
    "tests/store/test_formats.py",
    "tests/rpc/test_transports.py",
    "tests/commands/test_find.py",
    "tests/builder",
)
"""They use every library of the server: LevelDB, Arrow, faiss, Annoy, torch, Pillow, tokenizers.
A minute or two."""
NEED_A_COMPILER = "test_a_kill_or_a_full_disk_at_any_step_fails_the_build"

# Scrapes what a configuration of Prometheus names, once, as Prometheus would.
SCRAPER = """
import time, urllib.request, yaml
config = yaml.safe_load(open("/etc/prometheus/prometheus.yml"))
for job in config["scrape_configs"]:
    for each in job["static_configs"]:
        for target in each["targets"]:
            print(urllib.request.urlopen(f"http://{target}/metrics", timeout=30).read().decode())
print("scraped", flush=True)
time.sleep(600)
"""


def test_it_is_smaller_than_a_gigabyte(image):
    assert inspected(image)["Size"] < MAX_BYTES


@pytest.mark.parametrize("what", UNWANTED)
def test_it_has_nothing_that_a_server_does_not_need(image, what):
    program = f"{{ {UNWANTED[what]}; }} 2>/dev/null || true"
    found = docker("run", "--rm", "--user=0", "--entrypoint=bash", image, "-c", program)
    assert found == ""


def test_the_tests_of_the_server_s_rooms_pass_in_the_image(image, source, tmp_path):
    libraries = tmp_path / "libraries"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--target", libraries, "--python-version", "3.11", "--only-binary", ":all:",
         "--constraint", ROOT / "constraints.txt",
         "pytest", "pytest-timeout", "hypothesis", "trustme", "safetensors", "h2"],
        check=True,
    )  # fmt: skip
    tree = tmp_path / "tree"
    shutil.copytree(source / "tests", tree / "tests")
    shutil.copytree(source / "models", tree / "models")
    shutil.copy(source / "pyproject.toml", tree)
    readable(tmp_path)
    docker(
        "run", "--rm", "--read-only", "--tmpfs=/tmp:size=2g", "--cap-drop=ALL",
        "--security-opt=no-new-privileges", "--env=PYTHONPATH=/libraries", "--env=HOME=/tmp",
        f"--volume={libraries}:/libraries:ro", f"--volume={tree}:/tree:ro", "--workdir=/tree",
        "--entrypoint=python", image, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider",
        "-W", "default", "-k", f"not {NEED_A_COMPILER}", *TESTS,
    )  # fmt: skip


@pytest.fixture
def compose(image, tmp_path):
    if shutil.which("docker-compose"):
        program = ["docker-compose"]
    elif subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode:
        pytest.skip("Compose is not installed")
    else:
        program = ["docker", "compose"]
    project = f"euclidesdb-test-{uuid.uuid4().hex[:12]}"
    for number in range(3):
        folder = tmp_path / "import" / "photos"
        folder.mkdir(parents=True, exist_ok=True)
        image_of(number).save(folder / f"{number}.png")
    scraper = f"euclidesdb-test-scraper-{uuid.uuid4().hex[:12]}"
    (tmp_path / "scraper.py").write_text(SCRAPER)
    (tmp_path / "Dockerfile").write_text(
        f'FROM {image}\nCOPY scraper.py /scraper.py\nENTRYPOINT ["python", "/scraper.py"]\nCMD []\n'
        "HEALTHCHECK NONE\n"
    )
    readable(tmp_path)
    docker("build", f"--tag={scraper}", tmp_path)
    environment = {
        **os.environ,
        "EUCLIDESDB_IMAGE": image,
        "EUCLIDESDB_IMPORT": str(tmp_path / "import"),
        "EUCLIDESDB_PUBLISH": "127.0.0.1:",  # without a port, the engine chooses a free one
        "PROMETHEUS_PUBLISH": "127.0.0.1:",
        "PROMETHEUS_IMAGE": scraper,
    }

    def run(*arguments, **more):
        ran = subprocess.run(
            [*program, "--project-name", project, "--file", ROOT / "docker" / "compose.yaml",
             *arguments],
            env={**environment, **more}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    yield run
    run("--profile", "import", "--profile", "monitoring", "down", "--volumes", "--timeout", "5")
    docker("rmi", "--force", scraper)


def test_compose_runs_a_server_an_import_and_a_scraper(compose):
    compose("up", "--detach", "--no-build")
    server = compose("ps", "--quiet", "euclidesdb").strip()
    wait_until_healthy(server)
    (key,) = printed_keys(server)
    compose("run", "--rm", "import", EUCLIDESDB_API_KEY=key)
    with euclidesdb.Client(docker("port", server, "50000").split()[0], api_key=key) as client:
        assert sorted(item.id for item in client.items()) == [f"photos/{n}.png" for n in range(3)]
    compose("--profile", "monitoring", "up", "--detach", "--no-build")
    scraper = compose("--profile", "monitoring", "ps", "--quiet", "prometheus").strip()
    wait_for(lambda: "scraped\n" in docker("logs", scraper), "the scrape")
    log = docker("logs", scraper)
    assert re.search(r'^euclidesdb_model_ready\{model="digits"\} 1', log, re.MULTILINE)
    assert re.search(r"^euclidesdb_items 3", log, re.MULTILINE)
    compose("stop")
    assert inspected(server)["State"]["ExitCode"] == 0
