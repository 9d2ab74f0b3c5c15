"""The Kubernetes manifest and the systemd units: valid, hardened, and true to the server."""

from __future__ import annotations

import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from euclidesdb_server.config.server import load_config
from euclidesdb_server.engines.registry import engine_names
from tests.project.tree import ROOT

KUBERNETES = ROOT / "docker" / "kubernetes"
SYSTEMD = ROOT / "docker" / "systemd"
VERSIONS = ("1.29", "1.33", "1.37")
UNITS = sorted(path.name for path in SYSTEMD.iterdir())
SERVICES = [name for name in UNITS if name.endswith(".service")]
MAX_EXPOSURE = 2.0
"""Of 10, by `systemd-analyze security`: the network that a server needs, and little else."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (Debian: apt install systemd)",
)


def manifests():
    return list(yaml.safe_load_all((KUBERNETES / "euclidesdb.yaml").read_text(encoding="utf-8")))


def manifest(kind):
    return next(each for each in manifests() if each["kind"] == kind)


def pod():
    return manifest("StatefulSet")["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema_of_kubernetes(version):
    objects = manifests()
    assert len(objects) == 4
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


def test_a_misspelled_field_would_not_fit():
    wrong = manifest("StatefulSet")
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_names_within_the_manifest_are_those_of_its_objects():
    stateful = manifest("StatefulSet")["spec"]
    services = {each["metadata"]["name"] for each in manifests() if each["kind"] == "Service"}
    assert stateful["serviceName"] in services
    container = pod()["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    for service in (each["spec"] for each in manifests() if each["kind"] == "Service"):
        assert service["selector"] == stateful["selector"]["matchLabels"]
        assert {port["targetPort"] for port in service["ports"]} <= ports
    volumes = {volume["name"] for volume in pod()["volumes"]}
    volumes |= {each["metadata"]["name"] for each in stateful["volumeClaimTemplates"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_the_pod_has_no_privileges_and_one_writer():
    container = pod()["containers"][0]
    assert manifest("StatefulSet")["spec"]["replicas"] == 1
    assert pod()["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert f"--uid {pod()['securityContext']['runAsUser']}" in (
        ROOT / "docker" / "Dockerfile"
    ).read_text(encoding="utf-8")
    assert container["resources"].keys() == {"requests", "limits"}


def test_the_server_takes_the_configuration_in_the_manifest(tmp_path):
    file = tmp_path / "euclidesdb.conf"
    file.write_text(manifest("ConfigMap")["data"]["euclidesdb.conf"], encoding="utf-8")
    config = load_config(file, engine_names())
    container = pod()["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert config.server.address == f"0.0.0.0:{ports['grpc']}"
    assert config.metrics.address == f"0.0.0.0:{ports['metrics']}"
    assert config.server.shutdown_grace < pod()["terminationGracePeriodSeconds"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert config.database.db_path.parent.as_posix() in mounts
    assert config.auth.keys_file.parent.as_posix() in mounts
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["grpc"]["port"] == ports["grpc"]


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_the_unit(installed, unit):
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", installed / unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES)
def test_the_service_is_exposed_to_little(installed, unit):
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", installed / unit],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", ran.stdout)
    assert found is not None, ran.stdout + ran.stderr
    assert float(found[1]) <= MAX_EXPOSURE, ran.stdout


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_may_do_what_the_server_needs(unit):
    text = (SYSTEMD / unit).read_text(encoding="utf-8")
    assert re.search(r"^ExecStart=/opt/euclidesdb/bin/euclidesdb (serve|backup) ", text, re.M)
    assert "\nUser=euclidesdb\n" in text
    if unit == "euclidesdb.service":
        assert "\nSystemCallFilter=@system-service seccomp\n" in text  # for confined workers
        assert "\nMemoryDenyWriteExecute" not in text  # torch compiles


@pytest.fixture
def installed(tmp_path):
    """The units with a program that exists."""
    for unit in UNITS:
        text = (SYSTEMD / unit).read_text(encoding="utf-8")
        (tmp_path / unit).write_text(text.replace("/opt/euclidesdb/bin/euclidesdb", "/bin/true"))
    return tmp_path
